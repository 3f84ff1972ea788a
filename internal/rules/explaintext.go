package rules

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Write says an explanation in words for those who write rules. Times are in UTC.
func (x *Explanation) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (version %s) on %s, %s, at %s\n", x.Rule, x.Version, x.Device, x.Model, stampOf(x.At))
	if !x.Last.IsZero() {
		fmt.Fprintf(&b, "its newest telemetry is of %s\n", stampOf(x.Last))
	}
	x.verdict(&b)
	b.WriteString("\nto open, it has to pass\n")
	for _, g := range x.Gates {
		mark := "yes"
		if !g.Passed {
			mark = "NO "
		}
		fmt.Fprintf(&b, "  %s  %s", mark, g.Name)
		if g.Detail != "" {
			fmt.Fprintf(&b, ": %s", g.Detail)
		}
		if !g.Until.IsZero() {
			fmt.Fprintf(&b, " (until %s)", stampOf(g.Until))
		}
		b.WriteString("\n")
	}
	if x.When != nil {
		b.WriteString("\nwhen\n")
		x.When.write(&b, 1)
	}
	for _, l := range x.Levels {
		fmt.Fprintf(&b, "\nlevel %s", l.Severity)
		if l.For != "" {
			fmt.Fprintf(&b, ", for %s", l.For)
		}
		if !l.Held.IsZero() {
			fmt.Fprintf(&b, ", holds since %s", stampOf(l.Held))
		}
		b.WriteString("\n")
		l.When.write(&b, 1)
	}
	if x.Clear != nil {
		b.WriteString("\nclear\n")
		x.Clear.write(&b, 1)
	}
	for i, l := range x.Limits {
		if i == 0 {
			b.WriteString("\nlimits\n")
		}
		fmt.Fprintf(&b, "  %s = %s", l.Name, withUnit(l.Value, l.Unit))
		if l.Own {
			b.WriteString(" (the device's own)")
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (x *Explanation) verdict(b *strings.Builder) {
	switch x.State {
	case "open":
		fmt.Fprintf(b, "OPEN since %s, severity %s", stampOf(x.Since), x.Open.Severity)
		if x.Open.Cause != "" {
			fmt.Fprintf(b, ", explained by %s", x.Open.Cause)
		}
		if x.Open.Flapping {
			b.WriteString(", flapping")
		}
		switch {
		case x.Open.Clearing.IsZero():
			b.WriteString("; what would end it does not hold")
		case x.Open.Quiet != "":
			fmt.Fprintf(b, "; it ends when what would end it has held for %s: since %s", x.Open.Quiet, stampOf(x.Open.Clearing))
		}
	case "waiting":
		fmt.Fprintf(b, "WAITING: the condition holds since %s, but not all is passed", stampOf(x.Since))
	default:
		b.WriteString("NOT OPEN")
		for _, g := range x.Gates {
			if !g.Passed {
				fmt.Fprintf(b, ": the first thing that is missing: %s", g.Name)
				break
			}
		}
	}
	b.WriteString("\n")
}

func (p *Part) write(b *strings.Builder, depth int) {
	fmt.Fprintf(b, "%s%s", strings.Repeat("  ", depth), p.Text)
	switch {
	case p.Truth != "":
		fmt.Fprintf(b, "  is %s", strings.ToUpper(p.Truth))
	case p.Value != nil:
		fmt.Fprintf(b, "  = %s", withUnit(*p.Value, p.Unit))
	case p.Word != "":
		fmt.Fprintf(b, "  = %q", p.Word)
	default:
		b.WriteString("  is not known")
	}
	if !p.At.IsZero() {
		fmt.Fprintf(b, " (%s)", stampOf(p.At))
	}
	if p.Why != "" {
		fmt.Fprintf(b, ": %s", p.Why)
	}
	b.WriteString("\n")
	for i := range p.Parts {
		p.Parts[i].write(b, depth+1)
	}
}

func withUnit(v float64, unit string) string {
	text := strconv.FormatFloat(v, 'g', 6, 64)
	if unit == "" || unit == "1" {
		return text
	}
	return text + " " + unit
}

func stampOf(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Told says a finding in one line, for the story of an episode.
func Told(f *fleet.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s", stampOf(f.At), f.Phase, f.Severity)
	if f.Cause != "" {
		fmt.Fprintf(&b, ", explained by %s", f.Cause)
	}
	if f.Flapping {
		b.WriteString(", flapping")
	}
	for _, e := range f.Evidence {
		fmt.Fprintf(&b, "; %s ", e.Name)
		if e.Text != "" {
			b.WriteString(e.Text)
		} else {
			b.WriteString(withUnit(e.Value, e.Unit))
		}
		if e.HasLimit {
			fmt.Fprintf(&b, " (limit %s)", withUnit(e.Limit, e.Unit))
		}
	}
	return b.String()
}
