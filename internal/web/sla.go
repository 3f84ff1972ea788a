package web

import (
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// sla is how much time is left of what is promised next: to be taken on, then to be resolved.
type sla struct {
	Words        string // empty: nothing is promised
	By           time.Time
	Late, Paused bool
	Soon         bool // less than an hour, or a tenth of a day
}

const slaSoon = time.Hour

func (v *view) sla(c *fleet.Case) sla {
	if !c.State.Open() {
		return sla{}
	}
	by, what := c.ResolveBy, "sla.resolve"
	if c.AckedAt.IsZero() && !c.AckBy.IsZero() {
		by, what = c.AckBy, "sla.ack"
	}
	if by.IsZero() {
		return sla{}
	}
	out := sla{By: by}
	from := v.Now
	if !c.PausedAt.IsZero() {
		out.Paused, from = true, c.PausedAt
	}
	left := by.Sub(from)
	switch {
	case out.Paused && left > 0:
		out.Words = v.Fill("sla.paused", v.short(left))
	case left <= 0:
		out.Late = true
		out.Words = v.Fill(what+".late", v.short(-left))
	default:
		out.Soon = left < slaSoon
		out.Words = v.Fill(what, v.short(left))
	}
	return out
}

// short is a length of time in one unit: "40 min", "3 h", "2 days".
func (v *view) short(d time.Duration) string {
	if d < time.Minute {
		d = time.Minute
	}
	return age(d, v.L)
}

// late reports whether a promise of a case is broken; paused clocks run no further.
func late(c *fleet.Case, now time.Time) bool {
	if !c.State.Open() {
		return false
	}
	if !c.PausedAt.IsZero() {
		now = c.PausedAt
	}
	return c.AckedAt.IsZero() && !c.AckBy.IsZero() && !now.Before(c.AckBy) || !c.ResolveBy.IsZero() && !now.Before(c.ResolveBy)
}

// Fill is a text with one value in it.
func (v *view) Fill(key, value string) string { return strings.ReplaceAll(v.T(key), "#", value) }
