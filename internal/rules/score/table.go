package score

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"aftercare/internal/fleet"
)

// Print writes the result for people; details are the examples behind the numbers.
func (r *Result) Print(to io.Writer, details bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d devices from %s to %s: %.0f device-months\n\n", r.Span.Devices, r.Span.From.UTC().Format(time.DateOnly), r.Span.To.UTC().Format(time.DateOnly), r.Months)
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "CONDITION\tTIMES\tWARNED\tSHARE\tLEAD (QUARTILES)\tLATE\tMISSED\tFIRST TO WARN")
	for i := range r.Kinds {
		r.Kinds[i].row(w)
	}
	for _, k := range r.groups() {
		k.Rules = nil
		k.row(w)
	}
	if len(r.Habits) > 0 {
		fmt.Fprintln(w, "\nHABIT\tTIMES\tNOTICED\tSHARE\tBEFORE ITS END\tLATE\tMISSED\tFIRST TO NOTICE")
		for i := range r.Habits {
			r.Habits[i].row(w)
		}
	}
	fmt.Fprintln(w, "\nRULE\tKIND\tEPISODES\tTO OWNERS\tTRUE\tFALSE\tPER DEVICE-MONTH\tDEVICES\tFIRST TO WARN")
	for i := range r.Rules {
		s := &r.Rules[i]
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%.4f\t%d\t%d\n", s.Rule, s.Kind, s.Episodes, s.Reach, s.True, s.False, s.FalsePerUnit, s.Devices, s.Warned)
	}
	fmt.Fprintln(w, "\nODDITY\tTIMES\tALARMED\tBY")
	for _, o := range r.Oddities {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", o.Kind, o.Times, o.Alarmed, strings.Join(o.Rules, " "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	r.printGaps(&b)
	if details {
		r.printDetails(&b)
	}
	r.printSum(&b)
	_, err := io.WriteString(to, b.String())
	return err
}

func (k *KindScore) row(w io.Writer) {
	name := k.Kind
	if k.Abrupt {
		name += " (abrupt)"
	}
	lead := ""
	if k.Warned > 0 {
		lead = fmt.Sprintf("%s %s %s", hours(k.LeadHours[0]), hours(k.LeadHours[1]), hours(k.LeadHours[2]))
	}
	early := ""
	if k.Early > 0 {
		early = fmt.Sprintf(" (%d too early)", k.Early)
	}
	fmt.Fprintf(w, "%s\t%d\t%d\t%.1f %%\t%s\t%d\t%d%s\t%s\n", name, k.Conditions, k.Warned, 100*k.Share, lead, k.Late, k.Missed, early, strings.Join(k.Rules, " "))
}

func (r *Result) printGaps(b *strings.Builder) {
	for _, g := range []struct {
		what string
		list []string
	}{{"in the map, and there is no such rule", r.UnknownRules}, {"rules that speak of no kind", r.RulesWithoutKind}, {"kinds that no rule speaks of", r.KindsWithoutRule}} {
		if len(g.list) > 0 {
			fmt.Fprintf(b, "\n%s: %s\n", g.what, strings.Join(g.list, ", "))
		}
	}
}

func (r *Result) printDetails(b *strings.Builder) {
	fmt.Fprintln(b, "\nFALSE, up to five devices a rule")
	for i := range r.Rules {
		for _, m := range r.Rules[i].Examples {
			m.print(b)
		}
	}
	fmt.Fprintln(b, "\nFALSE, the devices with most")
	for _, m := range r.Worst {
		m.print(b)
	}
	fmt.Fprintln(b, "\nNOT IN TIME")
	for _, m := range r.Missed {
		until, told := m.Failure, "never told"
		if until.IsZero() {
			until = m.End
		}
		if !m.Told.IsZero() {
			told = "told " + spell(m.Told.Sub(until)) + " too late"
		}
		fmt.Fprintf(b, "  %s %s from %s to %s: %s\n", m.Device, m.Kind, m.Onset.UTC().Format(stamp), until.UTC().Format(stamp), told)
	}
}

const stamp = "2006-01-02 15:04"

func (m *Moment) print(b *strings.Builder) {
	fmt.Fprintf(b, "  %s %s %s (%s) %s", m.At.Format(stamp), m.Device, m.Rule, m.Severity, m.Evidence)
	if m.Around != "" {
		fmt.Fprintf(b, " [%s]", m.Around)
	}
	fmt.Fprintln(b)
}

func (r *Result) printSum(b *strings.Builder) {
	fmt.Fprintf(b, "\nwarned before failure: %.1f %% of %d conditions with a sign before (wear %.1f %% of %d, due %.1f %% of %d), %.1f %% of all %d; told at all of abrupt ones: %.1f %%\n",
		100*r.Signed.Share, r.Signed.Conditions, 100*r.Wear.Share, r.Wear.Conditions, 100*r.Due.Share, r.Due.Conditions, 100*r.All.Share, r.All.Conditions, 100*r.Abrupt.told())
	fmt.Fprintf(b, "not failed, and not counted: %d, of which %d were told\n", r.Unfinished, r.UnfinishedTold)
	fmt.Fprintf(b, "false to owners: %d, %.4f a device-month; of small things that were soon over: %d (%.4f)\n", r.False, r.FalsePerUnit, r.Mishaps, r.MishapsPerUnit)
	if m := r.Messages; m != nil {
		fmt.Fprintf(b, "messages: %d about problems (%.3f a device-month), of these %d false (%.4f); %d all-clears; %d rang, %d waited for the morning, %d were left out\n",
			m.Problems, m.PerUnit, m.False, m.FalsePerUnit, m.AllClears, m.Rings, m.Held, m.Skipped)
	}
}

// told is the share that was told before its end, in time or not.
func (k *KindScore) told() float64 {
	if k.Conditions == 0 {
		return 0
	}
	return float64(k.Warned+k.Late) / float64(k.Conditions)
}

func hours(h float64) string { return spell(time.Duration(h * float64(time.Hour))) }

// spell says a duration in its largest unit.
func spell(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.1fd", d.Hours()/24)
	case d >= time.Hour:
		return fmt.Sprintf("%.1fh", d.Hours())
	default:
		return fmt.Sprintf("%.0fm", d.Minutes())
	}
}

// evidence is why a finding says it is there.
func evidence(f *fleet.Finding) string {
	parts := make([]string, 0, len(f.Evidence))
	num := func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
	for _, e := range f.Evidence {
		s := e.Name + "="
		if s += num(e.Value); e.Text != "" {
			s = e.Name + "=" + e.Text
		}
		if e.HasNormal {
			s += " (normal " + num(e.Normal) + ")"
		}
		if e.HasLimit {
			s += " (limit " + num(e.Limit) + ")"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}
