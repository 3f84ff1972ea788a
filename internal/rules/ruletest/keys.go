package ruletest

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
)

// keysOf lists the keys of what is written in a test file, by the name that the YAML package has for it.
var keysOf = func() map[string][]string {
	out := map[string][]string{}
	for _, v := range []any{fileYAML{}, testYAML{}, eventYAML{}, factYAML{}, presenceYAML{}, spanYAML{}, wantYAML{}} {
		t := reflect.TypeOf(v)
		for i := range t.NumField() {
			out[t.String()] = append(out[t.String()], t.Field(i).Tag.Get("yaml"))
		}
	}
	return out
}()

var (
	lineMistake = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)`)
	unknownKey  = regexp.MustCompile(`^field (\S+) not found in type (\S+)`)
)

// unread notes what keeps a file from being read: each mistake with its line, unknown keys with those there are.
func (c *checker) unread(err error) {
	mistakes := []string{err.Error()}
	var several *yaml.TypeError
	if errors.As(err, &several) {
		mistakes = several.Errors
	}
	for _, msg := range mistakes {
		p := fleet.Problem{File: c.file}
		if m := lineMistake.FindStringSubmatch(msg); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
			msg = m[2]
		}
		if m := unknownKey.FindStringSubmatch(msg); m != nil {
			p.Path, msg, p.Hint = m[1], fmt.Sprintf("unknown key %q", m[1]), rules.Suggest(m[1], keysOf[m[2]])
			if m[1] == "pack" || m[1] == "rules" {
				p.Hint = "this is a rule pack; tests are in files named *_test.yaml"
			}
		} else if several == nil {
			msg = "not valid YAML: " + strings.TrimPrefix(msg, "yaml: ")
		}
		p.Message = msg
		c.problems = append(c.problems, p)
	}
}

// scoped says why a rule may find nothing in a test: it is for devices of which more is known than the test says.
func (t *test) scoped(rule *rules.Rule) string {
	if rule == nil {
		return ""
	}
	for _, need := range rule.Needs() {
		if !slices.ContainsFunc(t.facts, func(f fact) bool {
			return map[string]string{"firmware": f.facts.Firmware, "hardware": f.facts.Hardware, "batch": f.facts.Batch, "region": f.facts.Region}[need] != ""
		}) {
			return fmt.Sprintf(" (it applies to a certain %s, which the test's facts do not say)", need)
		}
	}
	return ""
}
