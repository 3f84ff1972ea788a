package app

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
)

// replayDoor is the door that replayed messages come through, in metrics.
const replayDoor = "replay"

// ReplayReport is what became of everything that was replayed. The same input gives the same report.
type ReplayReport struct {
	Devices     int       `json:"devices"` // registered
	From        time.Time `json:"from"`    // of the first message
	To          time.Time `json:"to"`      // of the last one
	Rules       string    `json:"rules"`   // hash of the rule set
	Messages    int       `json:"messages"`
	Broken      int       `json:"broken"` // lines that are no message
	BrokenLines []string  `json:"broken_lines,omitempty"`

	// Readings, those of presence that are ours among them: In = stored + quarantined + refused.
	In          int            `json:"in"`
	Stored      int            `json:"stored"`
	Quarantined map[string]int `json:"quarantined,omitempty"` // by reason
	Refused     map[string]int `json:"refused,omitempty"`     // by reason

	// Of those stored, what the rules left out.
	Resent int `json:"resent"` // stepped before
	Late   int `json:"late"`   // too old to count

	Opened  int            `json:"opened"`
	Cleared int            `json:"cleared"`
	Told    map[string]int `json:"told,omitempty"` // messages to owners by channel and state: "inbox sent"
}

func (r *ReplayReport) count(f *fleet.Finding) {
	switch f.Phase {
	case fleet.Opened:
		r.Opened++
	case fleet.Cleared:
		r.Cleared++
	}
}

func (r *ReplayReport) told(channel, state string) {
	if r.Told == nil {
		r.Told = map[string]int{}
	}
	r.Told[channel+" "+state]++
}

// conserved reads ingest's and the rules' own counters and checks that nothing is lost: an error means that there is a mistake in them.
func (r *ReplayReport) conserved(g prometheus.Gatherer, states []*rules.State) error {
	families, err := g.Gather()
	if err != nil {
		return fmt.Errorf("read the counters: %w", err)
	}
	r.Quarantined, r.Refused = map[string]int{}, map[string]int{}
	out, doors := 0, map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			n := int(m.GetCounter().GetValue())
			switch f.GetName() {
			case "aftercare_readings_in_total":
				r.In += n
				doors[labelOf(m, "door")] += n
			case "aftercare_readings_stored_total":
				r.Stored += n
				out += n
			case "aftercare_readings_quarantined_total":
				r.Quarantined[labelOf(m, "reason")] += n
				out += n
			case "aftercare_readings_refused_total":
				r.Refused[labelOf(m, "reason")] += n
				out += n
			}
		}
	}
	if r.In != out || doors[replayDoor] < r.Messages {
		return fmt.Errorf("READINGS ARE MISSING: %d came in, of %d messages, and %d were stored, put aside or refused", r.In, r.Messages, out)
	}
	stepped, bad := 0, uint64(0)
	for _, s := range states {
		c := s.Counts()
		stepped += int(c.Readings)    //nolint:gosec // a count
		r.Resent += int(c.Duplicates) //nolint:gosec // a count
		r.Late += int(c.Late)         //nolint:gosec // a count
		bad += c.BadLines + c.UnknownModel
	}
	if stepped != r.Stored || bad > 0 {
		return fmt.Errorf("READINGS ARE MISSING: %d were stored, the rules stepped %d and could not read %d records", r.Stored, stepped, bad)
	}
	return nil
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// write puts the report behind the findings: who reads them knows from it that they are whole, and of how many devices.
func (r *ReplayReport) write(to io.Writer) error {
	if to == nil {
		return nil
	}
	line, err := json.Marshal(map[string]*ReplayReport{"replay": r})
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if _, err := fmt.Fprintf(to, "%s\n", line); err != nil {
		return fmt.Errorf("write findings: %w", err)
	}
	return nil
}
