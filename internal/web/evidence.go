package web

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

type evidenceRow struct {
	Label, Value, Normal, Limit string
	At                          time.Time
}

// evidence shows what made the rule fire: the table, and the chart of the field it is about.
func (p *casePage) evidence(ctx context.Context, s *Web, d *fleet.Device) {
	if len(p.Case.Episodes) == 0 {
		return
	}
	ep := p.Case.Episodes[len(p.Case.Episodes)-1]
	for i := len(p.Case.Episodes) - 1; i >= 0 && len(ep.Evidence) == 0; i-- { // the newest that has something to show
		ep = p.Case.Episodes[i]
	}
	p.Hash = ep.RuleHash
	m, ok := s.deps.Models.Model(p.Case.Model)
	if !ok {
		m = &fleet.Model{ID: p.Case.Model}
	}
	for _, ev := range ep.Evidence {
		p.Evidence = append(p.Evidence, p.evidenceRow(ev, m))
		if ev.At.After(p.AsOf) {
			p.AsOf = ev.At
		}
		if ev.Name == "code" {
			p.faultCode(m, ev.Text)
		}
	}
	field := chartField(m, ep.Evidence)
	if d == nil || field == nil {
		return
	}
	to := p.Now
	if !p.Open && !p.Case.ClosedAt.IsZero() {
		to = minTime(p.Now, p.Case.ClosedAt.Add(6*time.Hour))
	}
	lead := max(24*time.Hour, to.Sub(ep.OpenedAt)/2)
	from := maxTime(ep.OpenedAt.Add(-lead), to.Add(-14*24*time.Hour))
	if !to.After(from) {
		from = to.Add(-24 * time.Hour)
	}
	every := max(10*time.Minute, (to.Sub(from) / 300).Truncate(time.Minute))
	ctx, cancel := context.WithTimeout(ctx, seriesPatience)
	defer cancel()
	f, err := s.figure(ctx, p.view, series{id: "evidence", device: d, model: m, field: field, from: from, to: to,
		every: every, cases: []fleet.Case{p.Case}, only: true, last: ""})
	if err != nil {
		s.log.Warn("series of case", "case", p.Case.ID, "err", err)
		p.NoData = true
		return
	}
	p.Chart = &f
}

func (p *casePage) faultCode(m *fleet.Model, code string) {
	for i := range m.FaultCodes {
		if fc := &m.FaultCodes[i]; fc.Code == code {
			l := p.Loc.Lang
			p.Code, p.CodeWords = fc, [3]string{fc.Meaning.In(l), fc.Cause.In(l), fc.Remedy.In(l)}
		}
	}
}

// chartField is the field the evidence is about: the first that has a limit, else the first that is a number of the
// profile, else the first of the profile's charts.
func chartField(m *fleet.Model, evs []fleet.Evidence) *fleet.FieldSpec {
	for _, limit := range []bool{true, false} {
		for i := range evs {
			if evs[i].HasLimit != limit {
				continue
			}
			for j := range m.Fields {
				if f := &m.Fields[j]; f.Type != fleet.String && about(&evs[i], f.Name) {
					return f
				}
			}
		}
	}
	if len(m.Chart) > 0 {
		return m.Field(m.Chart[0])
	}
	return nil
}

func (v *view) evidenceRow(ev fleet.Evidence, m *fleet.Model) evidenceRow {
	row := evidenceRow{Label: v.evidenceLabel(ev.Name, m), At: ev.At, Value: ev.Text}
	if ev.Text == "" {
		row.Value = v.Value(ev.Value, ev.Unit)
		if f := m.Field(ev.Name); f != nil && f.Type == fleet.Boolean {
			row.Value = v.Loc.YesNo(ev.Value != 0)
		}
	}
	if ev.HasNormal {
		row.Normal = v.Value(ev.Normal, ev.Unit)
	}
	if ev.HasLimit {
		row.Limit = v.Value(ev.Limit, ev.Unit)
	}
	return row
}

var callPattern = regexp.MustCompile(`^(avg|min|max|sum|count|prev|delta|rate|age)\(\s*([A-Za-z0-9_.]+)\s*(?:,\s*"([0-9]+)([smhdw])"\s*)?\)$`)

// evidenceLabel says a field or a call on one in words: `avg(drain_s, "24h")` is "Draining time, average of 24 h". Anything
// more stays the expression it is.
func (v *view) evidenceLabel(name string, m *fleet.Model) string {
	if f := m.Field(name); f != nil {
		return v.fieldLabel(f)
	}
	if name == "code" {
		return v.T("evidence.code")
	}
	call := callPattern.FindStringSubmatch(name)
	if call == nil {
		return name
	}
	label := upperFirst(humanise(call[2]))
	if f := m.Field(call[2]); f != nil {
		label = v.fieldLabel(f)
	}
	label += ", " + v.T("call."+call[1])
	if n, err := strconv.Atoi(call[3]); err == nil {
		unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}[call[4]]
		label += " " + strings.ReplaceAll(v.T("call.window"), "#", age(time.Duration(n)*unit, v.L))
	}
	return label
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
