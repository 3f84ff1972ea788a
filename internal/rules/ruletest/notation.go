package ruletest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// maxValues bounds how many values a series, and so a test, may have: a year of readings ten minutes apart is 52,560.
const maxValues = 100_000

// point is one value of a series; a gap has none.
type point struct {
	value fleet.Value
	gap   bool
}

// parseSeries reads the short notation of a field's values, parts with spaces between them:
//
//	55          one value (a number, true or false, or a word, as the profile's type has it)
//	55x20       20 times the same
//	70..95/10   10 values from 70 to 95 at equal steps, both ends included
//	_  _x3      a gap, 3 gaps: the reading has no such field
//
// A reading whose fields are all gaps is not sent.
func parseSeries(s string, t fleet.FieldType) ([]point, error) {
	var out []point
	for _, part := range strings.Fields(s) {
		body, n, err := repeated(part)
		if err != nil {
			return nil, err
		}
		from, rest, ramp := strings.Cut(body, "..")
		if ramp && t != fleet.String {
			more, err := parseRamp(part, from, rest, t)
			switch {
			case err != nil:
				return nil, err
			case n*len(more) > maxValues-len(out):
				return nil, tooMany(part)
			}
			for range n {
				out = append(out, more...)
			}
			continue
		}
		p := point{gap: body == "_"}
		if !p.gap {
			if p.value, err = parseValue(body, t); err != nil {
				return nil, err
			}
		}
		if n > maxValues-len(out) {
			return nil, tooMany(part)
		}
		for range n {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the series is empty: want values such as 55x20 70..95/10 _x3")
	}
	return out, nil
}

func tooMany(part string) error {
	return fmt.Errorf("%q: more than %d values", part, maxValues)
}

// repeated takes "x20" off the end of a part. A word that ends in x and digits is written with x1 behind it.
func repeated(part string) (body string, n int, err error) {
	i := strings.LastIndexByte(part, 'x')
	if i <= 0 || i == len(part)-1 || strings.Trim(part[i+1:], "0123456789") != "" {
		return part, 1, nil
	}
	n, err = strconv.Atoi(part[i+1:])
	if err != nil || n < 1 || n > maxValues {
		return "", 0, fmt.Errorf("%q: want 1 to %d times", part, maxValues)
	}
	return part[:i], n, nil
}

func parseRamp(part, from, rest string, t fleet.FieldType) ([]point, error) {
	to, steps, ok := strings.Cut(rest, "/")
	n, err := strconv.Atoi(steps)
	if !ok || err != nil || n < 2 || n > maxValues {
		return nil, fmt.Errorf("%q: want a ramp such as 70..95/10, of 2 to %d values", part, maxValues)
	}
	a, errA := number(from)
	b, errB := number(to)
	if errA != nil || errB != nil || t == fleet.Boolean {
		return nil, fmt.Errorf("%q: a ramp is between two numbers", part)
	}
	out := make([]point, n)
	for i := range out {
		share := float64(i) / float64(n-1)
		v := a*(1-share) + b*share
		if out[i].value = (fleet.Value{Type: fleet.Float, Float: v}); t == fleet.Integer {
			out[i].value = fleet.Value{Type: fleet.Integer, Int: int64(math.Round(v))}
		}
	}
	return out, nil
}

// number reads a finite number small enough to be exact as an integer.
func number(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.Abs(v) > 1<<53 {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return v, nil
}

func parseValue(s string, t fleet.FieldType) (fleet.Value, error) {
	switch t {
	case fleet.String:
		return fleet.Value{Type: t, Str: s}, nil
	case fleet.Boolean:
		if s != "true" && s != "false" {
			return fleet.Value{}, fmt.Errorf("%q: want true or false", s)
		}
		v := fleet.Value{Type: t}
		if s == "true" {
			v.Int = 1
		}
		return v, nil
	default:
		v, err := number(s)
		if err != nil {
			return fleet.Value{}, err
		}
		if t == fleet.Integer {
			if v != math.Trunc(v) {
				return fleet.Value{}, fmt.Errorf("%q: the field holds whole numbers", s)
			}
			return fleet.Value{Type: t, Int: int64(v)}, nil
		}
		return fleet.Value{Type: fleet.Float, Float: v}, nil
	}
}

// maxSpan bounds how long a test may last in its own time.
const maxSpan = 2 * 366 * 24 * time.Hour

// parseTime reads a time since the test's begin, or a length of time: 90s, 10m, 2h30m, 3d, 3d12h. It is never negative.
func parseTime(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q: want a time since the begin such as 90s, 10m, 2h30m or 3d12h, at most %d days", s, maxSpan/(24*time.Hour))
	rest := s
	var out time.Duration
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > int(maxSpan/(24*time.Hour)) {
			return 0, bad
		}
		if out, rest = time.Duration(n)*24*time.Hour, after; rest == "" {
			return out, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > maxSpan-out {
		return 0, bad
	}
	return out + d, nil
}

// spell writes a time as parseTime reads it.
func spell(d time.Duration) string {
	const day = 24 * time.Hour
	out := ""
	if d >= day {
		out, d = strconv.FormatInt(int64(d/day), 10)+"d", d%day
	}
	if d > 0 || out == "" {
		rest := d.String()
		if strings.HasSuffix(rest, "m0s") {
			rest = strings.TrimSuffix(rest, "0s")
		}
		if strings.HasSuffix(rest, "h0m") {
			rest = strings.TrimSuffix(rest, "0m")
		}
		out += rest
	}
	return out
}
