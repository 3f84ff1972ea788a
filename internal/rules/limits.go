package rules

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"go.yaml.in/yaml/v3"
)

// limitPrefix stands before the name of a limit in a condition: limits.slow.
const limitPrefix = "limits."

// Limit is a number of a rule that a device may have a value of its own for.
type Limit struct {
	Value float64 // unless the device says otherwise
	Unit  string
}

// readLimits reads the rule's named limits.
func readLimits(o object, d *draft) {
	n := o.keys["limits"]
	if n == nil {
		return
	}
	m, ok := o.r.object(n, join(o.path, "limits"))
	if !ok {
		return
	}
	d.Limits = map[string]Limit{}
	for _, name := range m.ordered() {
		path := join(m.path, name)
		if !validLimit(name) {
			o.r.problem(m.keys[name], path, "lower-case letters, digits and _, a letter first", "limit %q is not a name", clip(name))
			continue
		}
		d.Limits[name] = Limit{} // what uses it has no mistake for that
		if v := resolve(m.keys[name]); v.Kind == yaml.ScalarNode {
			o.r.problem(v, path, "{value: "+clip(v.Value)+", unit: s}, in the unit of what it is compared with", "want keys and values, found %s", kindWord(v))
			continue
		}
		l, ok := o.r.object(m.keys[name], path, "value", "unit")
		if !ok {
			continue
		}
		text, at := l.text("value", true)
		v, err := strconv.ParseFloat(text, 64)
		if at != nil && (err != nil || !finite(v)) {
			o.r.problem(at, join(path, "value"), "", "%q is not a number", clip(text))
		}
		unit, _ := l.text("unit", false)
		d.Limits[name] = Limit{Value: v, Unit: unit}
	}
}

func validLimit(s string) bool {
	return s != "" && len(s) <= 40 && s[0] >= 'a' && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// limitRef compiles limits.NAME: the device's own value, or else the rule's.
func (c *compiler) limitRef(n ast.Node, name string) value {
	d := c.b.draft
	l, ok := Limit{}, false
	if d != nil {
		l, ok = d.Limits[name]
	}
	if !ok {
		hint := didYouMean(name, d.limitNames())
		if hint == "" {
			hint = "limits: {" + clip(name) + ": {value: 90, unit: s}}"
		}
		return c.fail(n, hint, "the rule has no limit %q", clip(name))
	}
	d.limitsUsed[name], c.use.limits = true, true
	k := c.b.limitNumber(d.ID + "." + name)
	return value{kind: number, slot: -1, unit: l.Unit, num: func(e *env) float64 { return e.d.limit(k, l.Value) }}
}

func (d *draft) limitNames() (out []string) {
	if d == nil {
		return nil
	}
	for name := range d.Limits {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// limitNumber is where a device's own value of a limit is found.
func (b *builder) limitNumber(name string) int {
	if k, ok := b.p.limits[name]; ok {
		return k
	}
	k := len(b.p.limits)
	b.p.limits[name] = k
	return k
}

// limit returns the device's own value of a limit, or else the rule's.
func (d *device) limit(k int, usual float64) float64 {
	if f := d.facts; f != nil && f.more != nil && k < len(f.more.own) {
		if v := f.more.own[k]; !math.IsNaN(v) {
			return v
		}
	}
	return usual
}
