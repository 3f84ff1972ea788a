package score

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"aftercare/internal/fleet"
)

// Map says which rules speak of a kind of condition.
type Map struct {
	Faults map[string][]string `yaml:"faults"` // of what fails in the end
	Habits map[string][]string `yaml:"habits"` // of what owners do: it never fails
	// Mishaps are small things that are soon over and that the device says itself.
	Mishaps map[string][]string `yaml:"mishaps"`
	Due     []string            `yaml:"due"` // of the faults: parts at the end of their life, which can be counted
}

// ReadMap reads a map from YAML: kind and a list of rules, under faults, habits and mishaps.
func ReadMap(text []byte) (Map, error) {
	var m Map
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&m); err != nil {
		return m, fmt.Errorf("read the map of kinds to rules: %w", err)
	}
	seen := map[string]bool{}
	for kind, rules := range m.all() {
		switch {
		case seen[kind]:
			return m, fmt.Errorf("read the map of kinds to rules: %q is in two of its parts", kind)
		case strings.HasPrefix(kind, oddity):
			return m, fmt.Errorf("read the map of kinds to rules: %q is an oddity that no rule may speak of", kind)
		case slices.Contains(rules, ""):
			return m, fmt.Errorf("read the map of kinds to rules: %q names an empty rule", kind)
		}
		seen[kind] = true
	}
	for _, kind := range m.Due {
		if _, ok := m.Faults[kind]; !ok {
			return m, fmt.Errorf("read the map of kinds to rules: %q is due and not among the faults", kind)
		}
	}
	return m, nil
}

// of returns the rules that speak of a kind.
func (m Map) of(kind string) []string {
	for _, part := range []map[string][]string{m.Faults, m.Habits, m.Mishaps} {
		if rules := part[kind]; len(rules) > 0 {
			return rules
		}
	}
	return nil
}

func (m Map) all() iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		for _, part := range []map[string][]string{m.Faults, m.Habits, m.Mishaps} {
			for kind, rules := range part {
				if !yield(kind, rules) {
					return
				}
			}
		}
	}
}

// rules turns the map round.
func (m Map) rules() map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for kind, rules := range m.all() {
		for _, r := range rules {
			if out[r] == nil {
				out[r] = map[string]bool{}
			}
			out[r][kind] = true
		}
	}
	return out
}

// maxLine is the longest line of the files that are read here, in bytes.
const maxLine = 8 << 20

// eachLine calls f with each line that is not empty.
func eachLine(in io.Reader, f func(line []byte) error) error {
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxLine)
	n := 0
	for s.Scan() {
		n++
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		if err := f(s.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("after line %d: %w", n, err)
	}
	return nil
}

// ReadTruth reads conditions, one JSON object a line.
func ReadTruth(in io.Reader) (out []Condition, err error) {
	err = eachLine(in, func(line []byte) error {
		var c Condition
		if err := json.Unmarshal(line, &c); err != nil {
			return fmt.Errorf("no line of what was true: %w", err)
		}
		switch {
		case c.Device == "" || c.Kind == "" || c.Onset.IsZero():
			return errors.New("a condition has a device, a kind and an onset")
		case !c.Failure.IsZero() && c.Failure.Before(c.Onset), !c.End.IsZero() && c.End.Before(c.Onset):
			return fmt.Errorf("%s of %s fails or ends before its onset", c.Kind, c.Device)
		}
		out = append(out, c)
		return nil
	})
	return out, err
}

// ReadFindings reads what a replay wrote: findings, one JSON object a line, and last the report. Without the report the
// file is not whole.
func ReadFindings(in io.Reader) (out []fleet.Finding, s Span, err error) {
	whole := false
	err = eachLine(in, func(line []byte) error {
		if whole {
			return errors.New("there is something behind the report of the replay")
		}
		var l struct {
			Replay *Span `json:"replay"`
			fleet.Finding
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("no line of findings: %w", err)
		}
		if l.Replay != nil {
			s, whole = *l.Replay, true
			return nil
		}
		out = append(out, l.Finding)
		return nil
	})
	switch {
	case err != nil:
		return nil, s, err
	case !whole:
		return nil, s, errors.New("the report of the replay is missing at the end: the file is not whole")
	case s.Devices < 1 || !s.To.After(s.From):
		return nil, s, fmt.Errorf("the replay was of %d devices from %v to %v: nothing to judge", s.Devices, s.From, s.To)
	}
	return out, s, nil
}

// ReadMessages reads what a replay wrote, one JSON object a line.
func ReadMessages(in io.Reader) ([]Message, error) {
	out := []Message{}
	err := eachLine(in, func(line []byte) error {
		var m Message
		if err := json.Unmarshal(line, &m); err != nil {
			return err
		}
		out = append(out, m)
		return nil
	})
	return out, err
}
