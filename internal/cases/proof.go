package cases

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// The proof of a fix. A case that somebody says is repaired is watched: it ends as proven when the device was used for a while
// without the symptom, and is the same case again, with the same partner, when that is back. How much use is enough is counted by
// the part that was at fault, if the rule names one whose use is counted, else by days on which the device was heard: a machine
// that stands in a cellar proves nothing.

// TimerProof is the topic of the timers that look how much a watched device was used.
const TimerProof = "proof"

const verbUpdated fleet.CaseVerb = "updated" // its device has another firmware

// The words of the history.
const (
	actProven   = "proven"
	actUnproven = "unproven" // the longest time has passed without enough use
)

// ProofConfig says how much use proves a fix.
type ProofConfig struct {
	Hours       float64       `mapstructure:"hours" help:"operating hours without the symptom that prove a fix, where the part's use is counted in hours"`
	Cycles      float64       `mapstructure:"cycles" help:"cycles that prove it, where use is counted in cycles; more for parts that are made for very many, see share"`
	Share       float64       `mapstructure:"share" help:"share of a part's life that proves it, for other units; of cycles at least so much"`
	Time        time.Duration `mapstructure:"time" help:"time in which the device was heard that proves it, where no use is counted"`
	Parts       []PartUse     `mapstructure:"parts" help:"how much proves the fix of one component, in its own unit, such as \"drain-pump 30\""`
	AtLeast     time.Duration `mapstructure:"at_least" help:"no fix is proven in less time, however much the device is used"`
	MaxWait     time.Duration `mapstructure:"max_wait" help:"agents are told when a device was not used enough in so long; until then a symptom is the same case; 0: no fix is watched"`
	Check       time.Duration `mapstructure:"check" help:"how often the use of a watched device is looked at"`
	ReviewAfter time.Duration `mapstructure:"review_after" help:"how long after a proven fix the owner may be asked for a review; 0: never"`
}

// PartUse is how much use of a component proves its fix. It is written as "drain-pump 30".
type PartUse struct {
	Component string
	Need      float64
}

// MarshalText is part of encoding.TextMarshaler.
func (p PartUse) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func (p PartUse) String() string {
	return p.Component + " " + strconv.FormatFloat(p.Need, 'g', -1, 64)
}

// UnmarshalText is part of encoding.TextUnmarshaler.
func (p *PartUse) UnmarshalText(text []byte) error {
	w := strings.Fields(string(text))
	if len(w) != 2 {
		return fmt.Errorf("%q: want a component and a number, such as \"drain-pump 30\"", text)
	}
	need, err := strconv.ParseFloat(w[1], 64)
	if err != nil || !(need > 0) || math.IsInf(need, 0) {
		return fmt.Errorf("%q: want a number above 0 behind the component", text)
	}
	p.Component, p.Need = w[0], need
	return nil
}

// DefaultProof is 20 hours, 10 cycles or half a percent of a part's life, else two weeks.
func DefaultProof() ProofConfig {
	return ProofConfig{Hours: 20, Cycles: 10, Share: 0.005, Time: 14 * 24 * time.Hour, AtLeast: 48 * time.Hour, MaxWait: 60 * 24 * time.Hour, Check: 6 * time.Hour,
		ReviewAfter: 3 * 24 * time.Hour}
}

func (c ProofConfig) validate() (errs []error) {
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("cases.proof."+format, args...))
		}
	}
	positive := func(v float64) bool { return v > 0 && !math.IsInf(v, 0) }
	bad(!positive(c.Hours), "hours %v: want more than 0", c.Hours)
	bad(!positive(c.Cycles), "cycles %v: want more than 0", c.Cycles)
	bad(!(c.Share > 0 && c.Share <= 1), "share %v: want more than 0 and at most 1", c.Share)
	bad(c.Time <= 0, "time %v: want more than 0", c.Time)
	bad(c.AtLeast < 0, "at_least %v: must not be negative", c.AtLeast)
	bad(c.MaxWait < 0 || c.MaxWait > 0 && c.MaxWait < max(c.Time, c.AtLeast), "max_wait %v: want 0, or at least cases.proof.time and at_least", c.MaxWait)
	bad(c.Check < time.Minute, "check %v: want at least 1m", c.Check)
	bad(c.ReviewAfter < 0, "review_after %v: must not be negative", c.ReviewAfter)
	return errs
}

// Usage answers how much a device was used: the newest value of a counter of its model's profile (a field, or what rules count such
// as hours(running)), and the device's time of it. With an empty counter at is that of its newest reading. ok is false when
// there is none.
type Usage interface {
	Use(ctx context.Context, key fleet.DeviceKey, model, counter string) (value float64, at time.Time, ok bool, err error)
}

// Parts answers from memory what a model is made of, and which of its components a rule is about; empty: none.
type Parts interface {
	Model(id string) (*fleet.Model, bool)
	Component(rule string) string
}

// Deliveries answers what became of a case's messages, oldest first.
type Deliveries interface {
	CaseDeliveries(ctx context.Context, tenant, caseID string) ([]fleet.Delivery, error)
}

// units of what proves a fix.
const (
	unitHours  = "h"
	unitCycles = "cycles"
	unitDays   = "days"
)

// gauge is what is counted, and how much of it proves a fix.
type gauge struct {
	counter, unit string
	need          float64
}

func (c ProofConfig) byTime() gauge {
	return gauge{unit: unitDays, need: c.Time.Hours() / 24}
}

// gauge chooses what is counted for a component of a model.
func (c ProofConfig) gauge(m *fleet.Model, component string) gauge {
	if m == nil || component == "" {
		return c.byTime()
	}
	i := slices.IndexFunc(m.Components, func(p fleet.Component) bool { return p.Name == component })
	if i < 0 || m.Components[i].Counter == "" {
		return c.byTime()
	}
	p := m.Components[i]
	g := gauge{counter: p.Counter, need: c.Share * p.Life}
	switch spec := m.Field(p.Counter); {
	case spec != nil && spec.Unit == "h", strings.HasPrefix(p.Counter, "hours("):
		g.unit, g.need = unitHours, c.Hours
	case spec != nil && (spec.Unit == "1" || spec.Unit == ""), strings.HasPrefix(p.Counter, "starts("):
		g.unit, g.need = unitCycles, max(c.Cycles, g.need)
	case spec != nil:
		g.unit = spec.Unit
	}
	for _, part := range c.Parts {
		if part.Component == component {
			g.need = part.Need
		}
	}
	if !(g.need > 0) { // neither its unit nor its life is known
		return c.byTime()
	}
	return g
}

// proves says whether an outcome is one that has to be proven.
func proves(o fleet.Outcome) bool {
	return o == fleet.OutcomeRepaired || o == fleet.OutcomePart || o == fleet.OutcomeUpdated || o == fleet.OutcomeOwnerFixed
}

// prove is where the proof of a fix begins: in a case that was just said to be over.
func (e *edit) prove() {
	k := &e.c
	if e.cfg.Proof.MaxWait == 0 || !proves(k.Outcome) || !k.Live {
		return
	}
	since := e.now.Truncate(time.Millisecond)
	k.State, k.CloseAt = fleet.CaseWatching, time.Time{}
	k.Proof = fleet.Proof{Since: since, Until: since.Add(e.cfg.Proof.MaxWait)} // the rest is known when the counter was looked at
	e.proofTimer(since)
}

// proofTimer wakes for the proof. Its id is of the fix and the time: who does the same twice writes one row.
func (e *edit) proofTimer(due time.Time) {
	e.outbox = append(e.outbox, fleet.OutboxRow{ID: fleet.ID("tmr", e.c.ID, TimerProof, fmt.Sprint(e.c.ClosedAt.UnixMilli()), fmt.Sprint(due.UnixMilli())),
		Kind: fleet.OutboxTimer, Tenant: e.c.Device.Tenant, CaseID: e.c.ID, Topic: TimerProof, DueAt: due})
}

// unprove takes back what was said, or is to be asked, because a fix was proven: the problem is back.
func (e *edit) unprove() {
	if !e.c.Proof.Since.IsZero() {
		e.recall("the problem is back", fleet.EventConfirmedFixed, fleet.EventReview)
	}
}

// Updated has an open case watched because its device has another firmware now: that may have been the fix. It does nothing for a case
// that is over.
func (c *Cases) Updated(ctx context.Context, tenant, caseID, firmware string, at time.Time) error {
	a := Action{Tenant: tenant, CaseID: caseID, Actor: actorIncidents, At: at}
	return c.act(ctx, a, func(e *edit) error {
		if !e.c.State.Open() {
			return nil
		}
		to, err := Next(e.c.State, verbUpdated, a.Actor)
		if err != nil {
			return err
		}
		e.c.FixCause, e.c.FixPart = "", cut(firmware)
		e.over(to, fleet.OutcomeUpdated)
		e.audit(string(verbUpdated), "the device has firmware "+e.c.FixPart)
		return nil
	})
}

// use is what was found out about a watched device.
type use struct {
	gauge gauge
	value float64
	at    time.Time
	ok    bool
	old   bool     // it still has the firmware that it had when the case was opened
	told  []string // who was told of the problem
}

// proof looks whether a watched fix is proven.
func (c *Cases) proof(ctx context.Context, row fleet.OutboxRow, now time.Time) error {
	err := c.deciding(ctx, func() ([]fleet.Change, bool, error) {
		k, err := c.store.Case(ctx, row.Tenant, row.CaseID)
		if err != nil || k.State != fleet.CaseWatching || k.Proof.Since.IsZero() {
			return nil, false, err
		}
		u, err := c.use(ctx, k, now)
		if err != nil {
			return nil, false, err
		}
		e := c.edit(k, actorClock, now)
		e.watch(u)
		if len(e.audited) == 0 {
			return []fleet.Change{e.unsaid()}, true, nil
		}
		return []fleet.Change{e.finish(now, TimerProof, fmt.Sprint("version ", e.before.Version))}, true, nil
	})
	if fleet.CodeOf(err) == fleet.CodeNotFound {
		return nil
	}
	return err
}

// unsaid is a change that nobody needs to hear of.
func (e *edit) unsaid() fleet.Change {
	e.c.Version = e.before.Version + 1
	return fleet.Change{Case: e.c, Expected: e.before.Version, Outbox: e.outbox}
}

// use asks the surroundings about a watched device.
func (c *Cases) use(ctx context.Context, k *fleet.Case, now time.Time) (u use, err error) {
	u.gauge = c.cfg.Proof.byTime()
	if c.deps.Parts != nil {
		m, _ := c.deps.Parts.Model(k.Model)
		u.gauge = c.cfg.Proof.gauge(m, c.deps.Parts.Component(k.Rule))
	}
	if c.deps.Usage == nil { // days by the calendar
		u.gauge, u.at, u.ok = c.cfg.Proof.byTime(), now, true
	} else if u.value, u.at, u.ok, err = c.deps.Usage.Use(ctx, k.Device, k.Model, u.gauge.counter); err != nil {
		return u, fmt.Errorf("use of %s: %w", k.Device, err)
	}
	if !u.ok && u.gauge.counter != "" && k.Proof.Counter == "" { // it does not send what its profile names
		u.gauge = c.cfg.Proof.byTime()
		if u.value, u.at, u.ok, err = c.deps.Usage.Use(ctx, k.Device, k.Model, ""); err != nil {
			return u, fmt.Errorf("use of %s: %w", k.Device, err)
		}
	}
	if c.deps.Devices != nil && k.Outcome == fleet.OutcomeUpdated && k.Firmware != "" {
		d, ok := c.deps.Devices.Device(k.Device)
		u.old = ok && d.Firmware == k.Firmware
	}
	if c.deps.Deliveries == nil {
		return u, nil
	}
	all, err := c.deps.Deliveries.CaseDeliveries(ctx, k.Device.Tenant, k.ID)
	for i := range all {
		if d := &all[i]; d.PersonID != "" && d.State == "sent" && tells(d.Topic) && !slices.Contains(u.told, d.PersonID) {
			u.told = append(u.told, d.PersonID)
		}
	}
	slices.Sort(u.told)
	return u, err
}

// tells says whether a message of this event told of a problem.
func tells(event string) bool {
	return event == fleet.EventOpened || event == fleet.EventEscalated || event == fleet.EventReminder || event == fleet.EventIncident
}

// watch decides from what was found out: proven, not yet, or not to be proven in the longest time.
func (e *edit) watch(u use) {
	k, p, cfg := &e.c, &e.c.Proof, e.cfg.Proof
	if u.old { // it counts from the new firmware on
		p.Since, p.Unit = e.now.Truncate(time.Millisecond), ""
	}
	e.measure(u)
	enough := p.Unit != "" && p.Seen >= p.Need && !e.now.Before(p.Since.Add(cfg.AtLeast))
	switch {
	case enough && open(k) == 0 && !u.old:
		e.proven(u.told)
		return
	case !e.now.Before(p.Until):
		what := fmt.Sprintf("%s of %s %s", number(p.Seen), number(p.Need), p.Unit)
		switch {
		case u.old:
			what = "the device has firmware " + k.Firmware + " still"
		case open(k) > 0:
			what = "its condition holds still"
		case p.Seen == 0:
			what = "the device was not used at all"
		}
		e.audit(actUnproven, what)
		e.tellAgents("proof_missing", "info", k.Assignee, e.headline(), "said to be "+said(fleet.CaseState(k.Outcome))+", and not proven: "+what)
		p.Until = e.now.Add(cfg.MaxWait).Truncate(time.Millisecond)
	}
	e.proofTimer(e.now.Truncate(cfg.Check).Add(cfg.Check))
}

// measure brings the use since the fix up to date. A counter that went back was reset, as with a new part: it counts on from there.
func (e *edit) measure(u use) {
	p, g := &e.c.Proof, u.gauge
	if !u.ok {
		return
	}
	if p.Unit != g.unit || p.Counter != g.counter { // the first time, or the profile is another one
		p.Counter, p.Unit, p.From, p.Seen = g.counter, g.unit, u.value, 0
	}
	p.Need = g.need
	switch {
	case p.Counter == "":
		p.Seen = max(p.Seen, u.at.Sub(p.Since).Hours()/24)
	case u.value < p.From+p.Seen:
		p.From = u.value - p.Seen
	default:
		p.Seen = u.value - p.From
	}
}

// proven ends the case for good. Only now may its owner be asked for a review.
func (e *edit) proven(told []string) {
	k := &e.c
	k.State, k.ClosedAt, k.CheckAt, k.Proof.Clean = fleet.CaseClosed, e.now.Truncate(time.Millisecond), time.Time{}, true
	e.audit(actProven, fmt.Sprintf("%s %s without the symptom", number(k.Proof.Seen), k.Proof.Unit))
	e.count("outcome:" + string(fleet.OutcomeConfirmedFix))
	for _, person := range told {
		cause := fmt.Sprintf("proof %d %s", k.Proof.Since.UnixMilli(), person)
		e.message(fleet.EventConfirmedFixed, cause, e.now, e.now).PersonID = person
		if e.cfg.Proof.ReviewAfter > 0 {
			e.message(fleet.EventReview, cause, e.now.Add(e.cfg.Proof.ReviewAfter), e.now).PersonID = person
		}
	}
}

func number(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }
