package web

import (
	"context"
	"net/http"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

const (
	overviewCases    = 12
	overviewMessages = 8
	newQuarantine    = 24 * time.Hour // what came aside within this is pointed out
)

type overviewPage struct {
	*view
	Headline   string
	Glance     []stateCount
	Pulse      string
	PulseAt    time.Time
	Cases      []caseRow
	MoreCases  int
	Messages   []messageRow
	Categories []categoryLine
	Quarantine int
	SeenFailed bool
	Devices    int
	Todo       []link // what waits for somebody
	ByState    []link
}

type stateCount struct {
	State state
	Count int
	URL   string
}

type categoryLine struct {
	categoryCount
	URL    string
	States []stateCount
}

func (s *Web) overview(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	snap, err := s.fleet.get(ctx)
	if err != nil {
		return err
	}
	v := s.view(w, r, "overview")
	v.Title = v.T("nav.overview")
	p := overviewPage{view: v, SeenFailed: snap.seenErr != nil, Devices: len(snap.devices)}
	p.Headline = v.N("overview.cases", len(snap.open)) + " " + v.N("overview.devices", len(snap.devices))
	if len(snap.open) == 0 {
		p.Headline = v.T("overview.allwell") + " " + v.N("overview.devices", len(snap.devices))
	}
	p.pulse(s.deps.Doors.Pulse())
	p.Cases = s.caseRows(ctx, v, snap, snap.open[:min(len(snap.open), overviewCases)])
	p.MoreCases = len(snap.open) - len(p.Cases)
	p.categories(snap)
	if err := p.todo(ctx, s, snap); err != nil {
		return err
	}
	if p.Messages, err = s.recentMessages(ctx, v, snap, overviewMessages); err != nil {
		return err
	}
	if p.Quarantine, err = s.newInQuarantine(ctx, v.Now); err != nil {
		s.log.Warn("quarantine", "err", err) // the rest of the page is still true
	}
	return s.render(w, r, http.StatusOK, "overview", p)
}

// todo counts what waits for somebody, each a way to the list of it.
func (p *overviewPage) todo(ctx context.Context, s *Web, snap *snapshot) error {
	add := func(key string, n int, url string) {
		if n > 0 {
			p.Todo = append(p.Todo, link{p.N(key, n), url})
		}
	}
	overdue, nobody := 0, 0
	states, severities := map[fleet.CaseState]int{}, map[fleet.Severity]int{}
	for i := range snap.open {
		c := &snap.open[i]
		states[c.State]++
		severities[c.Severity]++
		if late(c, p.Now) {
			overdue++
		}
		if c.Assignee == "" {
			nobody++
		}
	}
	add("overview.overdue", overdue, "/cases?overdue=1")
	incidents, err := s.deps.Incidents.Incidents(ctx, fleet.IncidentFilter{Tenant: s.cfg.Tenant, States: []fleet.IncidentState{fleet.IncidentOpen}, Limit: incidentsShown})
	if err != nil {
		return err
	}
	add("overview.incidents", len(incidents), "/incidents")
	dead, err := s.deps.Dead.DeadLetterList(ctx, s.cfg.Tenant, deadShown)
	if err != nil {
		return err
	}
	add("overview.dead", len(dead), "/messages#r-dead")
	add("overview.unassigned", nobody, "/cases?who=nobody")
	for _, st := range fleet.OpenStates() {
		if n := states[st]; n > 0 {
			p.ByState = append(p.ByState, link{upperFirst(p.StateWord(st)) + " " + itoa(n), "/cases?show=" + string(st)})
		}
	}
	for _, sev := range allSeverities {
		if n := severities[sev]; n > 0 {
			p.ByState = append(p.ByState, link{p.Loc.Severity(sev).Word + " " + itoa(n), "/cases?severity=" + sev.String()})
		}
	}
	return nil
}

func (p *overviewPage) pulse(b Pulse) {
	if b.LastReading.IsZero() {
		p.Pulse = p.T("pulse.none")
		return
	}
	p.Pulse = strings.ReplaceAll(p.T("pulse"), "#", p.Loc.Number(b.PerMinute, 2))
	p.PulseAt = b.LastReading
}

func (p *overviewPage) categories(snap *snapshot) {
	total := map[state]int{}
	for _, c := range snap.categories(p.L) {
		line := categoryLine{categoryCount: c, URL: "/devices?category=" + c.Category}
		for _, st := range stateOrder {
			if n := c.States[st]; n > 0 {
				total[st] += n
				line.States = append(line.States, stateCount{st, n, line.URL + "&state=" + string(st)})
			}
		}
		p.Categories = append(p.Categories, line)
	}
	for _, st := range stateOrder {
		if total[st] > 0 {
			p.Glance = append(p.Glance, stateCount{st, total[st], "/devices?state=" + string(st)})
		}
	}
}

// quarantineShown is how many entries a page shows at most.
const quarantineShown = 100

func (s *Web) newInQuarantine(ctx context.Context, now time.Time) (int, error) {
	all, err := s.deps.Doors.Quarantined(ctx, fleet.QuarantineFilter{Tenant: s.cfg.Tenant, Limit: quarantineShown})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, q := range all {
		if now.Sub(q.At) < newQuarantine {
			n++
		}
	}
	return n, nil
}

// messageRow is one message as one line: to whom, what, when, and what became of it on each channel.
type messageRow struct {
	*view
	ID        string
	At        time.Time
	Title     string
	Body      []string // paragraphs
	State     state
	To        string
	ToURL     string
	CaseURL   string
	Device    string
	DeviceURL string
	Channels  []channelState
	Read      bool
}

type channelState struct {
	Channel string
	Topic   string // what the message was about, for the machine
	State   string // sent, held, skipped, merged, dead, other
	Word    string
	Reason  string
	At      time.Time
	Marks   []receipt // how far it is known to have come
}

func (s *Web) recentMessages(ctx context.Context, v *view, snap *snapshot, limit int) ([]messageRow, error) {
	msgs, err := s.deps.Mail.RecentMessages(ctx, s.cfg.Tenant, limit)
	if err != nil {
		return nil, err
	}
	people := s.names(ctx)
	rows := make([]messageRow, 0, len(msgs))
	for _, m := range msgs {
		rows = append(rows, s.messageRow(v, snap, people, m))
	}
	return rows, nil
}

func (s *Web) messageRow(v *view, snap *snapshot, people *names, m fleet.Message) messageRow {
	row := messageRow{view: v, ID: m.ID, At: m.At, Title: m.Title, Body: paragraphs(m.Body), State: severityState(m.Severity),
		To: people.name(m.PersonID), ToURL: personURL(m.Tenant, m.PersonID), DeviceURL: deviceURL(m.Device), Device: m.Device.Serial,
		Read: !m.ReadAt.IsZero()}
	if m.CaseID != "" {
		row.CaseURL = "/cases/" + m.Tenant + "/" + m.CaseID
	}
	if m.Topic == "cleared" {
		row.State = "good"
	}
	if d := snap.device(m.Device.Serial); d != nil {
		row.Device = s.thing(d, v)
	}
	return row
}

func paragraphs(body string) []string {
	var out []string
	for _, p := range strings.Split(body, "\n\n") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}
