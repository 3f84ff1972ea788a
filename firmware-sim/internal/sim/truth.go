package sim

import (
	"bufio"
	"encoding/json"
	"io"
	"slices"
	"time"
)

// line is a line of the truth file. A service has its time in onset and end.
type line struct {
	Device    string     `json:"device"`
	Model     string     `json:"model"`
	Kind      string     `json:"kind"`
	Component string     `json:"component,omitempty"`
	Onset     time.Time  `json:"onset"`
	Failure   *time.Time `json:"failure,omitempty"`
	End       *time.Time `json:"end,omitempty"`
	Abrupt    bool       `json:"abrupt"`
}

// fact is what somebody enters into the service system, as opposed to what the device sends or what is true.
type fact struct {
	Time      time.Time  `json:"time"` // of entering
	Device    string     `json:"device"`
	Fact      string     `json:"fact"` // "service" or "stored"
	Component string     `json:"component,omitempty"`
	From      *time.Time `json:"from,omitempty"`
	To        *time.Time `json:"to,omitempty"`
}

func at(sec int64) *time.Time {
	if sec == 0 {
		return nil
	}
	t := time.Unix(sec, 0).UTC()
	return &t
}

// truth returns what was the matter with each device, in the order of the device list and of onset.
func truth(nodes []*node) []any {
	var lines []any
	for _, n := range nodes {
		for _, c := range n.life.Conditions {
			lines = append(lines, line{Device: n.life.Serial, Model: n.life.Model, Kind: c.Kind, Component: c.Component, Onset: *at(c.Onset),
				Failure: at(c.Failure), End: at(c.End), Abrupt: c.Abrupt})
		}
		for _, s := range n.life.Services {
			lines = append(lines, line{Device: n.life.Serial, Model: n.life.Model, Kind: "service", Component: s.Component, Onset: *at(s.At), End: at(s.At)})
		}
	}
	return lines
}

// told is the share of owners who say that they put a device away.
const told = 0.6

// facts returns what is entered, in order of time: every service, and most of what is put away.
func facts(nodes []*node) []any {
	var all []fact
	for _, n := range nodes {
		for _, s := range n.life.Services {
			all = append(all, fact{Time: *at(s.At), Device: n.life.Serial, Fact: "service", Component: s.Component})
		}
		for i, x := range n.life.Stored() {
			if n.seed.U(993, int64(i)) < told {
				all = append(all, fact{Time: *at(x.From), Device: n.life.Serial, Fact: "stored", From: at(x.From), To: at(x.To)})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b fact) int { return a.Time.Compare(b.Time) })
	lines := make([]any, len(all))
	for i := range all {
		lines[i] = all[i]
	}
	return lines
}

func writeLines(w io.Writer, lines []any) error {
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	return b.Flush()
}
