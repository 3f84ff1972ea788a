package outreach_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

// household is a world in which anything happens, and what must hold whatever does.
type household struct {
	*world
	t        *rapid.T
	incident fleet.Incident
	asked    []string          // rows that cases asked for
	sent     map[string]int    // successful rings by message id
	known    map[string]bool   // pages whose message has rung
	first    []ring            // the first of each message
	heard    map[string]string // last event by person, channel, case
	consents map[string][][2]time.Time
}

var zoneNames = []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "", "Pacific/Apia"}

// TestWhateverHappens: people, devices, cases, wishes, channels that fail, a process that dies: what REL-10 and the rules of outreach promise
// holds, judged by what the channels were asked to send.
func TestWhateverHappens(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == "100" { // each is weeks of messages in a database of its own
		must(t, f.Value.Set("12"))
		defer func() { must(t, f.Value.Set("100")) }()
	}
	rapid.Check(t, func(rt *rapid.T) {
		h := newHousehold(rt, t.TempDir())
		defer h.close()
		for range rapid.IntRange(5, 90).Draw(rt, "steps") {
			h.happen()
			h.after(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 17, 60, 185, 600, 2900}).Draw(rt, "minutes")) * time.Minute)
			h.nothingStands()
		}
		h.answer = nil
		h.after(60 * 24 * time.Hour)
		h.nothingStands()
		h.everyRowEnded()
		h.neverOverBudget()
	})
}

func newHousehold(t *rapid.T, dir string) *household {
	h := &household{t: t, sent: map[string]int{}, known: map[string]bool{}, heard: map[string]string{}, consents: map[string][][2]time.Time{}}
	h.world = newWorld(t, dir, func(c *outreach.Config) {
		if rapid.Bool().Draw(t, "links") {
			linked(c)
		}
		c.BudgetDay, c.BudgetWeek = rapid.IntRange(1, 3).Draw(t, "a day"), rapid.IntRange(1, 6).Draw(t, "a week")
		c.BudgetReserve = rapid.IntRange(0, 1).Draw(t, "reserve")
	})
	h.now = time.Date(2026, time.Month(rapid.IntRange(1, 12).Draw(t, "month")), 20, rapid.IntRange(0, 23).Draw(t, "hour"), 30, 0, 0, time.UTC)
	zone := rapid.SampledFrom(zoneNames).Draw(t, "zone")
	for i, id := range []string{"anna", "ben", "carl"} {
		if i > 0 && !rapid.Bool().Draw(t, id) {
			delete(h.people, id)
			continue
		}
		p := fleet.Person{ID: id, Tenant: "demo", Name: id, Locale: "en-GB", Zone: zone, Household: "home", Rank: i}
		if id == "carl" { // a stranger, who may buy it
			p.Household = ""
		}
		for _, c := range []string{"ntfy", "email"} {
			if rapid.IntRange(0, 4).Draw(t, id+" "+c) > 0 {
				p.Endpoints = append(p.Endpoints, fleet.Endpoint{Channel: c, Address: id + "@" + c + ".example"})
			}
		}
		h.people[id] = p
	}
	h.watch = h.judge
	h.incident = fleet.Incident{ID: "inc", Tenant: "demo", State: fleet.IncidentClosed, Problem: "p0", Model: "washer-w7", OpenedAt: h.now, Severity: fleet.Fault}
	return h
}

// happen does one thing of all that may happen.
func (h *household) happen() {
	t := h.t
	id := fmt.Sprint("p", rapid.IntRange(0, 6).Draw(t, "problem"))
	c, err := h.store.Case(context.Background(), "demo", id)
	if err != nil {
		c = nil
	}
	switch what := rapid.SampledFrom([]string{"open", "open", "open", "worse", "clear", "clear", "snooze", "remind", "warranty", "review", "wish", "consent", "sell", "incident", "fail", "fail", "die", "receipt"}).
		Draw(t, "what"); {
	case what == "open" && (c == nil || !c.State.Open()):
		h.ask(id, fleet.EventOpened, func(c *fleet.Case) {
			c.State, c.Proof, c.Snooze = fleet.CaseNew, fleet.Proof{}, fleet.Snooze{}
			c.Kind = rapid.SampledFrom([]fleet.Kind{fleet.KindFault, fleet.KindFault, fleet.KindMaintenance, fleet.KindUsage, fleet.KindSafety}).Draw(t, "kind")
			c.Severity = rapid.SampledFrom([]fleet.Severity{fleet.Watch, fleet.Due, fleet.Fault, fleet.Danger}).Draw(t, "severity")
			if h.incident.State == fleet.IncidentOpen && rapid.Bool().Draw(t, "child") {
				c.IncidentID = h.incident.ID
			}
		})
	case what == "worse" && c != nil && c.State.Open() && c.Severity < fleet.Danger:
		h.ask(id, fleet.EventEscalated, func(c *fleet.Case) { c.Severity++ })
	case what == "clear" && c != nil && c.State.Open():
		proven := rapid.Bool().Draw(t, "proven")
		h.ask(id, fleet.EventCleared, func(c *fleet.Case) { c.State, c.Proof = fleet.CaseResolved, fleet.Proof{Since: h.now, Clean: proven} })
	case what == "snooze" && c != nil && c.State.Open():
		z := fleet.Snooze{By: "agent:x", Until: h.now.Add(48 * time.Hour), Severity: c.Severity, Worse: rapid.Bool().Draw(t, "worse")}
		h.put(id, "", func(c *fleet.Case) { c.Snooze = z })
	case what == "remind" && c != nil && c.State.Open():
		h.ask(id, fleet.EventReminder, nil)
	case what == "warranty" && c != nil && c.State.Open():
		h.cover = fleet.Cover{Kind: "manufacturer", Name: "maker", Days: rapid.IntRange(-3, 60).Draw(t, "days"), Pays: rapid.Bool().Draw(t, "pays")}
		h.ask(id, fleet.EventWarranty, nil)
	case what == "review" && c != nil && !c.State.Open():
		h.ask(id, fleet.EventReview, nil)
	case what == "wish":
		p := h.people["anna"]
		p.Preferences = []fleet.Preference{{Topic: rapid.SampledFrom(fleet.Topics()).Draw(t, "topic"), Channel: rapid.SampledFrom([]string{"", "ntfy", "email", "inbox"}).Draw(t, "on"),
			Want: rapid.SampledFrom([]fleet.Want{fleet.WantNow, fleet.WantDigest, fleet.WantNever}).Draw(t, "want")}}
		h.people["anna"] = p
	case what == "consent":
		h.consent()
	case what == "sell":
		h.sell()
	case what == "incident":
		h.declare(id, c)
	case what == "fail":
		h.break_()
	case what == "die":
		h.dying = true
	case what == "receipt" && h.links && len(h.rings) > 0:
		r := h.rings[rapid.IntRange(0, len(h.rings)-1).Draw(t, "ring")]
		if err := h.o.MarkDelivery(context.Background(), "demo", r.m.ID, rapid.SampledFrom([]string{"delivered", "opened"}).Draw(t, "came"), h.now); err != nil && fleet.CodeOf(err) != fleet.CodeNotFound {
			t.Fatal(err)
		}
	}
}

func (h *household) ask(id, topic string, edit func(*fleet.Case)) {
	h.asked = append(h.asked, h.put(id, topic, edit))
}

func (h *household) consent() {
	p := h.people["anna"]
	if len(p.Consents) > 0 {
		p.Consents = nil
		for _, purpose := range []string{"tips", "review"} {
			last := h.consents["anna "+purpose]
			last[len(last)-1][1] = h.now
		}
	} else {
		for _, purpose := range []fleet.Purpose{fleet.PurposeTips, fleet.PurposeReview} {
			p.Consents = append(p.Consents, fleet.Consent{Purpose: purpose, GivenAt: h.now})
			k := "anna " + string(purpose)
			h.consents[k] = append(h.consents[k], [2]time.Time{h.now})
		}
	}
	h.people["anna"] = p
}

func (h *household) sell() {
	to := rapid.SampledFrom([]string{"anna", "ben", "carl", ""}).Draw(h.t, "buyer")
	if _, ok := h.people[to]; ok || to == "" {
		d := h.devices[key]
		if d.OwnerID != to {
			d.OwnerID, d.OwnedSince = to, h.now
		}
		h.devices[key] = d
	}
}

// declare opens an incident, tells of it about a case, or fixes it.
func (h *household) declare(id string, c *fleet.Case) {
	i := &h.incident
	version := i.Version
	ref := func(r *fleet.OutboxRow) { r.Ref = i.ID }
	switch {
	case i.State != fleet.IncidentOpen:
		i.State, i.FixedAt = fleet.IncidentOpen, time.Time{}
	case c != nil && c.State.Open() && rapid.Bool().Draw(h.t, "tell"):
		h.asked = append(h.asked, h.put(id, fleet.EventIncident, func(c *fleet.Case) { c.IncidentID = i.ID }, ref))
		return
	default:
		i.State, i.FixedAt = fleet.IncidentFixed, h.now
	}
	h.ok(h.store.CommitIncident(context.Background(), fleet.IncidentChange{Incident: *i, Expected: version}))
	i.Version++
	if i.State == fleet.IncidentFixed && c != nil && c.IncidentID == i.ID {
		h.asked = append(h.asked, h.put(id, fleet.EventIncidentFixed, nil, ref, func(r *fleet.OutboxRow) { r.PersonID = h.devices[key].OwnerID }))
	}
}

// break_ makes a channel fail for its next calls, or for good.
func (h *household) break_() {
	channel := rapid.SampledFrom([]string{"ntfy", "email"}).Draw(h.t, "channel")
	left := rapid.SampledFrom([]int{1, 3, 8, 1000}).Draw(h.t, "calls")
	how := rapid.SampledFrom([]func(error) error{outreach.Never, outreach.Gone, func(err error) error { return outreach.Again(err, 0) },
		func(err error) error { return outreach.Again(err, time.Hour) }}).Draw(h.t, "how")
	h.answer = func(c string, _ fleet.Message) error {
		if c != channel || left == 0 {
			return nil
		}
		left--
		return how(errors.New("it does not work"))
	}
}

// parent is the id of the page of the message that a row for an endpoint belongs to.
func (h *household) parent(row string) string {
	var b string
	var target struct{ Parent string }
	h.ok(h.raw.QueryRow("SELECT body FROM outbox WHERE id = ?", row).Scan(&b))
	h.ok(json.Unmarshal([]byte(b), &target))
	return target.Parent
}

// judge looks at a message the moment it rings.
func (h *household) judge(r ring) {
	what := fmt.Sprintf("%v %s %s about %s %s (%s) to %s", r.at, r.to.Channel, r.m.Topic, r.m.CaseID, r.m.Ref, r.m.Subject, r.m.PersonID)
	p := h.people[r.m.PersonID]
	safety := r.m.Subject == fleet.TopicSafety
	zone := p.Zone
	if zone == "" {
		zone = "UTC"
	}
	loc, err := time.LoadLocation(zone)
	h.ok(err)
	if hour := r.at.In(loc).Hour(); !safety && (hour >= 21 || hour < 7) {
		h.t.Errorf("%s: rings at night", what)
	}
	h.judgeTruth(what, r.m.Topic, r.m.CaseID)
	d := h.devices[key]
	owner := h.people[d.OwnerID]
	if d.OwnerID != p.ID && (owner.Household == "" || owner.Household != p.Household) {
		h.t.Errorf("%s: the device is %q's", what, d.OwnerID)
	}
	for _, w := range p.Preferences {
		if w.Topic == r.m.Subject && w.Want == fleet.WantNever && (w.Channel == r.to.Channel || w.Channel == "") {
			h.t.Errorf("%s: she never wants to hear of it there", what)
		}
	}
	if need := map[fleet.Topic]string{fleet.TopicTip: "tips", fleet.TopicReview: "review"}[r.m.Subject]; need != "" {
		if spans := h.consents[p.ID+" "+need]; len(spans) == 0 || !spans[len(spans)-1][1].IsZero() {
			h.t.Errorf("%s: no consent", what)
		}
	}
	if r.err != nil {
		return
	}
	h.judgeHeard(what, r)
}

// judgeTruth: nothing is told that is over.
func (h *household) judgeTruth(what, topic, id string) {
	c, err := h.store.Case(context.Background(), "demo", id)
	h.ok(err)
	open := topic == fleet.EventOpened || topic == fleet.EventEscalated || topic == fleet.EventReminder || topic == fleet.EventWarranty || topic == fleet.EventIncident
	switch {
	case topic == fleet.EventIncidentFixed:
		if h.incident.State == fleet.IncidentOpen {
			h.t.Errorf("%s: the incident is open", what)
		}
	case topic == fleet.EventIncident && h.incident.State != fleet.IncidentOpen:
		h.t.Errorf("%s: the incident is over", what)
	case c.State.Open() != open:
		h.t.Errorf("%s: the case is %s", what, c.State)
	}
}

// judgeHeard: no id twice but once after a death, an all-clear only to who was told, and what went along is true too.
func (h *household) judgeHeard(what string, r ring) {
	h.sent[r.m.ID]++
	if n := h.sent[r.m.ID]; n > 1+h.died[r.m.ID] {
		h.t.Errorf("%s: %s is sent %d times", what, r.m.ID, n)
	}
	if parent := h.parent(r.m.ID); !h.known[parent] {
		h.known[parent] = true
		h.first = append(h.first, r)
	}
	h.note(what, r, r.m.CaseID, r.m.Topic, r.m.ID)
	said := []string{r.m.CaseID + r.m.Topic}
	for _, id := range r.m.Merged {
		var topic, about string
		if h.raw.QueryRow("SELECT topic, case_id FROM outbox WHERE id = ?", id).Scan(&topic, &about) == nil { // of an incident it has an id of its own
			h.judgeTruth(what+" with "+topic, topic, about)
			if !slices.Contains(said, about+topic) { // it is said once
				said = append(said, about+topic)
				h.note(what+" with "+topic, r, about, topic, fleet.ID("dlv", id, r.to.Channel, r.to.Address))
			}
		}
	}
}

// note keeps who heard what last. What rang in a process that died may ring again.
func (h *household) note(what string, r ring, about, topic, row string) {
	where := r.m.PersonID + " " + r.to.Channel + " " + about
	if topic == fleet.EventCleared && (h.heard[where] == "" || h.heard[where] == fleet.EventCleared) && h.died[row] == 0 {
		h.t.Errorf("%s: heard %q there before", what, h.heard[where])
	}
	if topic != fleet.EventReview {
		h.heard[where] = topic
	}
}

// nothingStands: what is not ended is due at a time to come, and says why it waits if it was put off.
func (h *household) nothingStands() {
	rows, err := h.raw.Query("SELECT id, topic, channel, due_at, lease_until, attempts, last_err " + live)
	h.ok(err)
	defer func() { h.ok(rows.Close()) }()
	for rows.Next() {
		var id, topic, channel, why string
		var due, lease, tries int64
		h.ok(rows.Scan(&id, &topic, &channel, &due, &lease, &tries, &why))
		if at := time.UnixMilli(max(due, lease)); !at.After(h.now.Add(-time.Millisecond)) {
			h.t.Errorf("%s %s on %q stands at %v since %v: %q", id, topic, channel, h.now, at, why)
		}
		if tries > 0 && why == "" {
			h.t.Errorf("%s %s on %q was tried and does not say how it went", id, topic, channel)
		}
	}
	h.ok(rows.Err())
}

// everyRowEnded: two months later nothing is left, and each row that was asked for says what became of it.
func (h *household) everyRowEnded() {
	rows, err := h.raw.Query("SELECT id || ' ' || topic || ' ' || channel || ' ' || last_err || ' ' || body || ' ' || due_at " + live)
	h.ok(err)
	defer func() { h.ok(rows.Close()) }()
	for rows.Next() {
		var row string
		h.ok(rows.Scan(&row))
		h.t.Errorf("left at %d: %s", h.now.UnixMilli(), row)
	}
	h.ok(rows.Err())
	for _, id := range h.asked {
		var state, trace string
		if err := h.raw.QueryRow("SELECT state, trace FROM deliveries WHERE outbox_id = ?", id).Scan(&state, &trace); err != nil || state == "held" || trace == "" {
			h.t.Errorf("what became of %s: %q %q %v", id, state, trace, err)
		}
	}
	var odd int
	h.ok(h.raw.QueryRow("SELECT COUNT(*) FROM deliveries WHERE state = 'merged' AND substr(reason, 6) NOT IN (SELECT outbox_id FROM deliveries WHERE state = 'sent')").Scan(&odd))
	if odd > 0 {
		h.t.Errorf("%d messages went along with one that was not sent", odd)
	}
}

// neverOverBudget: no message is the first to ring when the household has had as many as its topic may be written. What rang in a process
// that died is left out: its place may have been given back.
func (h *household) neverOverBudget() {
	byHouse := map[string][]ring{}
	for _, r := range h.first {
		house := h.people[r.m.PersonID].Household
		if house == "" {
			house = r.m.PersonID
		}
		if h.died[r.m.ID] == 0 {
			byHouse[house] = append(byHouse[house], r)
		}
	}
	for _, rs := range byHouse {
		for i, r := range rs {
			if r.m.Subject == fleet.TopicSafety {
				continue
			}
			for span, limit := range map[time.Duration]int{24 * time.Hour: h.config.BudgetDay, 7 * 24 * time.Hour: h.config.BudgetWeek} {
				switch r.m.Subject {
				case fleet.TopicFault:
					limit += h.config.BudgetReserve
				case fleet.TopicTip, fleet.TopicReview:
					limit = max(1, limit-1)
				}
				had := 0
				for _, before := range rs[:i] {
					if before.at.After(r.at.Add(-span)) {
						had++
					}
				}
				if had >= limit {
					h.t.Errorf("%v: %s %s is number %d in %v, at most %d\n%s", r.at, r.m.Subject, r.m.Topic, had+1, span, limit, strings.Join(h.rang(), "\n"))
				}
			}
		}
	}
}
