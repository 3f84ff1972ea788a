package registry

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"aftercare/internal/fleet"
)

// doc reads one YAML file node by node and collects every mistake with its place: decoding into structs would stop at the
// first and lose the lines.
type doc struct {
	file     string
	problems []fleet.Problem
}

func (d *doc) problem(n *yaml.Node, path, hint, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	d.problems = append(d.problems, fleet.Problem{File: d.file, Line: line, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parse returns the file's one document, nil after a syntax error.
func (d *doc) parse(text []byte) *yaml.Node {
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var root yaml.Node
	if err := dec.Decode(&root); err != nil {
		message := err.Error()
		line := 1
		if m := yamlLine.FindStringSubmatch(message); m != nil {
			line, _ = strconv.Atoi(m[1])
			message = message[len(m[0]):]
		}
		if message == "EOF" {
			message = "the file is empty"
		}
		d.problem(&yaml.Node{Line: max(line, 1)}, "", "", "not YAML: %s", message)
		return nil
	}
	var more yaml.Node
	if dec.Decode(&more) == nil {
		d.problem(&more, "", "one model a file", "a second document begins here")
	}
	return root.Content[0]
}

// pair is one key of a mapping.
type pair struct {
	key   *yaml.Node
	value *yaml.Node
}

// pairs returns a mapping's keys in the file's order; nil and a problem if n is not a mapping. Aliases are followed.
func (d *doc) pairs(n *yaml.Node, path string) []pair {
	n = deref(n)
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "", "want keys and values, not %s", describe(n))
		return nil
	}
	seen := map[string]bool{}
	out := make([]pair, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], deref(n.Content[i+1])
		if k.Kind != yaml.ScalarNode {
			d.problem(k, path, "", "a key has to be a word")
			continue
		}
		if seen[k.Value] {
			d.problem(k, join(path, k.Value), "", "the key is there twice")
			continue
		}
		seen[k.Value] = true
		out = append(out, pair{k, v})
	}
	return out
}

// object calls a mapping's handlers by key; keys without a handler are problems.
func (d *doc) object(n *yaml.Node, path string, handlers map[string]func(v *yaml.Node, path string)) {
	for _, p := range d.pairs(n, path) {
		at := join(path, p.key.Value)
		if h, ok := handlers[p.key.Value]; ok {
			h(p.value, at)
			continue
		}
		d.problem(p.key, at, "known are "+strings.Join(slices.Sorted(maps.Keys(handlers)), ", "), "unknown key")
	}
}

func deref(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	default:
		if n.Tag == "!!null" {
			return "nothing"
		}
		return strconv.Quote(n.Value)
	}
}

// text reads a scalar that was meant as text. YAML 1.1 habits make "no" or 12 something else elsewhere; here they are text.
func (d *doc) text(n *yaml.Node, path string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "" {
		d.problem(n, path, "", "want a text, not %s", describe(n))
		return "", false
	}
	return n.Value, true
}

func (d *doc) number(n *yaml.Node, path string) (float64, bool) {
	var v float64
	if n.Kind != yaml.ScalarNode || (n.Tag != "!!int" && n.Tag != "!!float") || n.Decode(&v) != nil || v-v != 0 {
		d.problem(n, path, "", "want a number, not %s", describe(n))
		return 0, false
	}
	return v, true
}

func (d *doc) boolean(n *yaml.Node, path string) bool {
	var v bool
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Decode(&v) != nil {
		d.problem(n, path, "", "want true or false, not %s", describe(n))
	}
	return v
}

func (d *doc) duration(n *yaml.Node, path string) time.Duration {
	v, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || v <= 0 {
		d.problem(n, path, "such as 30s, 10m or 1h", "want a duration, not %s", describe(n))
		return 0
	}
	return v
}

// choice reads one of the words and returns its index.
func (d *doc) choice(n *yaml.Node, path string, words ...string) int {
	i := slices.Index(words, n.Value)
	if n.Kind != yaml.ScalarNode || i < 0 {
		d.problem(n, path, "want "+strings.Join(words, ", "), "%s is none of the words", describe(n))
		return 0
	}
	return i
}

var language = regexp.MustCompile(`^[a-z]{2}$`)

// words reads a text by language; English has to be there.
func (d *doc) words(n *yaml.Node, path string) fleet.Words {
	out := fleet.Words{}
	for _, p := range d.pairs(n, path) {
		at := join(path, p.key.Value)
		if !language.MatchString(p.key.Value) {
			d.problem(p.key, at, `such as "en" or "de"`, "not a language")
			continue
		}
		if s, ok := d.text(p.value, at); ok {
			out[p.key.Value] = s
		}
	}
	if _, ok := out["en"]; !ok && deref(n).Kind == yaml.MappingNode {
		d.problem(n, path, "add en: ...", "the English text is missing")
	}
	return out
}
