package rules

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"go.yaml.in/yaml/v3"
)

// maxFile bounds what is read of one rule file.
const maxFile = 1 << 20

// reader walks the nodes of one file and notes every mistake with its place, instead of stopping at the first.
type reader struct {
	file     string
	problems *[]fleet.Problem
}

func (r *reader) problem(n *yaml.Node, path, hint, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	*r.problems = append(*r.problems, fleet.Problem{
		File: r.file, Line: line, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// document returns the root of the only document in body, nil when there is none to work with.
func (r *reader) document(body []byte) *yaml.Node {
	if len(body) > maxFile {
		r.problem(nil, "", "split it", "the file has more than %d bytes", maxFile)
		return nil
	}
	var doc, second yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(body)))
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			r.problem(nil, "", "", "the file is empty")
			return nil
		}
		line, msg := yamlError(err)
		line, text := brokenLine(string(body), line)
		r.problem(&yaml.Node{Line: line}, "", yamlHint(msg, text), "not valid YAML: %s", msg)
		return nil
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		r.problem(&second, "", "one pack a file", "there is a second document behind ---")
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil
	}
	return doc.Content[0]
}

// yamlError takes the line out of "yaml: line 3: ...".
func yamlError(err error) (int, string) {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if n, _ := fmt.Sscanf(msg, "line %d:", &line); n == 1 {
		_, msg, _ = strings.Cut(msg, ": ")
	}
	return line, msg
}

// brokenLine is the line at which a file stops being YAML, with its text. The parser names the beginning of what it was reading, often a
// line far above; so this looks for the longest beginning of the file that is whole, as far as the parser has come.
func brokenLine(body string, named int) (int, string) {
	lines := strings.SplitAfter(body, "\n")
	far := &lineReader{lines: lines}
	var doc yaml.Node
	_ = yaml.NewDecoder(far).Decode(&doc) // fails, as before
	tries := min(200, 4*maxFile/max(len(body), 1))
	for k := min(far.next, len(lines)-1); k >= named && k > 0 && tries > 0; k, tries = k-1, tries-1 {
		if yaml.Unmarshal([]byte(strings.Join(lines[:k], "")), &doc) == nil {
			named = k + 1
			break
		}
	}
	if named < 1 || named > len(lines) {
		return named, ""
	}
	return named, strings.TrimRight(lines[named-1], "\r\n")
}

// lineReader gives a line at a time, to see how far somebody reads.
type lineReader struct {
	lines []string
	next  int
	rest  string
}

func (l *lineReader) Read(p []byte) (int, error) {
	if l.rest == "" && l.next < len(l.lines) {
		l.rest = l.lines[l.next]
		l.next++
	}
	if l.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// object is a mapping with known keys.
type object struct {
	r    *reader
	node *yaml.Node
	path string
	keys map[string]*yaml.Node
}

// object reads a mapping; keys that are not in allowed and keys that come twice are mistakes. It returns false when n is
// no mapping at all.
func (r *reader) object(n *yaml.Node, path string, allowed ...string) (object, bool) {
	o := object{r: r, node: n, path: path, keys: map[string]*yaml.Node{}}
	m := resolve(n)
	if m.Kind != yaml.MappingNode {
		r.problem(n, path, "", "want keys and values, found %s", kindWord(m))
		return o, false
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		k := m.Content[i]
		switch {
		case allowed != nil && !contains(allowed, k.Value):
			r.problem(k, join(path, k.Value), didYouMean(k.Value, allowed), "unknown key %q", clip(k.Value))
		case o.keys[k.Value] != nil:
			r.problem(k, join(path, k.Value), "", "key %q is here twice", clip(k.Value))
		default:
			o.keys[k.Value] = m.Content[i+1]
		}
	}
	return o, true
}

// ordered returns the keys of an object as written.
func (o object) ordered() []string {
	m := resolve(o.node)
	var out []string
	for i := 0; i+1 < len(m.Content); i += 2 {
		if k := m.Content[i].Value; o.keys[k] == m.Content[i+1] {
			out = append(out, k)
		}
	}
	return out
}

// text returns a scalar's text; a required one that is missing or empty is a mistake.
func (o object) text(key string, required bool) (string, *yaml.Node) {
	n := o.keys[key]
	if n == nil {
		if required {
			o.r.problem(o.node, join(o.path, key), "", "%s is missing", key)
		}
		return "", nil
	}
	v := resolve(n)
	if v.Kind != yaml.ScalarNode {
		o.r.problem(n, join(o.path, key), "", "want one value, found %s", kindWord(v))
		return "", nil
	}
	if required && strings.TrimSpace(v.Value) == "" {
		o.r.problem(n, join(o.path, key), "", "%s is empty", key)
		return "", nil
	}
	return v.Value, v
}

// duration reads an optional duration; 0 when it is not there.
func (o object) duration(key string) time.Duration {
	s, n := o.text(key, false)
	if n == nil {
		return 0
	}
	d, err := parseDuration(s)
	if err != nil {
		o.r.problem(n, join(o.path, key), `write it like "30m", "24h" or "14d"`, "%v", err)
	}
	return d
}

// list returns the items of a sequence.
func (o object) list(key string) []*yaml.Node {
	n := o.keys[key]
	if n == nil {
		return nil
	}
	v := resolve(n)
	if v.Kind != yaml.SequenceNode {
		hint := ""
		if v.Kind == yaml.ScalarNode && v.Value != "" {
			hint = "write [" + clip(v.Value) + "]"
		}
		o.r.problem(n, join(o.path, key), hint, "want a list, found %s", kindWord(v))
		return nil
	}
	return v.Content
}

// resolve follows one alias; our schema is of fixed depth, so an alias that holds itself cannot lead us in a circle.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func kindWord(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if n.Value == "" {
			return "nothing"
		}
		return fmt.Sprintf("%q", clip(n.Value))
	default:
		return "something else"
	}
}

func join(path, key string) string {
	if path == "" {
		return clip(key)
	}
	return path + "." + clip(key)
}

func clip(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "..."
	}
	return s
}
