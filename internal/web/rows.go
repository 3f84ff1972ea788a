package web

import (
	"context"
	"strings"
	"time"

	"aftercare/internal/chart"
	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

// caseRow is one case as one line of a list.
type caseRow struct {
	*view
	Case       fleet.Case
	State      state
	Title      string
	Device     string // the thing, as the owner calls it
	DeviceURL  string
	Owner      string
	OwnerURL   string
	URL        string
	Last       string // last thing that happened, in words
	LastAt     time.Time
	Resolved   bool
	Assignee   string
	HideDevice bool // on the device's own page
	SLA        sla
	Symptom    bool   // of the problem in the row above
	Because    string // the rule of which it is a symptom, in words
	Snoozed    string // until when
	Incident   string // the page of its incident
	Waits      string
	Pick       bool // in a form that takes several
}

// deviceRow is one device as one line of a list.
type deviceRow struct {
	*view
	Device   fleet.Device
	State    state
	Name     string
	Label    string // what kind of thing it is
	URL      string
	Owner    string
	OwnerURL string
	Seen     time.Time
}

// names looks people up once a page.
type names struct {
	s    *Web
	ctx  context.Context //nolint:containedctx // lives as long as one page is built
	seen map[string]*fleet.Person
}

func (s *Web) names(ctx context.Context) *names {
	return &names{s: s, ctx: ctx, seen: map[string]*fleet.Person{}}
}

// person returns nil when nobody of that id is known: the page shows what it has.
func (n *names) person(id string) *fleet.Person {
	if id == "" {
		return nil
	}
	if p, ok := n.seen[id]; ok {
		return p
	}
	p, err := n.s.deps.Devices.Person(n.ctx, n.s.cfg.Tenant, id)
	if err != nil {
		if fleet.CodeOf(err) != fleet.CodeNotFound {
			n.s.log.Warn("look up person", "id", id, "err", err)
		}
		p = nil
	}
	n.seen[id] = p
	return p
}

func (n *names) name(id string) string {
	if p := n.person(id); p != nil && p.Name != "" {
		return p.Name
	}
	return id
}

func caseURL(c *fleet.Case) string       { return "/cases/" + c.Device.Tenant + "/" + c.ID }
func deviceURL(k fleet.DeviceKey) string { return "/devices/" + k.Tenant + "/" + k.Serial }
func personURL(tenant, id string) string { return "/people/" + tenant + "/" + id }
func (s *Web) label(model, l string) string {
	if m, ok := s.deps.Models.Model(model); ok && m.Label.In(l) != "" {
		return upperFirst(m.Label.In(l))
	}
	return upperFirst(humanise(model))
}

// thing is what the desk calls a device: the owner's name, else kind and room.
func (s *Web) thing(d *fleet.Device, v *view) string {
	if name := words.Clean(d.Name, 60); name != "" {
		return upperFirst(name)
	}
	label := s.label(d.Model, v.Loc.Lang)
	if room := words.Clean(d.Room, 40); room != "" {
		return label + ", " + room
	}
	return label
}

// readerTags are the desk's locales: English with metric units and a decimal point, wherever the device stands.
var readerTags = map[string]string{"en": "en-IE", "de": "de-DE"}

// title says a case's problem in the page's words, without the full stop that a heading has no use for.
func (s *Web) title(c *fleet.Case, d *fleet.Device, v *view) string {
	in := words.Input{Topic: "opened", Case: c, Device: d, Now: v.Now, Person: &fleet.Person{Locale: readerTags[v.Loc.Lang], Zone: v.Loc.Zone.String()}}
	if t := s.deps.Teller.Render(in).Title; t != "" {
		return strings.TrimSuffix(t, ".")
	}
	return upperFirst(humanise(c.Problem))
}

// caseRow is a case with the last thing that happened to it.
func (s *Web) caseRow(ctx context.Context, v *view, snap *snapshot, people *names, c fleet.Case) caseRow {
	row := s.caseLine(v, snap, people, c)
	row.Last, row.LastAt = s.lastThing(ctx, v, people, &c)
	return row
}

// caseLine is a case without asking what happened to it last: long lists of many cases say where each stands.
func (s *Web) caseLine(v *view, snap *snapshot, people *names, c fleet.Case) caseRow {
	row := caseRow{view: v, Case: c, State: severityState(c.Severity), URL: caseURL(&c), DeviceURL: deviceURL(c.Device),
		Device: c.Device.Serial, Resolved: !c.State.Open()}
	if row.Resolved {
		row.State = chart.Good
	}
	d := snap.device(c.Device.Serial)
	row.Title = s.title(&c, d, v)
	if d != nil {
		row.Device = s.thing(d, v)
		if d.OwnerID != "" {
			row.Owner, row.OwnerURL = people.name(d.OwnerID), personURL(d.Key.Tenant, d.OwnerID)
		}
	}
	if c.Assignee != "" {
		row.Assignee = v.actor(c.Assignee, people)
	}
	row.SLA = v.sla(&c)
	if c.CauseRule != "" {
		row.Because = humanise(c.CauseRule)
	}
	if c.MergedInto != "" {
		row.URL = "/cases/" + c.Device.Tenant + "/" + c.MergedInto
	}
	if c.IncidentID != "" {
		row.Incident = "/incidents/" + c.Device.Tenant + "/" + c.IncidentID
	}
	if c.State.Open() && c.Snooze.Holds(v.Now, c.Severity) {
		row.Snoozed = v.snoozeWords(c.Snooze)
	}
	if c.State == fleet.CaseWaiting {
		row.Waits = v.orHuman("wait.", c.WaitingFor)
	}
	row.Last, row.LastAt = v.StateWord(c.State), c.UpdatedAt
	return row
}

// lastThing is what happened to a case last: a line of its history or a message to its owner.
func (s *Web) lastThing(ctx context.Context, v *view, people *names, c *fleet.Case) (string, time.Time) {
	what, at := v.StateWord(c.State), c.UpdatedAt
	audit, err := s.deps.Stories.CaseAudit(ctx, c.Device.Tenant, c.ID)
	if err != nil {
		s.log.Warn("case history", "case", c.ID, "err", err)
		return what, at
	}
	if n := len(audit); n > 0 {
		what, at = v.actionWord(audit[n-1].Action), audit[n-1].At
	}
	sent, err := s.deps.Stories.CaseDeliveries(ctx, c.Device.Tenant, c.ID)
	if err != nil {
		s.log.Warn("case deliveries", "case", c.ID, "err", err)
		return what, at
	}
	for _, d := range sent {
		if !d.At.Before(at) {
			at = d.At
			what = v.fate(d, people)
		}
	}
	return what, at
}

// fate says what became of one message: "Anna Berger was told", "webhook to Anna Berger not delivered".
func (v *view) fate(d fleet.Delivery, people *names) string {
	who := people.name(d.PersonID)
	if d.State == "sent" {
		return strings.ReplaceAll(v.T("delivery.told"), "#", who)
	}
	ch := v.channel(d)
	if who == "" {
		return ch.Channel + " " + ch.Word
	}
	return ch.Channel + " " + v.T("message.to") + " " + who + " " + ch.Word
}

func knownDelivery(st string) string {
	switch st {
	case "sent", "held", "skipped", "merged", "dead":
		return st
	}
	return "other"
}

func (v *view) actionWord(action string) string { return v.orHuman("action.", action) }

// orHuman is the text of prefix+key, the key in plain letters if there is none.
func (v *view) orHuman(prefix, key string) string {
	if t := v.T(prefix + key); t != prefix+key {
		return t
	}
	return humanise(key)
}

func (s *Web) caseRows(ctx context.Context, v *view, snap *snapshot, cs []fleet.Case) []caseRow {
	people := s.names(ctx)
	rows := make([]caseRow, 0, len(cs))
	for _, c := range cs {
		rows = append(rows, s.caseRow(ctx, v, snap, people, c))
	}
	return rows
}

func (s *Web) deviceRow(v *view, snap *snapshot, people *names, d *fleet.Device) deviceRow {
	row := deviceRow{view: v, Device: *d, State: snap.state(d), Name: s.thing(d, v), Label: s.label(d.Model, v.Loc.Lang),
		URL: deviceURL(d.Key), Seen: snap.seen[d.Key.Serial]}
	if d.OwnerID != "" {
		row.Owner, row.OwnerURL = people.name(d.OwnerID), personURL(d.Key.Tenant, d.OwnerID)
	}
	return row
}
