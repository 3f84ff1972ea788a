package score

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// diary makes logs of messages by hand.
type diary struct {
	part Homes
	n    int
}

var (
	diaryStart = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	berlin     = func() *time.Location {
		l, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			panic(err)
		}
		return l
	}()
)

func newDiary(people int) *diary {
	d := &diary{}
	for i := range people {
		d.part.People = append(d.part.People, Resident{ID: fmt.Sprintf("p%d", i), Household: fmt.Sprintf("h%d", i/2), Zone: berlin})
	}
	d.part.Span = Span{Devices: people, From: diaryStart, To: diaryStart.AddDate(1, 0, 0)}
	return d
}

// finding says that the problem of a person's device began or ended.
func (d *diary) finding(person int, phase fleet.Phase, at time.Time) {
	d.part.Findings = append(d.part.Findings, fleet.Finding{ID: fmt.Sprintf("f%d", person), Phase: phase, Problem: "drain", Received: at,
		Device: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("d%d", person)}})
}

// message is asked for and sent, to the list of messages or a phone.
func (d *diary) message(person int, event, channel string, at time.Time) *Message {
	d.n++
	m := Message{At: at, State: "sent", ID: fmt.Sprintf("m%d", d.n), Message: fmt.Sprintf("m%d", d.n), Event: event, Channel: channel, Person: fmt.Sprintf("p%d", person),
		Device: fmt.Sprintf("d%d", person), Problem: "drain", Case: fmt.Sprintf("c%d", person), Kind: fleet.KindMaintenance, Severity: fleet.Due}
	asked := m
	asked.State = "asked"
	d.part.Messages = append(d.part.Messages, asked, m)
	return &d.part.Messages[len(d.part.Messages)-1]
}

func (d *diary) judge() *Households { return JudgeHouseholds(DefaultRules(), d.part) }

func (h *Households) broken() string {
	return fmt.Sprintf("quiet %d over %d twice %d budget %d dropped %d", h.Quiet.N, h.Over.N, h.Twice.N, h.Budget.N, h.Dropped.N)
}

const nothingBroken = "quiet 0 over 0 twice 0 budget 0 dropped 0"

// TestHouseholdsProperty: of logs without a mistake none is named, and one mistake that is put into one of them is named as what it is.
func TestHouseholdsProperty(t *testing.T) {
	noon := 11 * time.Hour
	mistakes := []struct {
		want string
		make func(d *diary, p int, day time.Time)
	}{
		{"quiet 1 over 0 twice 0 budget 0 dropped 0", func(d *diary, p int, day time.Time) {
			d.message(p, "escalated", "ntfy", day.Add(20*time.Hour+time.Minute))
		}},
		{"quiet 1 over 0 twice 0 budget 0 dropped 0", func(d *diary, p int, day time.Time) {
			d.message(p, "escalated", "email", day.Add(28*time.Hour))
		}},
		{"quiet 0 over 1 twice 0 budget 0 dropped 0", func(d *diary, p int, day time.Time) {
			d.finding(p, fleet.Cleared, day.Add(noon+time.Hour))
			d.message(p, "reminder", "inbox", day.Add(noon+time.Hour))
		}},
		{"quiet 0 over 1 twice 0 budget 0 dropped 0", func(d *diary, p int, day time.Time) { d.message(p, "cleared", "inbox", day.Add(noon+time.Hour)) }},
		{"quiet 0 over 0 twice 1 budget 0 dropped 0", func(d *diary, p int, day time.Time) { d.message(p, "opened", "inbox", day.Add(noon+time.Hour)) }},
		{"quiet 0 over 0 twice 1 budget 0 dropped 0", func(d *diary, p int, day time.Time) {
			d.message(p, "opened", "ntfy", day.Add(noon+time.Hour)).State = "merged"
		}},
		{"quiet 0 over 0 twice 0 budget 1 dropped 0", func(d *diary, p int, day time.Time) {
			for i, event := range []string{"escalated", "reminder"} {
				d.message(p, event, "ntfy", day.Add(noon+time.Duration(i+1)*time.Hour))
			}
		}},
		{"quiet 0 over 0 twice 0 budget 0 dropped 1", func(d *diary, p int, day time.Time) {
			d.message(p, "escalated", "inbox", day.Add(noon+time.Hour)).State = "held"
		}},
		{"quiet 0 over 0 twice 0 budget 0 dropped 1", func(d *diary, p int, day time.Time) {
			m := *d.message(p, "escalated", "inbox", day.Add(noon+time.Hour))
			m.State = "skipped"
			d.part.Messages = append(d.part.Messages, m)
		}},
		{"quiet 0 over 0 twice 0 budget 0 dropped 1", func(d *diary, p int, day time.Time) {
			m := *d.message(p, "escalated", "inbox", day.Add(noon+time.Hour))
			m.ID = "nobody asked"
			d.part.Messages = append(d.part.Messages, m)
			d.part.Messages[len(d.part.Messages)-1].Severity = fleet.Watch
		}},
	}
	for seed := range uint64(40) {
		for i, bad := range mistakes {
			rng := rand.New(rand.NewPCG(seed, 1))
			people := 2 + rng.IntN(6)
			d, chosen := newDiary(people), 2*rng.IntN(people/2)
			day := diaryStart.AddDate(0, 0, rng.IntN(200))
			for p := 0; p < people; p += 2 { // one of each household
				d.finding(p, fleet.Opened, day.Add(noon))
				d.message(p, "opened", "inbox", day.Add(noon))
				d.message(p, "opened", "ntfy", day.Add(noon))
			}
			if h := d.judge(); h.broken() != nothingBroken || h.Err() != nil {
				t.Fatalf("seed %d: %s without a mistake: %+v", seed, h.broken(), h)
			}
			bad.make(d, chosen, day)
			if h := d.judge(); h.broken() != bad.want || h.Err() == nil {
				t.Errorf("seed %d, mistake %d: %s, want %s", seed, i, h.broken(), bad.want)
			}
		}
	}
}

// TestHouseholdsAllow: what looks like a mistake and is none.
func TestHouseholdsAllow(t *testing.T) {
	noon := diaryStart.Add(11 * time.Hour)
	for name, happen := range map[string]func(d *diary){
		"danger at night": func(d *diary) { d.message(0, "escalated", "ntfy", noon.Add(12*time.Hour)).Severity = fleet.Danger },
		"after an all-clear": func(d *diary) {
			d.finding(0, fleet.Cleared, noon.Add(time.Hour))
			d.message(0, "cleared", "ntfy", noon.Add(time.Hour))
			d.finding(0, fleet.Opened, noon.AddDate(0, 0, 2))
			d.message(0, "opened", "ntfy", noon.AddDate(0, 0, 2))
		},
		"a reminder that was wished for, twice": func(d *diary) {
			for day := range 2 {
				d.part.Messages = append(d.part.Messages, Message{State: "did", Did: "not_now", Case: "c0", Person: "p0"})
				d.message(0, "reminder", "ntfy", noon.AddDate(0, 0, 3*day+3))
			}
		},
		"another person": func(d *diary) { d.message(0, "opened", "inbox", noon.Add(time.Hour)).Person = "p1" },
		"a third one of a fault": func(d *diary) {
			d.message(0, "reminder", "ntfy", noon.Add(time.Hour))
			d.message(0, "escalated", "ntfy", noon.Add(2*time.Hour)).Severity = fleet.Fault
		},
		"one message on two channels": func(d *diary) {
			a := d.message(0, "reminder", "ntfy", noon.Add(time.Hour)).Message
			d.message(0, "reminder", "email", noon.Add(time.Hour)).Message = a
		},
		"waits at the end": func(d *diary) { d.message(0, "reminder", "inbox", noon).State = "waiting" },
	} {
		d := newDiary(2)
		d.finding(0, fleet.Opened, noon)
		d.message(0, "opened", "ntfy", noon)
		happen(d)
		if h := d.judge(); h.broken() != nothingBroken {
			t.Errorf("%s: %s %+v", name, h.broken(), h)
		}
	}
}

func TestHouseholdsCount(t *testing.T) {
	d := newDiary(8) // four households
	noon := diaryStart.Add(11 * time.Hour)
	d.finding(0, fleet.Opened, noon)
	d.message(0, "opened", "inbox", noon)
	d.message(0, "opened", "ntfy", noon)
	h := JudgeHouseholds(DefaultRules(), d.part, d.part)
	all := h.Topics[len(h.Topics)-1]
	if h.Households != 8 || h.People != 16 || all.Inbox != (Spread{Mean: 0.25, P95: 1, Max: 1}) || all.Rang != all.Inbox || h.States["sent"] != 4 {
		t.Errorf("%+v", h)
	}
	var b strings.Builder
	if err := h.Print(&b); err != nil || !strings.Contains(b.String(), "maintenance") {
		t.Errorf("%v: %s", err, b.String())
	}
	people, err := ReadPeople(strings.NewReader("id,household,zone\na,h,Europe/Berlin\n"))
	if err != nil || len(people) != 1 || people[0].Zone.String() != "Europe/Berlin" {
		t.Errorf("%v, %v", people, err)
	}
	for _, bad := range []string{"", "id,household,zone\n", "id,zone\na,UTC\n", "id,household,zone\na,h,Mars/Base\n", "id,household,zone\na,h,\n"} {
		if _, err := ReadPeople(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
