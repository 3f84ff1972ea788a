package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"aftercare/internal/fleet"
)

// EnvPrefix begins every environment variable that is read: gateway.listen is AFTERCARE_GATEWAY_LISTEN.
const EnvPrefix = "AFTERCARE_"

// FileVariable names the configuration file where no flag does.
const FileVariable = EnvPrefix + "CONFIG"

// Load reads the configuration: defaults < file < environment < flags. file may be empty; environ is os.Environ() or what a
// test says; fs may be nil; defaults are a command's own, in place of the packages'. It returns every mistake, not only the first: unknown keys with file and line or the
// variable's name, values of the wrong type, and what the packages' own Validate says.
func Load(file string, environ []string, fs *pflag.FlagSet, defaults ...Setting) (Config, []fleet.Problem) {
	v := viper.New()
	all := keys(Default())
	for _, k := range all {
		v.SetDefault(k.path, k.value)
	}
	for _, d := range defaults {
		v.SetDefault(d.Key, d.Value)
	}
	var problems []fleet.Problem
	places := map[string]int{}
	if file != "" {
		var bad []fleet.Problem
		if places, bad = readFile(v, file, all); len(bad) > 0 {
			problems = append(problems, bad...)
		}
	}
	problems = append(problems, readEnv(v, environ, all)...)
	if fs != nil {
		fs.Visit(func(f *pflag.Flag) {
			if slices.ContainsFunc(all, func(k key) bool { return k.path == f.Name }) {
				v.Set(f.Name, f.Value.String())
			}
		})
	}
	cfg := Default()
	if err := v.Unmarshal(&cfg, hooks); err != nil { // what could be read is there all the same, and looked at below
		problems = append(problems, typeProblems(err, file, places)...)
	}
	cfg.derive()
	return cfg, append(problems, validationProblems(cfg.Validate(), file, places)...)
}

func hooks(c *mapstructure.DecoderConfig) {
	c.WeaklyTypedInput = true // the environment and flags are text
	c.DecodeHook = mapstructure.ComposeDecodeHookFunc(
		strict, duration, mapstructure.StringToWeakSliceHookFunc(","), mapstructure.TextUnmarshallerHookFunc())
}

// strict keeps the weak typing from bending what a file says: 1.7 is no whole number and true is no number.
func strict(from, to reflect.Type, value any) (any, error) {
	number := to.Kind() >= reflect.Int && to.Kind() <= reflect.Float64 && to != reflect.TypeFor[time.Duration]()
	f, isFloat := value.(float64)
	switch {
	case number && from.Kind() == reflect.Bool:
		return nil, fmt.Errorf("%v is not a number", value)
	case number && to.Kind() < reflect.Float32 && isFloat && f != math.Trunc(f):
		return nil, fmt.Errorf("%v is not a whole number", value)
	case to.Kind() == reflect.Bool && from.Kind() != reflect.Bool && from.Kind() != reflect.String:
		return nil, fmt.Errorf("%v is neither true nor false", value)
	}
	if s, isText := value.(string); isText && s != "" {
		_, notBool := strconv.ParseBool(s)
		_, notNumber := strconv.ParseFloat(s, 64)
		_, notWhole := strconv.ParseInt(s, 0, 64)
		switch {
		case to.Kind() == reflect.Bool && notBool != nil:
			return nil, fmt.Errorf("%q is neither true nor false", s)
		case number && notNumber != nil && notWhole != nil:
			return nil, fmt.Errorf("%q is not a number", s)
		}
	}
	return value, nil
}

// duration reads durations; a bare number would be nanoseconds, which nobody means.
func duration(from, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() || from == to {
		return value, nil
	}
	d, err := time.ParseDuration(fmt.Sprint(value))
	if err != nil {
		return nil, fmt.Errorf("%q is not a duration: write 500ms, 5s, 2m or 1h", fmt.Sprint(value))
	}
	return d, nil
}

// Setting is a key with a value.
type Setting struct{ Key, Value string }

// readFile merges a YAML file and returns the line of each key in it.
func readFile(v *viper.Viper, file string, all []key) (map[string]int, []fleet.Problem) {
	places := map[string]int{}
	text, err := os.ReadFile(file)
	if err != nil {
		return places, []fleet.Problem{{File: file, Message: "cannot be read: " + errors.Unwrap(err).Error()}}
	}
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return places, []fleet.Problem{syntaxProblem(file, err)}
	}
	if err := dec.Decode(&more); err == nil {
		return places, []fleet.Problem{{File: file, Line: more.Line, Message: "a second document begins here, and nobody would read it"}}
	} else if !errors.Is(err, io.EOF) {
		return places, []fleet.Problem{syntaxProblem(file, err)}
	}
	if len(doc.Content) == 0 {
		return places, nil // an empty file sets nothing
	}
	w := walker{file: file, all: all, places: places, values: map[string]any{}}
	w.walk(doc.Content[0], "")
	if err := v.MergeConfigMap(w.values); err != nil {
		w.problems = append(w.problems, fleet.Problem{File: file, Message: err.Error()})
	}
	return places, w.problems
}

// syntaxProblem takes the line out of the library's message.
func syntaxProblem(file string, err error) fleet.Problem {
	p := fleet.Problem{File: file, Message: strings.TrimPrefix(err.Error(), "yaml: ")}
	if n, scanErr := fmt.Sscanf(p.Message, "line %d:", &p.Line); n == 1 && scanErr == nil {
		_, p.Message, _ = strings.Cut(p.Message, ": ")
	}
	return p
}

// walker goes through a YAML document, notes where each key stands and what is unknown.
type walker struct {
	file     string
	all      []key
	places   map[string]int
	values   map[string]any
	problems []fleet.Problem
}

func (w *walker) walk(n *yaml.Node, prefix string) {
	if n.Kind != yaml.MappingNode {
		w.problems = append(w.problems, fleet.Problem{File: w.file, Line: n.Line, Path: strings.TrimSuffix(prefix, "."), Message: "want keys with values here"})
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i], n.Content[i+1]
		path := prefix + k.Value
		if _, twice := w.places[path]; twice {
			w.problems = append(w.problems, fleet.Problem{File: w.file, Line: k.Line, Path: path, Message: "is given twice"})
			continue
		}
		w.places[path] = k.Line
		switch {
		case slices.ContainsFunc(w.all, func(x key) bool { return x.path == path }):
			if !w.items(val, path) {
				continue
			}
			var value any
			if err := val.Decode(&value); err != nil {
				w.problems = append(w.problems, fleet.Problem{File: w.file, Line: val.Line, Path: path, Message: err.Error()})
				continue
			}
			put(w.values, path, value)
		case slices.ContainsFunc(w.all, func(x key) bool { return strings.HasPrefix(x.path, path+".") }):
			if val.Kind == yaml.ScalarNode && val.Tag == "!!null" {
				continue // a heading with everything under it commented out
			}
			w.walk(val, path+".")
		default:
			w.problems = append(w.problems, fleet.Problem{File: w.file, Line: k.Line, Path: path, Message: "unknown key", Hint: suggest(path, w.all)})
		}
	}
}

func put(m map[string]any, path string, value any) {
	head, rest, nested := strings.Cut(path, ".")
	if !nested {
		m[head] = value
		return
	}
	sub, ok := m[head].(map[string]any)
	if !ok {
		sub = map[string]any{}
		m[head] = sub
	}
	put(sub, rest, value)
}

// readEnv takes the variables that begin with EnvPrefix.
func readEnv(v *viper.Viper, environ []string, all []key) (problems []fleet.Problem) {
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, EnvPrefix) || name == FileVariable {
			continue
		}
		i := slices.IndexFunc(all, func(k key) bool { return k.env() == name })
		if i < 0 {
			problems = append(problems, fleet.Problem{Path: "environment variable " + name, Message: "unknown key",
				Hint: suggest(strings.ToLower(strings.TrimPrefix(name, EnvPrefix)), all)})
			continue
		}
		v.Set(all[i].path, value)
	}
	return problems
}

// typeProblems turns the decoder's error into one problem for each key.
func typeProblems(err error, file string, places map[string]int) (out []fleet.Problem) {
	for _, line := range strings.Split(err.Error(), "\n") {
		if line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "*")); line == "" || strings.HasSuffix(line, ":") || strings.HasPrefix(line, "decoding failed") {
			continue
		}
		out = append(out, place(line, file, places))
	}
	return out
}

func validationProblems(err error, file string, places map[string]int) (out []fleet.Problem) {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			out = append(out, validationProblems(e, file, places)...)
		}
		return out
	}
	return []fleet.Problem{place(err.Error(), file, places)}
}

// place finds the key that a message names and says where it was set.
func place(message, file string, places map[string]int) fleet.Problem {
	p := fleet.Problem{Message: message}
	for _, word := range strings.FieldsFunc(message, func(r rune) bool { return r == ' ' || r == '\'' || r == '"' || r == ':' }) {
		if line, ok := places[strings.ToLower(word)]; ok {
			p.File, p.Line = file, line
			break
		}
	}
	return p
}

// key is one setting.
type key struct {
	path  string
	value any
	help  string
	of    reflect.Type
}

func (k key) env() string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

// keys lists the settings of a configuration struct by its mapstructure tags, sorted by path.
func keys(cfg any) []key {
	var out []key
	var visit func(v reflect.Value, prefix string)
	visit = func(v reflect.Value, prefix string) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			tag := f.Tag.Get("mapstructure")
			if tag == "" || tag == "-" {
				continue
			}
			if tag == ",squash" {
				visit(v.Field(i), prefix)
				continue
			}
			path := prefix + tag
			if f.Type.Kind() == reflect.Struct {
				visit(v.Field(i), path+".")
				continue
			}
			out = append(out, key{path: path, value: plain(v.Field(i)), help: f.Tag.Get("help"), of: f.Type})
		}
	}
	visit(reflect.ValueOf(cfg), "")
	sort.Slice(out, func(i, j int) bool { return out[i].path < out[j].path })
	return out
}

// plain returns a field's value in a form that a person would write.
func plain(v reflect.Value) any {
	if d, ok := v.Interface().(time.Duration); ok {
		return words(d)
	}
	if v.Kind() != reflect.String {
		return v.Interface()
	}
	if s, secret := v.Interface().(fmt.Stringer); secret && v.String() != "" {
		return s.String() // prints as redacted
	}
	return v.String()
}

// Print writes every key with its value as YAML, sorted, secrets redacted.
func Print(w io.Writer, cfg Config) error {
	values := map[string]any{}
	for _, k := range keys(cfg) {
		put(values, k.path, k.value)
	}
	enc := yaml.NewEncoder(w)
	if err := enc.Encode(values); err != nil {
		return fmt.Errorf("print the configuration: %w", err)
	}
	return enc.Close()
}

// distance is Levenshtein's: how many letters to add, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
