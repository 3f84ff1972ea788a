package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

// detectRules is what `detect rules` was asked for.
type detectRules struct {
	model, timeCol, deviceCol, codeCol, sep, out string
	columns                                      map[string]string // by field
	every                                        time.Duration
}

func newDetectRules() *cobra.Command {
	var d detectRules
	cmd := &cobra.Command{
		Use:   "rules --model MODEL --out DIR FILES...",
		Short: "Which rules hold at each row, as on the server",
		Long: `Runs rule packs over exported rows as if a device of the model had sent them, on simulated time, and gives each row a 1 for every rule whose
episode is open after it, 0 for the others: columns time and one for each rule of the model. With "for", "clear" and the like an episode begins and ends as it
would on the server, and one that comes and goes too often is kept open (flapping). A column is a field's if it has its name or --columns says so; others are passed over. An empty cell is a field that was not sent. A
value that the model's profile does not allow is a mistake: the server would put the reading aside.`,
		Example: `  aftercare detect rules --model washer-w7 --time timestamp --out held exported/*.csv
  aftercare detect rules --model washer-w7 --rules.dir my/rules --columns drain_s='Drain [s]' --every 10m --out held washes.csv`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			_, loaded, err := loadAll(cmd)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(loaded.Models, func(m fleet.Model) bool { return m.ID == d.model })
			if i < 0 {
				return &problemsError{[]fleet.Problem{{Path: "--model", Message: fmt.Sprintf("there is no profile of a model %q", d.model)}}}
			}
			d.note(cmd.ErrOrStderr(), loaded.Rules)
			return d.run(files, &loaded.Models[i], loaded.Rules)
		},
	}
	cmd.Flags().StringVar(&d.model, "model", "", "model whose profile says what the columns are (required)")
	cmd.Flags().StringVar(&d.timeCol, "time", "", "column with the time of the row (default: rows follow each other by --every)")
	cmd.Flags().DurationVar(&d.every, "every", 0, "time from row to row if no column holds it (default: the model's interval)")
	cmd.Flags().StringVar(&d.deviceCol, "device", "", "column that names the device (default: a file is one device)")
	cmd.Flags().StringVar(&d.codeCol, "code", "", "column with codes of events: a row with one is an event, too")
	cmd.Flags().StringToStringVar(&d.columns, "columns", nil, "columns of fields that are named otherwise: field=column,...")
	cmd.Flags().StringVar(&d.sep, "sep", ",", "what separates the columns of the files")
	cmd.Flags().StringVar(&d.out, "out", "", "folder for the answers, in which each file keeps its path (required)")
	_ = cmd.MarkFlagRequired("out")
	_ = cmd.MarkFlagRequired("model")
	cmd.MarkFlagsMutuallyExclusive("time", "every")
	configFlags(cmd, "models", "rules.dir")
	return cmd
}

// note names the rules that hold nowhere because rows say nothing of the device.
func (d detectRules) note(w io.Writer, set *rules.Set) {
	for _, r := range set.Rules() {
		if needs := r.Needs(); len(needs) > 0 && slices.Contains(r.Models, d.model) {
			fmt.Fprintf(w, "note: %s holds at no row: it applies to a certain %s, of which rows say nothing\n", r.ID, strings.Join(needs, ", "))
		}
	}
}

func (d detectRules) run(files []string, model *fleet.Model, set *rules.Set) error {
	sep, err := separator(d.sep)
	if err != nil {
		return err
	}
	for field := range d.columns {
		if model.Field(field) == nil {
			return &problemsError{[]fleet.Problem{{Path: "--columns", Message: fmt.Sprintf("model %q has no field %q", model.ID, field)}}}
		}
	}
	if d.every == 0 {
		d.every = max(model.Interval, time.Minute)
	}
	if d.every < 0 {
		return &problemsError{[]fleet.Problem{{Path: "--every", Message: fmt.Sprintf("%v is no time from row to row", d.every)}}}
	}
	jobs, err := detectJobs(d.out, files)
	if err != nil {
		return err
	}
	var ids []string
	for _, r := range set.Rules() {
		if slices.Contains(r.Models, model.ID) {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return &problemsError{[]fleet.Problem{{Path: "--model", Message: fmt.Sprintf("there is no rule for model %q", model.ID)}}}
	}
	for _, j := range jobs {
		if err := j.run(sep, append([]string{"time"}, ids...), d.rows(model, set, ids)); err != nil {
			return err
		}
	}
	return nil
}

// rows runs the rules over the rows of one file.
func (d detectRules) rows(model *fleet.Model, set *rules.Set, ids []string) func([]string) (func([]string) ([]string, error), error) {
	return func(first []string) (func([]string) ([]string, error), error) {
		t := table{names: first, model: model.ID, every: d.every}
		var err error
		for _, c := range []struct {
			name string
			at   *int
		}{{d.timeCol, &t.at}, {d.deviceCol, &t.device}, {d.codeCol, &t.code}} {
			if *c.at = -1; c.name == "" {
				continue
			}
			if *c.at, err = columnNamed(first, c.name); err != nil {
				return nil, err
			}
		}
		if t.fields, err = d.fields(model, first); err != nil {
			return nil, err
		}
		p := newSimulated(set)
		return func(row []string) ([]string, error) {
			shown, r, err := t.reading(row)
			if err != nil {
				return nil, err
			}
			p.receive(&r)
			if t.code >= 0 && row[t.code] != "" {
				r.Class, r.Seq = fleet.Event, r.Seq+1
				r.Fields = []fleet.Field{{Name: "code", Value: fleet.Value{Type: fleet.String, Str: row[t.code]}}}
				p.receive(&r)
			}
			answer := make([]string, 1, 1+len(ids))
			answer[0] = shown
			for _, id := range ids {
				open := "0"
				if p.open[r.Device][id] {
					open = "1"
				}
				answer = append(answer, open)
			}
			return answer, nil
		}, nil
	}
}

// table is where a file has what a device sends, and how many rows of it were read.
type table struct {
	names            []string
	at, device, code int // columns, -1 without one
	fields           []fieldColumn
	model            string
	every            time.Duration
	rows             int
}

// reading is the next row as a reading, and what is shown as its time.
func (t *table) reading(row []string) (shown string, r fleet.Reading, err error) {
	r = fleet.Reading{Device: fleet.DeviceKey{Tenant: "csv", Serial: "1"}, Model: t.model, Class: fleet.Telemetry, Boot: 1, HasSeq: true}
	r.Time = simulatedBegin.Add(time.Duration(t.rows) * t.every)
	t.rows++
	r.Seq = int64(2 * t.rows)
	shown = strconv.Itoa(t.rows)
	if t.at >= 0 {
		var ok bool
		shown = row[t.at]
		if r.Time, ok = timeOf(shown); !ok {
			return shown, r, fmt.Errorf("column %q: %q is no time", t.names[t.at], shown)
		}
	}
	if t.device >= 0 {
		r.Device.Serial = row[t.device]
	}
	for _, f := range t.fields {
		if row[f.column] == "" {
			continue
		}
		v, err := cellOf(f.spec, row[f.column])
		if err != nil {
			return shown, r, fmt.Errorf("column %q: %w", t.names[f.column], err)
		}
		r.Fields = append(r.Fields, fleet.Field{Name: f.spec.Name, Value: v})
	}
	return shown, r, nil
}

// fieldColumn is a field and where a row has it.
type fieldColumn struct {
	spec   *fleet.FieldSpec
	column int
}

func (d detectRules) fields(model *fleet.Model, first []string) (out []fieldColumn, err error) {
	for i := range model.Fields {
		f := &model.Fields[i]
		name, said := d.columns[f.Name]
		if !said {
			name = f.Name
		}
		c := slices.Index(first, name)
		if said && c < 0 {
			_, err := columnNamed(first, name)
			return nil, err
		}
		if c >= 0 {
			out = append(out, fieldColumn{f, c})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("line 1: no column of %q is named like a field of model %q: say which are with --columns", first, model.ID)
	}
	return out, nil
}

// cellOf reads a cell as what the profile says it is.
func cellOf(f *fleet.FieldSpec, cell string) (fleet.Value, error) {
	v := fleet.Value{Type: f.Type}
	var number float64
	var err error
	switch f.Type {
	case fleet.String:
		v.Str = cell
		return v, nil
	case fleet.Boolean:
		yes, err := strconv.ParseBool(cell)
		if err != nil {
			return v, fmt.Errorf("%q is neither true nor false", cell)
		}
		if yes {
			v.Int = 1
		}
		return v, nil
	case fleet.Integer:
		if v.Int, err = strconv.ParseInt(cell, 10, 64); err != nil {
			return v, fmt.Errorf("%q is no whole number", cell)
		}
		number = float64(v.Int)
	default:
		v.Float, err = strconv.ParseFloat(cell, 64)
		number = v.Float
	}
	switch {
	case err != nil || number != number:
		return v, fmt.Errorf("%q is no number", cell)
	case f.HasMin && number < f.Min || f.HasMax && number > f.Max:
		return v, fmt.Errorf("%s is outside of what the profile allows, %v to %v", cell, f.Min, f.Max)
	}
	return v, nil
}

// simulatedBegin is when rows without a time begin: a fixed moment, so that the answers are the same tomorrow.
var simulatedBegin = time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC)

// simulated is a partition of the journal on the time of the rows.
type simulated struct {
	state *rules.State
	now   time.Time
	open  map[fleet.DeviceKey]map[string]bool
	found []fleet.Finding
}

func newSimulated(set *rules.Set) *simulated {
	return &simulated{state: rules.NewState(set), open: map[fleet.DeviceKey]map[string]bool{}}
}

// receive lets time go on to a second after the reading, in the steps of an idle journal, and gives it to the rules.
func (p *simulated) receive(r *fleet.Reading) {
	const transit, idle = time.Second, 30 * time.Second
	at := r.Time.Add(transit)
	if p.now.IsZero() {
		p.now = at
		p.step(wire.KindStart, nil)
	}
	tick := max(idle, at.Sub(p.now)/10_000) // years without a row need no more than that many steps
	for p.now.Add(tick).Before(at) {
		p.now = p.now.Add(tick)
		p.step(wire.KindTick, nil)
	}
	if at.After(p.now) {
		p.now = at
	}
	p.step(wire.KindReadings, wire.AppendReading(nil, r))
}

func (p *simulated) step(kind wire.Kind, body []byte) {
	p.found = p.state.Step(&wire.Record{Stream: wire.Readings, Kind: kind, Received: p.now, Body: body}, p.found[:0])
	for i := range p.found {
		f := &p.found[i]
		open := p.open[f.Device]
		if open == nil {
			open = map[string]bool{}
			p.open[f.Device] = open
		}
		open[f.Rule] = f.Phase != fleet.Cleared
	}
}
