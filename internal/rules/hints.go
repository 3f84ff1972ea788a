package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/file"
)

// What people write who have not read the language, and what they mean by it. A mistake names the word that is there; the hint
// has to be something that can be typed instead.

// synonyms are names of functions elsewhere.
var synonyms = map[string]string{
	"average": "avg", "mean": "avg", "percentile": "quantile", "std": "stddev", "stdev": "stddev",
	"minimum": "min", "maximum": "max", "trend": "slope", "derivative": "slope", "previous": "prev", "last": "prev", "diff": "delta",
	"difference": "delta", "duration": "held", "lasts": "held", "usage": "used", "remaining": "eta", "len": "count", "length": "count",
	"offline": "silent", "events": "codes", "percent": "share",
}

// hintFunction says what may be meant by a function that does not exist.
func hintFunction(name string) string {
	word := strings.ToLower(name)
	if contains([]string{"now", "today", "date", "time", "hour"}, word) {
		return "nothing in a rule reads a clock: for, held, since, age and windows are about time"
	}
	if word == "median" {
		return `write quantile(field, 0.5, "24h")`
	}
	if ours := synonyms[word]; ours != "" {
		i := slices.IndexFunc(functions, func(f function) bool { return f.name == ours })
		return "write " + functions[i].form
	}
	return didYouMean(name, functionNames())
}

// hintField says what may be meant by a field that the model does not have.
func (b *builder) hintField(name string) string {
	switch word := strings.ToLower(name); {
	case contains([]string{"yes", "on", "true"}, word):
		return "write true"
	case contains([]string{"no", "off", "false"}, word):
		return "write false"
	case word == "link" || strings.HasPrefix(word, "link."):
		return didYouMean(name, []string{linkOnline, linkCause})
	case strings.HasPrefix(word, "limit.") || word == "limits":
		return "limits.NAME is a limit of the rule"
	case contains(b.codes(), name):
		return fmt.Sprintf("a code stands in quotes: %q", name)
	}
	if i := slices.IndexFunc(functions, func(f function) bool { return f.name == name }); i >= 0 {
		return "write " + functions[i].form
	}
	return didYouMean(name, b.names())
}

// codes are those of the model's dictionary.
func (b *builder) codes() []string {
	out := make([]string, len(b.model.FaultCodes))
	for i := range out {
		out[i] = b.model.FaultCodes[i].Code
	}
	return out
}

var token = regexp.MustCompile(`^unexpected token \w+\("(.*)"\)`)

// unparsed words a mistake of the parser.
func unparsed(text string, fe *file.Error) *exprError {
	msg := token.ReplaceAllString(fe.Message, `unexpected "$1"`)
	e := &exprError{line: max(fe.Line-1, 0), hint: parseHint(text, fe.Message)}
	if strings.HasPrefix(fe.Message, "unexpected token EOF") {
		e.message = "cannot be parsed: it ends too early"
		return e
	}
	e.message = fmt.Sprintf("cannot be parsed: %s at column %d", msg, fe.Column+1)
	return e
}

var (
	wrongAnd   = regexp.MustCompile(`"(AND|And|OR|Or|NOT|Not)"`)
	unitBehind = regexp.MustCompile(`bad number syntax: "([0-9.]+)[a-z]`)
)

func parseHint(text, msg string) string {
	switch {
	case strings.Contains(msg, `Operator("=")`) && strings.Contains(text, "=>"):
		return "write >="
	case strings.Contains(msg, `Operator("=")`) && strings.Contains(text, "=<"):
		return "write <="
	case strings.Contains(msg, `Operator("=")`):
		return "write == to compare"
	case wrongAnd.MatchString(msg):
		return "write and, or, not in small letters"
	case unitBehind.MatchString(msg):
		return `a number stands without its unit, a length of time in quotes: avg(field, "24h")`
	case strings.HasPrefix(msg, "unexpected token EOF") && strings.Count(text, "(") > strings.Count(text, ")"):
		return "a bracket is not closed"
	case strings.HasPrefix(msg, `unexpected token Bracket(")")`) && strings.Count(text, "(") < strings.Count(text, ")"):
		return "a bracket is closed that was not opened"
	case strings.Contains(msg, "not terminated"):
		return "a quote is not closed"
	}
	return ""
}

// compareHint is about two sides of a comparison that are of different kinds.
func compareHint(l, r value, left, right string) string {
	if r.kind == number || r.kind == boolean { // what is measured stands left from here on
		l, r, left, right = r, l, right, left
	}
	if l.kind == number && r.isLit {
		if d, err := parseDuration(r.lit); err == nil && l.unit == "h" {
			return fmt.Sprintf("%s is in hours: %g", clip(left), d.Hours())
		} else if err == nil && l.unit == "s" {
			return fmt.Sprintf("%s is in seconds: %g", clip(left), d.Seconds())
		}
	}
	switch {
	case l.kind == boolean:
		return fmt.Sprintf("a truth value is a condition by itself: write %s, or not %s", clip(left), clip(left))
	case r.kind == boolean:
		return fmt.Sprintf("a truth value is a condition by itself: write %s, or not %s", clip(right), clip(right))
	}
	return "texts stand in quotes, numbers do not"
}

// unitHint is about two sides that are in different units.
func unitHint(l, r value, left, right string) string {
	switch {
	case strings.HasPrefix(right, limitPrefix):
		return fmt.Sprintf("give %s in %s: unit: %s", right, l.unit, l.unit)
	case strings.HasPrefix(left, limitPrefix):
		return fmt.Sprintf("give %s in %s: unit: %s", left, r.unit, r.unit)
	}
	return "multiply one of them by what converts it, or compare with another field"
}

// templateHint is about a text that is no template.
func templateHint(msg string, evidence []string) string {
	if _, rest, ok := strings.Cut(msg, `function "`); ok {
		name, _, _ := strings.Cut(rest, `"`)
		switch {
		case contains(evidence, name):
			return fmt.Sprintf(`write {{value "%s"}}`, name)
		case strings.EqualFold(name, "thing"):
			return "{{.Thing}} or {{.thing}}"
		}
		return `a value is {{value "field"}}; the words are in the section Texts`
	}
	return "what is filled in stands between {{ and }}"
}

// quotedName writes the name of an evidence so that it can be typed into a template: in `...` if there are quotes in it.
func quotedName(name string) string {
	if strings.Contains(name, `"`) {
		return "`" + name + "`"
	}
	return `"` + name + `"`
}

// evidenceHint says which evidence a text may mean.
func evidenceHint(word, name string, evidence []string) string {
	bare := strings.NewReplacer(`"`, "", " ", "")
	for _, e := range evidence {
		if bare.Replace(e) == bare.Replace(name) {
			return "write {{" + word + " " + quotedName(e) + "}}, in a text that stands in single quotes"
		}
	}
	names := make([]string, len(evidence))
	for i, e := range evidence {
		names[i] = quotedName(e)
	}
	if hint := didYouMean(name, evidence); strings.HasPrefix(hint, "did") {
		return hint
	}
	return didYouMean("", names)
}

// yamlHint is about a file that is no YAML. Line is what stands at the mistake.
func yamlHint(msg, line string) string {
	_, value, _ := strings.Cut(line, ": ")
	value = strings.TrimSpace(value)
	switch {
	case strings.HasPrefix(strings.TrimLeft(line, " "), "\t") || strings.Contains(msg, "tab character"):
		return "indent with blanks, not with tabs"
	case strings.HasPrefix(value, "{{"):
		return "a text that begins with a brace stands in quotes"
	case strings.HasPrefix(value, `"`) && strings.Count(value, `"`) > 2:
		return `put the whole text in single quotes, or write \" for a quote inside double quotes`
	case strings.HasPrefix(value, `"`) || strings.HasPrefix(value, `'`):
		return "a quote is not closed, or something stands behind it: put the whole text in quotes"
	case strings.HasPrefix(value, "{") && strings.Contains(value, `"`):
		return "within { } an expression with commas or quotes stands in single quotes"
	case strings.HasPrefix(value, "{"), strings.HasPrefix(value, "["):
		return "a bracket is not closed, or a text within it needs quotes"
	case strings.Contains(msg, "mapping values") && strings.Contains(value, ": "):
		return `a text with ": " in it stands in quotes`
	case strings.Contains(msg, "cannot start any token"):
		return "a text that begins with such a character stands in quotes"
	}
	return "keys that belong together begin in the same column, a blank follows the colon"
}

// hintRule says which rule may be meant.
func hintRule(id string, ids []string) string {
	if hint := didYouMean(id, ids); strings.HasPrefix(hint, "did") {
		return hint
	}
	return "it is in none of these packs; a folder of your own takes the place of the shipped ones"
}
