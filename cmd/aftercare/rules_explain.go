package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/api"
	"aftercare/internal/app"
	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

func newRulesExplain() *cobra.Command {
	var tenant, at string
	var days float64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain RULE SERIAL",
		Short: "Say why a rule has, or has not, found something on a device",
		Long: `Takes the device's facts and what it sent in the days before from the running server's history, steps them through the rule on simulated time, and prints
the condition with what each part of it was at that moment, what has to be passed for an episode to open and what of it is missing, and what became of
its episodes in that time. The rules are those of rules.dir (or the shipped ones); a note says when the server has others in force.

What lies before the days looked at is not known to it: a window that reaches further back, or a counter over the device's life, needs more --days. The
facts are those of today. The server may know less: the windows of a rule that is new to it begin when it is put in force.`,
		Example: `  aftercare rules explain washer-drain-slow WM-0001
  aftercare rules explain washer-drain-slow WM-0001 --at 2026-03-31T14:00 --days 30 --json`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			to, err := parseWhen("at", at)
			if err != nil {
				return err
			}
			if to.IsZero() {
				to = time.Now()
			}
			c, err := newClient(cfg)
			if err != nil {
				return err
			}
			key := fleet.DeviceKey{Tenant: tenant, Serial: args[1]}
			q := url.Values{"from": {to.Add(-time.Duration(days * 24 * float64(time.Hour))).UTC().Format(time.RFC3339)}, "to": {to.Add(time.Millisecond).UTC().Format(time.RFC3339Nano)}}
			var past api.DevicePast
			if err := c.call(cmd.Context(), "GET", "/devices/"+url.PathEscape(tenant)+"/"+url.PathEscape(args[1])+"/past?"+q.Encode(), nil, &past); err != nil {
				return err
			}
			return explain(cmd.OutOrStdout(), files, &past, key, args[0], to, asJSON)
		},
	}
	configFlags(cmd, "models", "rules.dir", "web.listen")
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&at, "at", "", "the moment: 2026-03-31, 2026-03-31T14:00 (local) or RFC 3339 (default: now)")
	cmd.Flags().Float64Var(&days, "days", 14, "how many days before that are looked at")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

// explanation is what --json prints.
type explanation struct {
	rules.Explanation
	Set      string          `json:"set"`
	InForce  string          `json:"in_force"` // the server's rules
	From     time.Time       `json:"from"`     // the oldest reading looked at
	Readings int             `json:"readings"`
	Story    []fleet.Finding `json:"story"`
}

// explain steps the past of a device up to a moment and says how the rule stands then.
func explain(w io.Writer, files *app.Files, past *api.DevicePast, key fleet.DeviceKey, rule string, at time.Time, asJSON bool) error {
	m, err := modelOf(files, past.Facts.Model)
	if err != nil {
		return err
	}
	state, out := rules.NewState(files.Rules), explanation{Set: files.Rules.Hash(), InForce: past.Rules, Readings: len(past.Readings), Story: []fleet.Finding{}}
	var found []fleet.Finding
	step := func(rec wire.Record) { found = state.Step(&rec, found) }
	first := at
	if len(past.Readings) > 0 {
		first = past.Readings[0].At
		out.From = first
	}
	facts := past.Facts
	facts.At = first
	rec, err := wire.EncodeFacts(0, first, facts)
	if err != nil {
		return err
	}
	step(rec)
	for i := range past.Readings {
		r := readingOf(m, key, &past.Readings[i])
		if r.Time.After(at) {
			break
		}
		step(wire.Record{Stream: wire.Readings, Kind: wire.KindReadings, Received: r.Time, Body: wire.AppendReading(nil, &r)})
	}
	step(wire.Record{Stream: wire.Readings, Kind: wire.KindTick, Received: at})
	if out.Explanation, err = state.Explain(key, rule); err != nil {
		if out.Set != out.InForce {
			return fmt.Errorf("%w; the server has other rules in force: --rules.dir names their folder", err)
		}
		return err
	}
	for i := range found {
		if found[i].Rule == rule {
			out.Story = append(out.Story, found[i])
		}
	}
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(out)
	}
	return out.print(w, past.Cut)
}

func (x *explanation) print(w io.Writer, cut bool) error {
	if err := x.Write(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nits episodes in the time looked at")
	if !x.From.IsZero() {
		fmt.Fprintf(w, " (%d readings since %s, as if these rules had been in force)", x.Readings, x.From.UTC().Format(time.RFC3339))
	}
	fmt.Fprintln(w)
	if len(x.Story) == 0 {
		fmt.Fprintln(w, "  none")
	}
	for i := range x.Story {
		fmt.Fprintf(w, "  %s\n", rules.Told(&x.Story[i]))
	}
	if cut {
		fmt.Fprintln(w, "\nnote: there was more in that time than could be looked at; the oldest is missing")
	}
	if x.Set != x.InForce {
		fmt.Fprintf(w, "\nnote: the server has other rules in force (%s) than these (%s); --rules.dir names their folder\n", x.InForce, x.Set)
	}
	return nil
}

func modelOf(files *app.Files, id string) (*fleet.Model, error) {
	for i := range files.Models {
		if files.Models[i].ID == id {
			return &files.Models[i], nil
		}
	}
	return nil, fmt.Errorf("there is no profile of model %q", id)
}

// readingOf gives a reading from the API back the types of the model's profile.
func readingOf(m *fleet.Model, key fleet.DeviceKey, p *api.PastReading) fleet.Reading {
	r := fleet.Reading{Device: key, Model: m.ID, Time: p.At}
	switch p.Class {
	case fleet.Event.String():
		r.Class = fleet.Event
	case fleet.Presence.String():
		r.Class = fleet.Presence
	}
	if p.Boot != nil && p.Seq != nil {
		r.Boot, r.Seq, r.HasSeq = *p.Boot, *p.Seq, true
	}
	for name, v := range p.Fields {
		f := fleet.Field{Name: name}
		switch v := v.(type) {
		case string:
			f.Value = fleet.Value{Type: fleet.String, Str: v}
		case bool:
			f.Value = fleet.Value{Type: fleet.Boolean}
			if v {
				f.Value.Int = 1
			}
		case float64:
			f.Value = fleet.Value{Type: fleet.Float, Float: v}
			if spec := m.Field(name); r.Class == fleet.Telemetry && spec != nil && spec.Type == fleet.Integer {
				f.Value = fleet.Value{Type: fleet.Integer, Int: int64(v)}
			}
		default:
			continue // null: not a number
		}
		r.Fields = append(r.Fields, f)
	}
	return r
}
