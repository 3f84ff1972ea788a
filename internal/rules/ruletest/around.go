package ruletest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"aftercare/internal/fleet"
)

// What is around a device, beside what it sends: facts of the registry, its link, and how its readings come.

// factYAML is what becomes known at a time. A key that is not there stays as it was.
type factYAML struct {
	At          text            `yaml:"at"`
	Firmware    *text           `yaml:"firmware"`
	Hardware    *text           `yaml:"hardware"`
	Batch       *text           `yaml:"batch"`
	Region      *text           `yaml:"region"`
	Limits      map[string]text `yaml:"limits"`
	Stored      *spansYAML      `yaml:"stored"`
	Maintenance *spansYAML      `yaml:"maintenance"`
	Services    []text          `yaml:"services"` // components that are serviced at the time
	Revoked     text            `yaml:"revoked"`
}

// spansYAML is a list of spans, or the only one.
type spansYAML []spanYAML

// UnmarshalYAML reads either form.
func (s *spansYAML) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.MappingNode {
		*s = make(spansYAML, 1)
		return n.Decode(&(*s)[0])
	}
	return n.Decode((*[]spanYAML)(s))
}

type presenceYAML struct {
	At     text `yaml:"at"`
	Online text `yaml:"online"`
	Cause  text `yaml:"cause"`
}

// fact is all that is known from a time on.
type fact struct {
	at    time.Duration
	facts fleet.Facts
}

type link struct {
	at     time.Duration
	online bool
	cause  string
}

// facts reads what becomes known, in order of time; each fact holds all that is known then.
func (c *checker) facts(t *test, list []factYAML, path string) {
	now := fleet.Facts{Device: device, Model: t.model.ID}
	for i := range list {
		y := &list[i]
		at := time.Duration(0)
		if y.At.s != "" {
			at = c.time(y.At, path)
		}
		if n := len(t.facts); n > 0 && at < t.facts[n-1].at {
			c.problem(y.At.line, path, "want what becomes known in order of time")
		}
		now.At = begin.Add(at)
		for _, w := range []struct {
			from *text
			to   *string
		}{{y.Firmware, &now.Firmware}, {y.Hardware, &now.Hardware}, {y.Batch, &now.Batch}, {y.Region, &now.Region}} {
			if w.from != nil {
				*w.to = w.from.s
			}
		}
		if y.Limits != nil {
			now.Limits = c.limits(y.Limits, path)
		}
		for _, w := range []struct {
			from *spansYAML
			to   *[]fleet.Span
		}{{y.Stored, &now.Stored}, {y.Maintenance, &now.Maintenance}} {
			if w.from != nil {
				*w.to = c.spans(*w.from, path)
			}
		}
		now.Services = slices.Clip(now.Services)
		for _, s := range y.Services {
			if !slices.ContainsFunc(t.model.Components, func(p fleet.Component) bool { return p.Name == s.s }) {
				c.problem(s.line, path, "model %s has no component %q", t.model.ID, s.s)
			}
			now.Services = append(now.Services, fleet.Service{Component: s.s, At: now.At})
		}
		if y.Revoked.s != "" {
			now.Revoked = c.truth(y.Revoked, path)
		}
		t.facts = append(t.facts, fact{at, now})
		t.until = max(t.until, at)
	}
}

func (c *checker) limits(y map[string]text, path string) map[string]float64 {
	out := map[string]float64{}
	for _, name := range slices.Sorted(maps.Keys(y)) {
		v, err := number(y[name].s)
		if err != nil {
			c.problem(y[name].line, path, "%v", err)
		}
		if rule, _, ok := strings.Cut(name, "."); !ok {
			c.problem(y[name].line, path, "limit %q: want rule-id.name", name)
		} else if _, known := c.known(rule); !known {
			c.stranger(y[name].line, path, rule)
		}
		out[name] = v
	}
	return out
}

// spans reads spans since the begin; one without an end lasts until further notice.
func (c *checker) spans(list []spanYAML, path string) []fleet.Span {
	out := make([]fleet.Span, 0, len(list))
	for _, y := range list {
		s := fleet.Span{From: begin.Add(c.time(y.From, path))}
		if y.To.s != "" {
			s.To = begin.Add(c.time(y.To, path))
		}
		if !s.To.IsZero() && !s.From.Before(s.To) {
			c.problem(y.From.line, path, "want from before to")
		}
		out = append(out, s)
	}
	return out
}

// causes are the words of presence.
var causes = []string{"connected", "heard", "disconnected", "lost", "will", "silent", "station_lost", "revoked"}

func (c *checker) presence(t *test, list []presenceYAML, path string) {
	for _, y := range list {
		y.Online.line = max(y.Online.line, y.At.line)
		l := link{at: c.time(y.At, path), online: c.truth(y.Online, path), cause: y.Cause.s}
		if l.cause == "" {
			l.cause = map[bool]string{true: "heard", false: "lost"}[l.online]
		}
		if !slices.Contains(causes, l.cause) {
			c.problem(y.Cause.line, path, "cause %q: want one of %s", l.cause, strings.Join(causes, ", "))
		}
		t.links = append(t.links, l)
		t.until = max(t.until, l.at)
	}
}

func (c *checker) truth(t text, path string) bool {
	v, err := strconv.ParseBool(t.s)
	if err != nil {
		c.problem(t.line, path, "%q: want true or false", t.s)
	}
	return v
}

// offline reads when the device cannot send: what it measures meanwhile it sends at the end.
func (c *checker) offline(t *test, list []spanYAML, path string) {
	for _, y := range list {
		s := span{c.time(y.From, path), c.time(y.To, path)}
		if s.from >= s.to {
			c.problem(y.From.line, path, "want from before to")
		}
		t.offline = append(t.offline, s)
		t.until = max(t.until, s.to)
	}
}

// sent is when the device sends what it measured at a time.
func (t *test) sent(at time.Duration) time.Duration {
	for _, s := range t.offline {
		if at >= s.from && at < s.to {
			at = s.to
		}
	}
	return at
}

// reading is how a change of the link looks in the journal.
func (l link) reading(model string) fleet.Reading {
	online := fleet.Value{Type: fleet.Boolean}
	if l.online {
		online.Int = 1
	}
	return fleet.Reading{Device: device, Model: model, Class: fleet.Presence, Time: begin.Add(l.at),
		Fields: []fleet.Field{{Name: "online", Value: online}, {Name: "cause", Value: fleet.Value{Type: fleet.String, Str: l.cause}}}}
}

// check finds a want that says something the rule cannot.
func (w *want) check(y *wantYAML) error {
	if y.Flapping.s == "" {
		return nil
	}
	v, err := strconv.ParseBool(y.Flapping.s)
	if err != nil {
		return fmt.Errorf("flapping %q: want true or false", y.Flapping.s)
	}
	w.flapping = &v
	return nil
}
