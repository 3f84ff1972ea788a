package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Scope is which devices of its models a rule is about. What is empty excludes nothing; of a device of which a named fact is
// not known the rule says nothing.
type Scope struct {
	Firmware string   // a range: ">=2.1 <3"
	Hardware []string // any of these
	Batch    []string
	Region   []string // "DE" holds "DE-BY" too

	bounds []bound
}

// scopeKeys are the keys of applies that look at facts.
var scopeKeys = []string{"firmware", "hardware", "batch", "region"}

// Needs lists what has to be known of a device for the rule to apply to it: "firmware", "hardware", "batch", "region".
func (r *Rule) Needs() (out []string) {
	for i, key := range scopeKeys {
		if slices.ContainsFunc(r.Scopes, func(s Scope) bool {
			return [...]bool{s.Firmware != "", len(s.Hardware) > 0, len(s.Batch) > 0, len(s.Region) > 0}[i]
		}) {
			out = append(out, key)
		}
	}
	return out
}

func (s *Scope) empty() bool {
	return s.Firmware == "" && len(s.Hardware) == 0 && len(s.Batch) == 0 && len(s.Region) == 0
}

// holds reports whether a device with these facts is in the scope.
func (s *Scope) holds(k *kindFacts) bool {
	if len(s.bounds) > 0 {
		v, ok := parseVersion(k.firmware)
		if !ok {
			return false
		}
		for _, b := range s.bounds {
			if !b.holds(v) {
				return false
			}
		}
	}
	return (len(s.Hardware) == 0 || contains(s.Hardware, k.hardware)) && (len(s.Batch) == 0 || contains(s.Batch, k.batch)) &&
		(len(s.Region) == 0 || inRegion(s.Region, k.region))
}

func inRegion(list []string, region string) bool {
	for _, r := range list {
		if region == r || strings.HasPrefix(region, r+"-") {
			return true
		}
	}
	return false
}

// bound is one part of a range of versions.
type bound struct {
	op string
	v  []uint64
}

func (b bound) holds(v []uint64) bool {
	c := compareVersions(v, b.v)
	switch b.op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	case ">=":
		return c >= 0
	case "!=":
		return c != 0
	default:
		return c == 0
	}
}

// parseVersion reads a version as its numbers: an optional v, then numbers with dots between them. It ends at the first other
// character, so "v2.1.3-rc1" is 2.1.3. Without a number in front there is no version.
func parseVersion(s string) (v []uint64, ok bool) {
	s = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(s), "v"), "V")
	for {
		end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(s)
		}
		n, err := strconv.ParseUint(s[:end], 10, 64)
		if err != nil {
			return v, len(v) > 0
		}
		v = append(v, n)
		if end == len(s) || s[end] != '.' {
			return v, true
		}
		s = s[end+1:]
	}
}

// compareVersions compares number by number; missing ones are 0, so 2.1 is 2.1.0.
func compareVersions(a, b []uint64) int {
	at := func(v []uint64, i int) uint64 {
		if i < len(v) {
			return v[i]
		}
		return 0
	}
	for i := range max(len(a), len(b)) {
		switch x, y := at(a, i), at(b, i); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
	}
	return 0
}

// parseRange reads a range: parts with spaces between them that must all hold, each a version with <, <=, >, >=, = or != before it.
func parseRange(s string) ([]bound, error) {
	var out []bound
	for _, part := range strings.Fields(s) {
		op := part[:len(part)-len(strings.TrimLeft(part, "<>=!"))]
		if !contains([]string{"<", "<=", ">", ">=", "=", "!="}, op) {
			return nil, fmt.Errorf("%q: want <, <=, >, >=, = or != and a version right behind it", clip(part))
		}
		rest := part[len(op):]
		v, ok := parseVersion(rest)
		if !ok || strings.Trim(rest, "v0123456789.") != "" || strings.HasSuffix(rest, ".") {
			return nil, fmt.Errorf("%q is not a version", clip(rest))
		}
		out = append(out, bound{op: op, v: v})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the range is empty")
	}
	return out, nil
}

// impossible reports whether no version is in the range. It looks at the bounds' own versions, just below, and just above them.
func impossible(bounds []bound) bool {
	tries := [][]uint64{{0}}
	for _, b := range bounds {
		above := append(append([]uint64{}, b.v...), 0, 0, 1)
		tries = append(tries, b.v, above)
		for i := len(b.v) - 1; i >= 0; i-- {
			if b.v[i] > 0 {
				below := append([]uint64{}, b.v[:i+1]...)
				below[i]--
				tries = append(tries, append(below, 1<<62))
				break
			}
		}
	}
	for _, v := range tries {
		ok := true
		for _, b := range bounds {
			ok = ok && b.holds(v)
		}
		if ok {
			return false
		}
	}
	return true
}

// readScope reads the keys of applies that look at facts.
func readScope(o object) (s Scope) {
	r := o.r
	if text, n := o.text("firmware", false); n != nil {
		bounds, err := parseRange(text)
		switch {
		case err != nil:
			r.problem(n, join(o.path, "firmware"), `write it like ">=2.1 <3"`, "bad range of versions: %v", err)
		case impossible(bounds):
			r.problem(n, join(o.path, "firmware"), "", "no version is in %q", clip(text))
		}
		s.Firmware, s.bounds = text, bounds
	}
	s.Hardware, s.Batch, s.Region = readWords(o, "hardware"), readWords(o, "batch"), readWords(o, "region")
	for i, word := range s.Region {
		if !validRegion(word) {
			r.problem(o.keys["region"], fmt.Sprintf("%s[%d]", join(o.path, "region"), i), `write it like DE or DE-BY`, "%q is not a region", clip(word))
		}
	}
	return s
}

// validRegion knows the form only: an ISO 3166 country, optionally with a subdivision.
func validRegion(s string) bool {
	country, sub, has := strings.Cut(s, "-")
	upper := func(r rune) bool { return r >= 'A' && r <= 'Z' }
	if len(country) != 2 || strings.TrimFunc(country, upper) != "" {
		return false
	}
	return !has || len(sub) >= 1 && len(sub) <= 3 && strings.TrimFunc(sub, func(r rune) bool { return upper(r) || r >= '0' && r <= '9' }) == ""
}

// readWords reads a list of texts, none of them empty.
func readWords(o object, key string) (out []string) {
	items := o.list(key)
	if o.keys[key] != nil && len(items) == 0 && resolve(o.keys[key]).Kind == yaml.SequenceNode {
		o.r.problem(o.keys[key], join(o.path, key), "", "the list is empty")
	}
	for i, item := range items {
		v := resolve(item)
		if v.Kind != yaml.ScalarNode || strings.TrimSpace(v.Value) == "" {
			o.r.problem(item, fmt.Sprintf("%s[%d]", join(o.path, key), i), "", "want a text, found %s", kindWord(v))
			continue
		}
		out = append(out, v.Value)
	}
	return out
}
