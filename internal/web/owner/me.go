package owner

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
	"aftercare/internal/words"
)

// thingRow is one of a person's things in a list.
type thingRow struct {
	Serial string
	Name   string
	Room   string
	Sign   sign
	Says   string // one sentence: how it is
	rank   int
}

type letterRow struct {
	*visit
	At    time.Time
	Sign  sign
	Show  bool // the sign is worth a word
	Title string
	Lead  string // what to do now
	URL   string
	New   bool
}

type meData struct {
	*visit
	Name     string
	Says     string
	Things   []thingRow
	Letters  []letterRow
	More     bool
	NoPush   bool // push could be allowed and is not, anywhere
	Greeting bool
}

const (
	thingsShown  = 100
	lettersShown = 30
	linkTime     = 365 * 24 * time.Hour // of the links that the pages make to messages
)

// me is a person's things, danger first, and her messages, newest first.
func (s *Site) me(v *visit) error {
	ctx := v.r.Context()
	d := meData{visit: v, Name: v.person.Name}
	v.Title, v.Nav = v.T("me.title"), "me"
	need := 0
	devices := s.devicesOf(v.person)
	for _, one := range devices {
		row, err := s.thingRow(ctx, v, one)
		if err != nil {
			return err
		}
		if row.rank >= rankNeeds {
			need++
		}
		d.Things = append(d.Things, row)
	}
	slices.SortStableFunc(d.Things, func(a, b thingRow) int { return cmp.Or(b.rank-a.rank, strings.Compare(a.Name, b.Name)) })
	switch {
	case len(devices) == 0:
		d.Says = v.T("me.nothings")
	case need == 0:
		d.Says = v.T("me.well")
	default:
		d.Says = v.N("me.need", need)
	}
	letters, err := s.letters(ctx, v, "")
	if err != nil {
		return err
	}
	d.Letters = letters
	d.NoPush = v.PushKey() != "" && !slices.ContainsFunc(v.person.Endpoints, func(e fleet.Endpoint) bool { return e.Channel == pushChannel })
	return s.render(v, http.StatusOK, "me", d)
}

// devicesOf are a person's things; a page shows so many.
func (s *Site) devicesOf(p *fleet.Person) []*fleet.Device {
	list := s.deps.Things.DevicesOf(p.Tenant, p.ID)
	return list[:min(len(list), thingsShown)]
}

// ownDevice is a device of the person who is signed in; anybody else's does not exist.
func (s *Site) ownDevice(v *visit) (*fleet.Device, error) {
	d, ok := s.deps.Things.Device(fleet.DeviceKey{Tenant: v.person.Tenant, Serial: v.r.PathValue("serial")})
	if !ok || d.OwnerID != v.person.ID {
		return nil, &signError{http.StatusNotFound, "thing"}
	}
	return d, nil
}

// The order of things: what needs its owner first.
const (
	rankGood   = 0
	rankAway   = 1
	rankSilent = 2
	rankNeeds  = 10 // and the severity
)

// thingRow says how a thing is: by its worst open case, else by whether it reports.
func (s *Site) thingRow(ctx context.Context, v *visit, d *fleet.Device) (thingRow, error) {
	row := thingRow{Serial: d.Key.Serial, Name: s.nameOf(v, d), Room: words.Clean(d.Room, 60), Sign: v.goodSign(), Says: v.T("thing.good")}
	open, err := s.openCases(ctx, d)
	if err != nil {
		return row, err
	}
	link, heard := s.deps.Links.State(d.Key)
	_, away, err := s.deps.Things.PutAway(ctx, d.Key)
	if err != nil {
		return row, err
	}
	switch {
	case len(open) > 0:
		c := &open[0]
		row.rank, row.Sign = rankNeeds+int(c.Severity), v.severitySign(c.Severity)
		row.Says = s.sayCase(ctx, v, c)
		if c.Severity <= fleet.Watch {
			row.rank = rankSilent + 1
		}
	case away:
		row.rank, row.Sign, row.Says = rankAway, v.silentSign(), v.T("thing.away")
		row.Sign.Word = v.T("thing.away.word")
	case !heard || link.Heard.IsZero() && !link.Online:
		row.rank, row.Sign, row.Says = rankSilent, v.silentSign(), v.T("thing.never")
	case !link.Online:
		row.rank, row.Sign, row.Says = rankSilent, v.silentSign(), v.F("thing.silent", v.Loc.When(v.Now, link.Heard))
	}
	return row, nil
}

// openCases are those of a device that its owner may hear of, the worst first.
func (s *Site) openCases(ctx context.Context, d *fleet.Device) ([]fleet.Case, error) {
	list, err := s.deps.Cases.Cases(ctx, fleet.CaseFilter{Tenant: d.Key.Tenant, Device: d.Key.Serial, States: fleet.OpenStates(), Limit: 20})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(c fleet.Case) bool {
		topic := fleet.TopicOf(c.Kind, c.Severity)
		return topic == "" || topic == fleet.TopicTip || c.CauseRule != "" || c.UpdatedAt.Before(d.OwnedSince)
	}), nil
}

// sayCase is a case in one sentence: the title of the last message about it, else in general.
func (s *Site) sayCase(ctx context.Context, v *visit, c *fleet.Case) string {
	inbox, err := s.deps.Mail.Inbox(ctx, v.person.Tenant, v.person.ID, lettersShown)
	if err != nil {
		s.log.Warn("messages not read", "err", err)
	}
	for i := range inbox {
		if inbox[i].CaseID == c.ID && inbox[i].Topic != fleet.EventCleared {
			return inbox[i].Title
		}
	}
	return v.T("thing.kind." + string(fleet.TopicOf(c.Kind, c.Severity)))
}

// nameOf is what a thing is called: by its owner, else what it is.
func (s *Site) nameOf(v *visit, d *fleet.Device) string {
	if n := words.Clean(d.Name, 80); n != "" {
		return n
	}
	if m, ok := s.deps.Models.Model(d.Model); ok {
		if l := m.Label.In(v.Loc.Lang); l != "" {
			return strings.ToUpper(l[:1]) + l[1:]
		}
	}
	return v.T("thing.noname")
}

// letters are the messages of the person, of one device or of all; none from before a device was hers.
func (s *Site) letters(ctx context.Context, v *visit, serial string) ([]letterRow, error) {
	inbox, err := s.deps.Mail.Inbox(ctx, v.person.Tenant, v.person.ID, lettersShown*3)
	if err != nil {
		return nil, err
	}
	var out []letterRow
	for i := range inbox {
		m := &inbox[i]
		if m.Channel != "" && m.Channel != inboxChannel || serial != "" && m.Device.Serial != serial || !s.hers(m) || len(out) == lettersShown {
			continue
		}
		out = append(out, s.letterRow(v, m))
	}
	return out, nil
}

const (
	inboxChannel = "inbox"
	pushChannel  = "push"
)

// hers reports whether a message is about a thing that is the person's now, and of the time since it is.
func (s *Site) hers(m *fleet.Message) bool {
	if m.Device.Serial == "" {
		return true
	}
	d, ok := s.deps.Things.Device(m.Device)
	return ok && d.OwnerID == m.PersonID && !m.At.Before(d.OwnedSince) || ok && d.OwnerID != m.PersonID && s.sameHome(m.Tenant, d.OwnerID, m.PersonID) && !m.At.Before(d.OwnedSince)
}

// sameHome reports whether two people live together: one may have heard in the place of the other.
func (s *Site) sameHome(tenant, a, b string) bool {
	x, ok1 := s.deps.People.Person(tenant, a)
	y, ok2 := s.deps.People.Person(tenant, b)
	return ok1 && ok2 && x.Household != "" && x.Household == y.Household
}

func (s *Site) letterRow(v *visit, m *fleet.Message) letterRow {
	row := letterRow{visit: v, At: m.At, Sign: v.severitySign(m.Severity), Title: m.Title, Lead: m.Do, New: m.ReadAt.IsZero(),
		URL: "/m/" + s.seal.Sign(seal.Claim{Purpose: seal.Message, Tenant: m.Tenant, Subject: m.ID, Person: m.PersonID, Expires: v.Now.Add(linkTime)})}
	if allClear(m.Topic) {
		row.Sign, row.Lead = v.goodSign(), ""
	}
	row.Show = m.Severity > fleet.Info || allClear(m.Topic)
	return row
}

func allClear(event string) bool {
	return event == fleet.EventCleared || event == fleet.EventIncidentFixed || event == fleet.EventConfirmedFixed
}

func paragraphs(body string) []string {
	var out []string
	for p := range strings.SplitSeq(body, "\n\n") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}
