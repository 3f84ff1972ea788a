package cases

import (
	"fmt"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Promise is until when a case of a severity is to be taken on and resolved; 0: nothing is promised. It is written as
// "fault acknowledge 24h resolve 168h".
type Promise struct {
	Severity    fleet.Severity
	Acknowledge time.Duration
	Resolve     time.Duration
}

// Step is one step of the escalation: a case of at least this severity that nobody has taken on (or, with Resolved, that is not
// resolved) for so long is told to somebody. It is written as "danger after 30m to operators repeat 4h until resolved".
type Step struct {
	Severity fleet.Severity
	After    time.Duration
	To       string        // "operators", or "agent:<name>"
	Repeat   time.Duration // 0: once
	Resolved bool
}

// String, MarshalText and UnmarshalText use the form of the configuration.
func (p Promise) String() string {
	out := p.Severity.String()
	if p.Acknowledge > 0 {
		out += " acknowledge " + short(p.Acknowledge)
	}
	if p.Resolve > 0 {
		out += " resolve " + short(p.Resolve)
	}
	return out
}

// MarshalText is part of encoding.TextMarshaler.
func (p Promise) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is part of encoding.TextUnmarshaler.
func (p *Promise) UnmarshalText(text []byte) error {
	return pairs(string(text), &p.Severity, func(key, value string) (err error) {
		switch key {
		case "acknowledge":
			p.Acknowledge, err = time.ParseDuration(value)
		case "resolve":
			p.Resolve, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("%q: want \"acknowledge\" or \"resolve\" and a time", key)
		}
		return err
	})
}

func (s Step) String() string {
	out := fmt.Sprintf("%s after %s to %s", s.Severity, short(s.After), s.To)
	if s.Repeat > 0 {
		out += " repeat " + short(s.Repeat)
	}
	if s.Resolved {
		out += " until resolved"
	}
	return out
}

// MarshalText is part of encoding.TextMarshaler.
func (s Step) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is part of encoding.TextUnmarshaler.
func (s *Step) UnmarshalText(text []byte) error {
	err := pairs(string(text), &s.Severity, func(key, value string) (err error) {
		switch key {
		case "after":
			s.After, err = time.ParseDuration(value)
		case "repeat":
			s.Repeat, err = time.ParseDuration(value)
		case "to":
			if s.To = value; value != "operators" && (!strings.HasPrefix(value, "agent:") || len(value) == len("agent:")) {
				err = fmt.Errorf("to %q: want \"operators\" or \"agent:<name>\"", value)
			}
		case "until":
			if s.Resolved = value == "resolved"; !s.Resolved && value != "acknowledged" {
				err = fmt.Errorf("until %q: want \"acknowledged\" or \"resolved\"", value)
			}
		default:
			err = fmt.Errorf("%q: want \"after\", \"to\", \"repeat\" or \"until\" and a value", key)
		}
		return err
	})
	if err == nil && s.To == "" {
		return fmt.Errorf("%q: to whom is missing", text)
	}
	return err
}

// pairs reads a severity and then names with a value each.
func pairs(text string, severity *fleet.Severity, set func(key, value string) error) error {
	w := strings.Fields(text)
	if len(w) == 0 || len(w)%2 == 0 {
		return fmt.Errorf("%q: want a severity, and then pairs of a word and a value", text)
	}
	if err := severity.UnmarshalText([]byte(w[0])); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	for i := 1; i < len(w); i += 2 {
		if err := set(w[i], w[i+1]); err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
	}
	return nil
}

// short writes a duration without the zeros at its end.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
