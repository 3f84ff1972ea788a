package rules

import "github.com/expr-lang/expr/ast"

// sameUnits notes a mistake when two numbers that are compared, added or chosen between are known to be in different units,
// such as °C and s. A constant has no unit, nor has what was calculated with * / % and **: a factor may convert.
func (c *compiler) sameUnits(n ast.Node, op string, l, r value, left, right ast.Node) bool {
	if !measured(l.unit) || !measured(r.unit) || l.unit == r.unit {
		return true
	}
	c.fail(n, unitHint(l, r, left.String(), right.String()),
		"%s %s %s: %s is in %s, %s in %s", clip(left.String()), op, clip(right.String()), clip(left.String()), l.unit, clip(right.String()), r.unit)
	return false
}

// measured reports whether a unit says anything: profiles write "1" for numbers without.
func measured(unit string) bool { return unit != "" && unit != "1" }

// joined is the unit of a sum, a difference or a choice of two numbers whose units do not contradict.
func joined(l, r value) string {
	if measured(l.unit) {
		return l.unit
	}
	return r.unit
}
