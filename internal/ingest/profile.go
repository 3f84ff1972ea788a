package ingest

import (
	"fmt"
	"strconv"

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

// Issue is one thing that is wrong, or worth knowing, about a reading or a payload.
type Issue struct {
	Field  string // empty: about the whole
	Reason string // the counter's label
	Detail string // for people: what is wrong and what would be right
}

// notes is what a check finds beside the fields. Its strings may alias the payload.
type notes struct {
	unknown []string // names of fields that the profile does not name, and that were kept or left out
	all     bool     // go on after the first problem and list them all
	partial bool     // the reading may leave out what did not change: nothing is required of it
	issues  []Issue  // what quarantines the reading; without all at most one
}

// bad takes note of a problem; it returns whether the check is over.
func (n *notes) bad(reason, field, detail string) bool {
	n.issues = append(n.issues, Issue{Field: field, Reason: reason, Detail: detail})
	return !n.all
}

// check gives every field the type the profile says and puts into n what does not fit. r.Fields is changed in place. Whether
// the reading is good is whether n holds more issues than before.
func (p *profile) check(r *fleet.Reading, n *notes) {
	c := p.class(r.Class)
	keep, required := r.Fields[:0], 0
	for i := range r.Fields {
		f := r.Fields[i]
		spec := c.find(f.Name, i)
		if spec == nil {
			switch {
			case f.Name == ClockField:
				if n.bad(wire.ReasonName, f.Name, fmt.Sprintf("%q is reserved", f.Name)) {
					return
				}
			case c.unknown == fleet.RefuseUnknown:
				if n.bad(reasonUnknown, f.Name, fmt.Sprintf("%q is not in the profile of %s", f.Name, r.Model)) {
					return
				}
			case c.unknown == fleet.DropUnknown:
				n.unknown = append(n.unknown, f.Name)
			default:
				n.unknown = append(n.unknown, f.Name)
				keep = append(keep, f)
			}
			continue
		}
		if reason, detail := fit(&f, spec); reason != "" && n.bad(reason, f.Name, detail) {
			return
		}
		if spec.Required {
			required++
		}
		keep = append(keep, f)
	}
	r.Fields = keep
	if len(keep) == 0 && n.bad(wire.ReasonEmpty, "", "the reading holds no field") {
		return
	}
	if required < c.required && !n.partial { // names are unique, so the count says whether one is missing
		c.missing(r, n)
	}
}

func (p *profile) class(of fleet.Class) *class {
	switch of {
	case fleet.Event:
		return &p.event
	case fleet.Status:
		return &p.status
	default:
		return &p.telemetry
	}
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

// missing notes the required fields that r does not hold.
func (c *class) missing(r *fleet.Reading, n *notes) {
	for i := range c.specs {
		if s := &c.specs[i]; s.Required && !holds(r.Fields, s.Name) && n.bad(reasonMissing, s.Name, fmt.Sprintf("%q is required and missing: %s", s.Name, describe(s))) {
			return
		}
	}
}

// describe says what a field is to hold: "a float in °C from -40 to 120".
func describe(s *fleet.FieldSpec) string {
	text := "a " + s.Type.String()
	if s.Type == fleet.Integer {
		text = "an integer"
	}
	if s.Unit != "" && s.Unit != "1" {
		text += " in " + s.Unit
	}
	switch {
	case s.HasMin && s.HasMax:
		text += fmt.Sprintf(" from %v to %v", s.Min, s.Max)
	case s.HasMin:
		text += fmt.Sprintf(" from %v", s.Min)
	case s.HasMax:
		text += fmt.Sprintf(" up to %v", s.Max)
	}
	return text
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
		return reasonType, fmt.Sprintf("%q is %.60q: want %s", f.Name, have, describe(spec))
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
		return reasonRange, fmt.Sprintf("%q is %v: want %s", f.Name, n, describe(spec))
	}
	return "", ""
}
