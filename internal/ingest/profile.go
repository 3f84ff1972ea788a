package ingest

import (
	"fmt"
	"strconv"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Reasons of quarantine that come from the profile.
const (
	reasonType    = "wrong_type"
	reasonRange   = "range"
	reasonMissing = "missing_field"
	reasonUnknown = "unknown_field"
)

// profile is a model's profile made ready for checking.
type profile struct {
	model     *fleet.Model
	telemetry class
	event     class
	status    class
}

// class is the fields of one class of report.
type class struct {
	specs    []fleet.FieldSpec
	index    map[string]int
	unknown  fleet.UnknownFields
	required int
}

// Events and status reports have fields of their own, the same for all models.
var (
	eventFields  = []fleet.FieldSpec{{Name: "code", Type: fleet.String, Required: true}, {Name: "value", Type: fleet.Float}, {Name: "text", Type: fleet.String}}
	statusFields = []fleet.FieldSpec{{Name: "online", Type: fleet.Boolean, Required: true}, {Name: "reason", Type: fleet.String}, {Name: "firmware", Type: fleet.String}}
)

func newProfile(m *fleet.Model) *profile {
	return &profile{model: m, telemetry: newClass(m.Fields, m.Unknown), event: newClass(eventFields, fleet.DropUnknown), status: newClass(statusFields, fleet.DropUnknown)}
}

func newClass(specs []fleet.FieldSpec, unknown fleet.UnknownFields) class {
	c := class{specs: specs, unknown: unknown, index: make(map[string]int, len(specs))}
	for i := range specs {
		c.index[specs[i].Name] = i
		if specs[i].Required {
			c.required++
		}
	}
	return c
}

// earliest is the oldest device time accepted: nothing that reports to us was made before.
var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// check gives every field the type the profile says and refuses what does not fit. r.Fields is changed in place.
// It returns how many unknown fields were left out, or the reason and the detail of the quarantine.
func (p *profile) check(r *fleet.Reading, now time.Time, maxFuture time.Duration) (dropped int, reason, detail string) {
	if r.Time.Before(earliest) || r.Time.After(now.Add(maxFuture)) {
		return 0, wire.ReasonTime, fmt.Sprintf("the reading is stamped %s: before 2000 or more than %v ahead of us", r.Time.UTC().Format(time.RFC3339), maxFuture)
	}
	c := &p.telemetry
	switch r.Class {
	case fleet.Event:
		c = &p.event
	case fleet.Status:
		c = &p.status
	}
	keep, required := r.Fields[:0], 0
	for i := range r.Fields {
		f := r.Fields[i]
		spec := c.find(f.Name, i)
		if spec == nil {
			switch c.unknown {
			case fleet.RefuseUnknown:
				return 0, reasonUnknown, fmt.Sprintf("%q is not in the profile of %s", f.Name, r.Model)
			case fleet.DropUnknown:
				dropped++
			default:
				keep = append(keep, f)
			}
			continue
		}
		if reason, detail = fit(&f, spec); reason != "" {
			return 0, reason, detail
		}
		if spec.Required {
			required++
		}
		keep = append(keep, f)
	}
	r.Fields = keep
	if len(keep) == 0 {
		return 0, wire.ReasonEmpty, "the reading holds no field"
	}
	if required < c.required { // names are unique, so the count says whether one is missing
		return 0, reasonMissing, fmt.Sprintf("%q is required and missing", c.missing(r))
	}
	return dropped, "", ""
}

// find looks a field up; devices mostly send their fields in one order, so the place it had before is tried first.
func (c *class) find(name string, hint int) *fleet.FieldSpec {
	if hint < len(c.specs) && c.specs[hint].Name == name {
		return &c.specs[hint]
	}
	if i, ok := c.index[name]; ok {
		return &c.specs[i]
	}
	return nil
}

// missing names the first required field that r does not hold.
func (c *class) missing(r *fleet.Reading) string {
	for i := range c.specs {
		if c.specs[i].Required && !holds(r.Fields, c.specs[i].Name) {
			return c.specs[i].Name
		}
	}
	return ""
}

func holds(fields []fleet.Field, name string) bool {
	for i := range fields {
		if fields[i].Name == name {
			return true
		}
	}
	return false
}

// fit gives a value the type its specification says, where that loses nothing: 7 and 7.0 are the integer 7, 0 and 1 are
// booleans, a number is a string for a string field. It returns the reason and the detail if it cannot.
func fit(f *fleet.Field, spec *fleet.FieldSpec) (reason, detail string) {
	v := &f.Value
	wrong := func() (string, string) {
		have := v.Str
		if v.Type == fleet.Boolean {
			have = strconv.FormatBool(v.Int != 0)
		}
		return reasonType, fmt.Sprintf("%q is %.60q: want %s", f.Name, have, spec.Type)
	}
	switch spec.Type {
	case fleet.Float:
		if v.Type != fleet.Float {
			return wrong()
		}
	case fleet.Integer:
		if v.Type != fleet.Float {
			return wrong()
		}
		n, err := strconv.ParseInt(v.Str, 10, 64)
		if err != nil {
			if n = int64(v.Float); float64(n) != v.Float || v.Float > 1<<53 || v.Float < -1<<53 {
				return wrong()
			}
		}
		v.Type, v.Int, v.Str = fleet.Integer, n, ""
	case fleet.Boolean:
		if v.Type == fleet.Float && (v.Float == 0 || v.Float == 1) {
			v.Type, v.Int, v.Str = fleet.Boolean, int64(v.Float), ""
		}
		if v.Type != fleet.Boolean {
			return wrong()
		}
	case fleet.String:
		if v.Type == fleet.Float {
			v.Type = fleet.String
		}
		if v.Type != fleet.String {
			return wrong()
		}
	}
	if n, ok := v.Number(); ok && (spec.HasMin && n < spec.Min || spec.HasMax && n > spec.Max) {
		return reasonRange, fmt.Sprintf("%q is %v %s: possible is %v to %v", f.Name, n, spec.Unit, spec.Min, spec.Max)
	}
	return "", ""
}
