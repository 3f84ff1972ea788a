package score

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Homes is one part of a fleet whose messages to people are judged: who lives where, what was found, and what became of messages.
type Homes struct {
	People   []Resident
	Findings []fleet.Finding
	Span     Span
	Messages []Message
}

// Resident is a person of a household.
type Resident struct {
	ID, Household string
	Zone          *time.Location
}

// Rules are what messages are judged by. They are the promises, not the settings of the server that is judged.
type Rules struct {
	QuietFrom, QuietUntil int // full hours on the person's wall
	Day, Week, Reserve    int // messages to a household in 24 hours and seven days, and how many more when the last one is of a fault
}

// DefaultRules are the promises of the defaults: quiet from 21 to 7, two a day and five a week, and one more for a fault.
func DefaultRules() Rules {
	return Rules{QuietFrom: 21, QuietUntil: 7, Day: 2, Week: 5, Reserve: 1}
}

// ReadPeople reads the list of people that a simulation writes.
func ReadPeople(in io.Reader) ([]Resident, error) {
	rows, err := csv.NewReader(in).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) < 2 {
		return nil, errors.New("there are no people")
	}
	id, home, zone := slices.Index(rows[0], "id"), slices.Index(rows[0], "household"), slices.Index(rows[0], "zone")
	if id < 0 || home < 0 || zone < 0 {
		return nil, fmt.Errorf("want the columns id, household and zone, there are %v", rows[0])
	}
	zones := map[string]*time.Location{}
	var out []Resident
	for i, row := range rows[1:] {
		if zones[row[zone]] == nil {
			l, err := time.LoadLocation(row[zone])
			if err != nil || row[zone] == "" {
				return nil, fmt.Errorf("line %d: zone %q: there is no such time zone", i+2, row[zone])
			}
			zones[row[zone]] = l
		}
		out = append(out, Resident{ID: row[id], Household: row[home], Zone: zones[row[zone]]})
	}
	return out, nil
}

// Households is what people heard in their homes. The Violations are promises that were broken: all have to be zero.
type Households struct {
	Households int     `json:"households"`
	People     int     `json:"people"`
	Devices    int     `json:"devices"`
	Days       float64 `json:"days"`

	Topics []TopicCount   `json:"topics"` // in order of priority, then all of them
	States map[string]int `json:"states"` // lines by what became of messages
	Did    map[string]int `json:"did"`    // what people did

	Quiet   Violations `json:"in_quiet_hours"`     // rang at night, and was not about safety
	Over    Violations `json:"about_what_is_over"` // told of a problem that did not hold then, or gave the all-clear for one that did
	Twice   Violations `json:"twice"`              // the same again to the same person on the same channel
	Budget  Violations `json:"over_budget"`
	Dropped Violations `json:"dropped"` // asked for, and did not end in exactly one way
}

// Violations are how often a promise was broken, and the first few times.
type Violations struct {
	N     int      `json:"n"`
	First []string `json:"first,omitempty"`
}

const maxNamed = 10

func (v *Violations) add(format string, args ...any) {
	v.N++
	if len(v.First) < maxNamed {
		v.First = append(v.First, fmt.Sprintf(format, args...))
	}
}

// TopicCount is how many messages of a topic a household had in a year: in the list of messages, and of those that rang.
type TopicCount struct {
	Topic string `json:"topic"`
	Inbox Spread `json:"inbox"`
	Rang  Spread `json:"rang"`
}

// Spread is how a number differs between households, for a year of 365 days.
type Spread struct {
	Mean   float64 `json:"mean"`
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
	Max    float64 `json:"max"`
}

// Err is not nil when a promise was broken.
func (h *Households) Err() error {
	var errs []error
	for _, z := range h.zeros() {
		if z.v.N > 0 {
			errs = append(errs, fmt.Errorf("%d messages %s", z.v.N, z.name))
		}
	}
	return errors.Join(errs...)
}

type zero struct {
	name string
	v    *Violations
}

func (h *Households) zeros() []zero {
	return []zero{{"in quiet hours", &h.Quiet}, {"about something that was over", &h.Over}, {"twice", &h.Twice}, {"over the household's budget", &h.Budget},
		{"without exactly one end", &h.Dropped}}
}

// homesJudge goes through the messages of one part, in the order in which they were written.
type homesJudge struct {
	rules    Rules
	in       *Homes
	out      *Households
	people   map[string]Resident
	episodes map[string][]episodeEdge     // by device and problem, in order of receipt
	said     map[saying]bool              // since the last all-clear
	contacts map[string][]time.Time       // by household: what rang, safety apart
	rang     map[string]bool              // by person and message
	ends     map[string]int               // by row
	counts   map[string]map[string][2]int // by household and topic: in the inbox, and what rang
}

// episodeEdge is the begin or the end of an episode.
type episodeEdge struct {
	at   time.Time
	id   string
	open bool
}

// saying is what must not be said twice.
type saying struct {
	person, channel, endpoint, about, event string
	severity                                fleet.Severity
}

// JudgeHouseholds judges what people heard. The parts are fleets of their own; their spans should be equally long.
func JudgeHouseholds(rules Rules, parts ...Homes) *Households {
	h := &Households{States: map[string]int{}, Did: map[string]int{}}
	per := map[string][][2]int{} // by topic: of each household
	for i := range parts {
		j := &homesJudge{rules: rules, in: &parts[i], out: h, people: map[string]Resident{}, said: map[saying]bool{}, contacts: map[string][]time.Time{},
			rang: map[string]bool{}, ends: map[string]int{}, counts: map[string]map[string][2]int{}}
		j.run()
		for _, home := range j.counts {
			for _, t := range topicNames() {
				per[t] = append(per[t], home[t])
			}
		}
		h.Households += len(j.counts)
		h.People += len(parts[i].People)
		h.Devices += parts[i].Span.Devices
		h.Days = parts[i].Span.To.Sub(parts[i].Span.From).Hours() / 24
	}
	for _, t := range topicNames() {
		h.Topics = append(h.Topics, TopicCount{Topic: t, Inbox: spread(per[t], 0, h.Days), Rang: spread(per[t], 1, h.Days)})
	}
	return h
}

const allTopics = "all"

func topicNames() (out []string) {
	for _, t := range fleet.Topics() {
		out = append(out, string(t))
	}
	return append(out, allTopics)
}

func spread(of [][2]int, which int, days float64) Spread {
	if len(of) == 0 || days <= 0 {
		return Spread{}
	}
	year := 365 / days
	n, sum := make([]int, len(of)), 0
	for i := range of {
		n[i] = of[i][which]
		sum += n[i]
	}
	slices.Sort(n)
	at := func(share float64) float64 { return year * float64(n[min(int(share*float64(len(n))), len(n)-1)]) }
	return Spread{Mean: year * float64(sum) / float64(len(n)), Median: at(0.5), P95: at(0.95), Max: year * float64(n[len(n)-1])}
}

func (j *homesJudge) run() {
	for _, p := range j.in.People {
		j.people[p.ID] = p
		if j.counts[p.Household] == nil {
			j.counts[p.Household] = map[string][2]int{}
		}
	}
	j.episodes = episodes(j.in.Findings)
	for i := range j.in.Messages {
		m := &j.in.Messages[i]
		if m.Channel == "operations" {
			continue
		}
		if m.State != "did" {
			j.out.States[m.State]++
		}
		switch m.State {
		case "asked":
			j.ends[m.ID] += 0
		case "did":
			j.out.Did[m.Did]++
			j.answered(m)
		case "sent", "merged":
			j.ended(m)
			j.heard(m)
		case "skipped", "dead", "withdrawn", "waiting":
			j.ended(m)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(j.ends)) {
		if j.ends[id] == 0 {
			j.out.Dropped.add("message %s was asked for and is gone", id)
		}
	}
}

func (j *homesJudge) ended(m *Message) {
	n, asked := j.ends[m.ID]
	switch {
	case !asked:
		j.out.Dropped.add("message %s was %s and nobody had asked for it", m.ID, m.State)
	case n > 0:
		j.out.Dropped.add("message %s was %s and had ended before", m.ID, m.State)
	}
	j.ends[m.ID]++
}

// heard judges a message that somebody got.
func (j *homesJudge) heard(m *Message) {
	p, known := j.people[m.Person]
	if !known {
		j.out.Dropped.add("message %s went to %q, who is not there", m.ID, m.Person)
		return
	}
	topic := topicOf(m)
	if m.Channel == "inbox" {
		j.tally(p.Household, topic, 0)
	} else if m.State == "sent" {
		j.rings(m, p, topic)
	}
	j.isTrue(m)
	j.once(m)
}

func (j *homesJudge) tally(home string, topic fleet.Topic, which int) {
	for _, t := range []string{string(topic), allTopics} {
		c := j.counts[home][t]
		c[which]++
		j.counts[home][t] = c
	}
}

// rings judges when, and how often, something rang.
func (j *homesJudge) rings(m *Message, p Resident, topic fleet.Topic) {
	local := m.At.In(p.Zone)
	if night := local.Hour() >= j.rules.QuietFrom || local.Hour() < j.rules.QuietUntil; night && topic != fleet.TopicSafety {
		j.out.Quiet.add("%s rang at %s: %s %s of %s (%s)", p.ID, local.Format("2006-01-02 15:04"), m.Event, m.Problem, m.Device, m.ID)
	}
	key := m.Person + " " + m.Message
	if j.rang[key] {
		return // on another channel
	}
	j.rang[key] = true
	j.tally(p.Household, topic, 1)
	if topic == fleet.TopicSafety {
		return
	}
	j.contacts[p.Household] = append(j.contacts[p.Household], m.At)
	times := j.contacts[p.Household]
	inDay, inWeek := within(times, m.At, 24*time.Hour), within(times, m.At, 7*24*time.Hour)
	day, week := j.rules.Day, j.rules.Week
	if topic == fleet.TopicFault {
		day, week = day+j.rules.Reserve, week+j.rules.Reserve
	}
	if inDay > day || inWeek > week {
		j.out.Budget.add("%s had %d in 24 hours and %d in seven days at %s: %s %s (%s)", p.Household, inDay, inWeek, m.At.Format(time.RFC3339), m.Event, m.Problem, m.ID)
	}
	j.contacts[p.Household] = times[max(0, len(times)-64):]
}

func within(times []time.Time, now time.Time, span time.Duration) (n int) {
	for _, t := range times {
		if t.After(now.Add(-span)) {
			n++
		}
	}
	return n
}

// isTrue asks the findings whether what was said held when it was said.
func (j *homesJudge) isTrue(m *Message) {
	tells, clears := false, false
	switch m.Event {
	case fleet.EventOpened, fleet.EventEscalated, fleet.EventReminder, fleet.EventWarranty, fleet.EventIncident:
		tells = m.Case != "" && m.Device != ""
	case fleet.EventCleared, fleet.EventConfirmedFixed, fleet.EventReview:
		clears = true
	}
	open := j.openAt(m.Device, m.Problem, m.At)
	switch {
	case tells && !open:
		j.out.Over.add("%s of %s %s to %s by %s at %s: it was over (%s)", m.Event, m.Device, m.Problem, m.Person, m.Channel, m.At.Format(time.RFC3339), m.ID)
	case clears && open:
		j.out.Over.add("%s of %s %s to %s by %s at %s: it was not over (%s)", m.Event, m.Device, m.Problem, m.Person, m.Channel, m.At.Format(time.RFC3339), m.ID)
	}
}

// openAt says whether an episode of the device's problem was open, as far as was known then.
func (j *homesJudge) openAt(device, problem string, at time.Time) bool {
	open := map[string]bool{}
	for _, e := range j.episodes[device+" "+problem] {
		if e.at.After(at) {
			break
		}
		open[e.id] = e.open
	}
	for _, o := range open {
		if o {
			return true
		}
	}
	return false
}

func episodes(findings []fleet.Finding) map[string][]episodeEdge {
	out := map[string][]episodeEdge{}
	for i := range findings {
		f := &findings[i]
		key := f.Device.Serial + " " + f.Problem
		out[key] = append(out[key], episodeEdge{at: f.Received, id: f.ID, open: f.Phase != fleet.Cleared})
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(a, b episodeEdge) int { return a.at.Compare(b.at) })
	}
	return out
}

// once judges whether it was said before. News of an end makes room for saying it again.
func (j *homesJudge) once(m *Message) {
	s := saying{m.Person, m.Channel, m.Endpoint, cmp.Or(m.Case, m.Ref), m.Event, m.Severity}
	if m.Event == fleet.EventVisit { // of each visit, and each change of it
		s.about += " " + m.ID
	}
	if j.said[s] {
		j.out.Twice.add("%s of %s %s at %s to %s by %s %s, at %s again (%s)", m.Event, m.Device, m.Problem, m.Severity, m.Person, m.Channel, m.Endpoint,
			m.At.Format(time.RFC3339), m.ID)
	}
	j.said[s] = true
	switch m.Event {
	case fleet.EventCleared, fleet.EventConfirmedFixed, fleet.EventIncidentFixed:
		j.forget(func(k saying) bool {
			return k.about == s.about && k.person == m.Person && k.channel == m.Channel && k.endpoint == m.Endpoint && k.event != m.Event
		})
	default: // it is so again: a later end is another one
		j.forget(func(k saying) bool {
			return k.about == s.about && k.person == m.Person && (k.event == fleet.EventCleared || k.event == fleet.EventConfirmedFixed || k.event == fleet.EventReview)
		})
	}
}

// answered makes room, too: who says that it is fixed hears when it is back, and who says "not now" wants to be reminded.
func (j *homesJudge) answered(m *Message) {
	switch fleet.Verdict(m.Did) {
	case fleet.VerdictFixed:
		j.forget(func(k saying) bool { return k.about == m.Case })
	case fleet.VerdictNotNow:
		j.forget(func(k saying) bool {
			return k.about == m.Case && k.person == m.Person && k.event == fleet.EventReminder
		})
	}
}

func (j *homesJudge) forget(which func(saying) bool) {
	for k := range j.said {
		if which(k) {
			delete(j.said, k)
		}
	}
}

// topicOf is what a message is about, by its event and by what was found.
func topicOf(m *Message) fleet.Topic {
	t := fleet.TopicOf(m.Kind, m.Severity)
	incident := m.Event == fleet.EventIncident || m.Event == fleet.EventIncidentNews || m.Event == fleet.EventIncidentFixed
	switch {
	case m.Event == fleet.EventReview:
		return fleet.TopicReview
	case m.Event == fleet.EventWarranty:
		return fleet.TopicWarranty
	case m.Event == fleet.EventVisit, incident && t != fleet.TopicSafety:
		return fleet.TopicFault
	case t != "":
		return t
	case m.Kind == fleet.KindUsage:
		return fleet.TopicTip
	}
	return fleet.TopicMaintenance
}

// Print writes all of it for people.
func (h *Households) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d households with %d people and %d devices, %.1f days\n\n", h.Households, h.People, h.Devices, h.Days)
	fmt.Fprintf(&b, "messages per household and year\n%-12s %35s   %35s\n", "", "in the list of messages", "rang")
	fmt.Fprintf(&b, "%-12s %8s %8s %8s %8s   %8s %8s %8s %8s\n", "", "mean", "median", "95 %", "max", "mean", "median", "95 %", "max")
	for _, t := range h.Topics {
		fmt.Fprintf(&b, "%-12s %8.2f %8.1f %8.1f %8.1f   %8.2f %8.1f %8.1f %8.1f\n", t.Topic, t.Inbox.Mean, t.Inbox.Median, t.Inbox.P95, t.Inbox.Max,
			t.Rang.Mean, t.Rang.Median, t.Rang.P95, t.Rang.Max)
	}
	b.WriteString("\n")
	for _, z := range h.zeros() {
		fmt.Fprintf(&b, "%6d %s\n", z.v.N, z.name)
		for _, text := range z.v.First {
			fmt.Fprintf(&b, "         %s\n", text)
		}
	}
	fmt.Fprintf(&b, "\nwhat became of messages:%s\nwhat people did:%s\n", counted(h.States), counted(h.Did))
	_, err := io.WriteString(w, b.String())
	return err
}

func counted(m map[string]int) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, " %s %d", k, m[k])
	}
	return b.String()
}
