// Package rules reads rule packs, compiles their conditions once per product model, and steps device state through the
// records of the journal: Step(state, record) gives findings. It reads nothing else, no clock and no store, so a replay
// of the same records gives the same findings. It is not the loop that runs this (package engine), nor does it render
// the rules' texts (package words).
//
// Who may import it: its own engine and ruletest, app, cmd. It imports fleet, wire and its own detect.
package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
	"time"

	"aftercare/internal/fleet"
)

// Config says how conditions look at time.
type Config struct {
	MaxWindow time.Duration `mapstructure:"max_window" help:"longest window a rule may use: so much of each device is kept"`
	Lateness  time.Duration `mapstructure:"lateness" help:"how much older than the newest a reading may be and still count"`
	CatchUp   time.Duration `mapstructure:"catch_up" help:"a reading that arrives so long after its time means that its device uploads its past"`
	Quiet     time.Duration `mapstructure:"quiet" help:"after so long without a reading such an upload has ended"`
	MaxAhead  time.Duration `mapstructure:"max_ahead" help:"a reading further in the future is taken to be of the time it arrived"`
}

// DefaultConfig keeps 30 days, allows 10 minutes of lateness and calls an upload what lags by more than 15 minutes.
func DefaultConfig() Config {
	return Config{
		MaxWindow: 30 * 24 * time.Hour,
		Lateness:  10 * time.Minute,
		CatchUp:   15 * time.Minute,
		Quiet:     30 * time.Second,
		MaxAhead:  10 * time.Minute,
	}
}

// Validate names the field and the value of what is wrong.
func (c Config) Validate() error {
	for _, d := range []struct {
		name string
		v    time.Duration
		min  time.Duration
	}{
		{"max_window", c.MaxWindow, minWindow}, {"lateness", c.Lateness, 0}, {"catch_up", c.CatchUp, time.Second},
		{"quiet", c.Quiet, time.Second}, {"max_ahead", c.MaxAhead, 0},
	} {
		if d.v < d.min {
			return fmt.Errorf("rules.%s %v: want at least %v", d.name, d.v, d.min)
		}
	}
	return nil
}

// Rule is one rule of a pack, as people wrote it. It does not change after Load.
type Rule struct {
	ID        string
	Pack      string
	File      string
	Line      int
	Problem   string // what its episodes share a case by; the rule's id unless it says otherwise
	Kind      fleet.Kind
	Severity  fleet.Severity // with levels: of the mildest
	Version   string         // hash of everything in it, 12 hexadecimal digits
	Models    []string       // the models it runs for, sorted
	When      string
	Clear     string // empty: when `when` is false
	For       time.Duration
	ClearFor  time.Duration
	MinHold   time.Duration // an episode lasts at least so long
	StepDown  time.Duration // how long a level must not have held before the severity falls
	Levels    []Level       // mildest first; empty: When and Severity say it all
	Flapping  Flapping
	Scopes    []Scope          // of the pack and of the rule: all must hold
	Limits    map[string]Limit // by name
	Component string           // of the profile, that it is about; may be empty
	Cause     []string         // rules that explain it
	Season    string           // outside it does not open; empty: all year
	InStorage bool             // it may open although the device is put away
	Texts     fleet.Texts

	logic string // hash of what decides when it fires: pending timers survive a change of the texts only
	event bool   // `when` reads `code`: it is true for a moment only
}

// Set is all rules that were loaded, compiled for every model they apply to. It does not change; it is safe for
// concurrent use.
type Set struct {
	cfg      Config
	rules    []*Rule
	byID     map[string]*Rule
	programs map[string]*program
	hash     string
	fleet    bool   // a rule compares devices with others
	maker    *maker // of what it was made, and what makes others
}

// Rules returns the rules sorted by id. The slice must not be changed.
func (s *Set) Rules() []*Rule { return s.rules }

// Rule returns the rule of that id.
func (s *Set) Rule(id string) (*Rule, bool) {
	r, ok := s.byID[id]
	return r, ok
}

// Texts returns what the rule says to people; nil for a rule that is not (or no more) in the set.
func (s *Set) Texts(id string) fleet.Texts {
	if r, ok := s.byID[id]; ok {
		return r.Texts
	}
	return nil
}

// Hash names the set: it changes when any rule does.
func (s *Set) Hash() string { return s.hash }

func newSet(cfg Config, rules []*Rule, programs map[string]*program) *Set {
	s := &Set{cfg: cfg, rules: rules, byID: make(map[string]*Rule, len(rules)), programs: programs}
	sort.Slice(s.rules, func(i, j int) bool { return s.rules[i].ID < s.rules[j].ID })
	h := sha256.New()
	for _, r := range s.rules {
		s.byID[r.ID] = r
		h.Write([]byte(r.ID + "\x00" + r.Version + "\x00"))
	}
	for _, p := range programs {
		s.fleet = s.fleet || len(p.peers) > 0 || len(p.rates) > 0
	}
	s.hash = hex.EncodeToString(h.Sum(nil))[:12]
	return s
}
