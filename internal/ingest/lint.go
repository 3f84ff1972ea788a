package ingest

import (
	"math/big"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Linter tells what ingest would do with payloads, and why, without doing it. It runs ingest's own code on them, so the two
// cannot disagree. One goroutine uses it.
type Linter struct {
	w *worker
	r Report
}

// Report is what became of one payload.
type Report struct {
	Readings    int // that could be read
	Stored      int
	Corrected   int // of those, with another time than the device's
	Quarantined int // readings, 1 for a payload that is put aside as a whole
	Findings    []LintFinding
	More        int // findings beyond those listed
}

// LintFinding is one remark on a payload.
type LintFinding struct {
	Reading int // counting from 1; 0: the payload as a whole
	Issue
	Hint  string // what to write instead; may be empty
	Error bool   // it puts the reading, or the payload, into quarantine
}

// Reasons of remarks that put nothing aside; fleet's Quality constants are others.
const (
	LintNoTime    = "no_time"
	LintPrecision = "precision"
)

const maxFindings = 200

// NewLinter makes a linter for a model. The configuration must be valid.
func NewLinter(cfg Config, m *fleet.Model) *Linter {
	in := &Ingest{cfg: cfg, limits: cfg.Clock.limits(), profiles: map[string]*profile{m.ID: newProfile(m)}, tracks: newTracks(), quality: newQuality()}
	w := newWorker(in)
	w.device = &fleet.Device{Key: fleet.DeviceKey{Tenant: "lint", Serial: "lint"}, Model: m.ID}
	w.profile, w.track, w.notes.all = in.profiles[m.ID], &track{}, true
	return &Linter{w: w}
}

// Payload tells what would become of a payload of that class and format that is received now. What it remembers of a device's
// clock it carries on to the next payload: they count as one device's, in order.
func (l *Linter) Payload(class fleet.Class, f fleet.Format, payload []byte, now time.Time) Report {
	w := l.w
	l.r = Report{}
	w.begin(now)
	w.lint, w.class, w.format, w.message = &l.r, class, f, wire.Inbound{Payload: payload}
	switch {
	case w.tooLarge():
	case class == fleet.Reply:
		w.reply()
	default:
		w.decode()
	}
	l.r.Stored, l.r.Corrected, l.r.Quarantined = w.stored, w.corrected, len(w.aside)
	return l.r
}

func (r *Report) find(f LintFinding) {
	if len(r.Findings) >= maxFindings && !f.Error {
		r.More++
		return
	}
	f.Field, f.Detail = strings.Clone(f.Field), strings.Clone(f.Detail)
	r.Findings = append(r.Findings, f)
}

// whole takes note of why the payload as a whole is put aside.
func (r *Report) whole(why Issue) {
	r.find(LintFinding{Issue: why, Error: true})
}

// reading takes note of what w found in a reading; its unknown fields begin at known.
func (r *Report) reading(w *worker, x *fleet.Reading, sent time.Time, off int64, known int) {
	r.Readings++
	note := func(reason, field, detail, hint string) {
		r.find(LintFinding{Reading: r.Readings, Issue: Issue{Field: field, Reason: reason, Detail: detail}, Hint: hint})
	}
	c := w.profile.class(w.class)
	for _, i := range w.notes.issues {
		f := LintFinding{Reading: r.Readings, Issue: i, Error: true}
		if i.Reason == reasonUnknown {
			f.Hint = c.nearest(i.Field)
		}
		r.find(f)
	}
	for _, name := range w.notes.unknown[known:] {
		if c.unknown == fleet.DropUnknown {
			note(fleet.QualityUnknownDropped, name, "is not in the profile and is left out", c.nearest(name))
		} else {
			note(fleet.QualityUnknownKept, name, "is not in the profile; it is stored all the same, numbers as floats", c.nearest(name))
		}
	}
	switch {
	case sent.IsZero() && !x.HasSeq:
		note(fleet.QualityUnnumbered, "ts", "neither ts nor seq: the time of receipt is taken, and a resend counts as another reading", "send ts, boot and seq")
	case sent.IsZero():
		note(LintNoTime, "ts", "no ts: the time of receipt is taken", "send ts, in milliseconds since 1970")
	case off != 0:
		note(fleet.QualityClock, "ts", "the clock is wrong: "+sent.UTC().Format(time.RFC3339)+" would be stored as "+x.Time.UTC().Format(time.RFC3339)+", with a mark", "")
	}
	for i := range x.Fields {
		if f := &x.Fields[i]; f.Value.Type == fleet.Float && !exact(f.Value) {
			note(LintPrecision, f.Name, "is "+f.Value.Str+", which is more than a float holds: it is kept as "+big.NewFloat(f.Value.Float).Text('g', 17), "send fewer digits, or a string")
		}
	}
}

// exact reports whether a number loses nothing that matters as a float: up to 15 digits never do.
func exact(v fleet.Value) bool {
	digits := 0
	for i := 0; i < len(v.Str); i++ {
		switch c := v.Str[i]; {
		case c == 'e' || c == 'E':
			i = len(v.Str)
		case c >= '0' && c <= '9' && (c != '0' || digits > 0):
			digits++
		}
	}
	if digits <= 15 {
		return true
	}
	sent, ok := new(big.Rat).SetString(v.Str)
	kept := new(big.Rat).SetFloat64(v.Float)
	if !ok || kept == nil {
		return true
	}
	if sent.IsInt() {
		return sent.Cmp(kept) == 0
	}
	return digits <= 17 // a float printed in full
}

// nearest suggests the name that was probably meant, nothing if none is near.
func (c *class) nearest(name string) string {
	best, least := "", max(2, len(name)/3)+1
	for i := range c.specs {
		if d := distance(strings.ToLower(name), strings.ToLower(c.specs[i].Name)); d < least {
			best, least = c.specs[i].Name, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean \"" + best + "\"?"
}

// distance is Levenshtein's: how many letters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
