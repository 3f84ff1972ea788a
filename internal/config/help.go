package config

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// Common are the settings that people change first; the help of a command lists them and leaves the others to "aftercare settings".
var Common = []string{
	"data", "roles", "models", "rules.dir", "log.level", "web.listen", "gateway.listen", "gateway.tls.listen", "gateway.tls.cert", "gateway.tls.key",
	"gateway.tls.client_ca", "gateway.tls.client_auth", "gateway.ws.listen", "bridge.enabled", "bridge.url", "history.url",
}

// Flags adds one flag for each key to fs ("--gateway.listen"), with its default; those not in shown are hidden in the help. Only
// flags that were set on the command line count in Load.
func Flags(fs *pflag.FlagSet, shown ...string) {
	for _, k := range keys(Default()) {
		f := fs.VarPF(&flag{k.text(), k.kind()}, k.path, "", k.help)
		f.Hidden = !slices.Contains(shown, k.path)
	}
}

// flag is a setting on the command line: text, which Load reads.
type flag struct{ text, kind string }

func (f *flag) String() string     { return f.text }
func (f *flag) Set(s string) error { f.text = s; return nil }
func (f *flag) Type() string       { return f.kind }

// kind is what a person writes as the value.
func (k key) kind() string {
	switch k.of {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[bool]():
		return "true/false"
	}
	switch k.of.Kind() {
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "list"
	}
	return "number"
}

// text is the value as a person would write it on the command line.
func (k key) text() string {
	v := reflect.ValueOf(k.value)
	switch v.Kind() {
	case reflect.Slice:
		words := make([]string, v.Len())
		for i := range words {
			words[i] = fmt.Sprint(v.Index(i))
		}
		return strings.Join(words, ",")
	case reflect.Float64:
		if f := v.Float(); f == float64(int64(f)) {
			return fmt.Sprint(int64(f))
		}
	}
	return fmt.Sprint(k.value)
}

// said is text with what helps to read it: "8388608 (8 MiB)", "168h (7 days)".
func (k key) said() string {
	text := k.text()
	if d, err := time.ParseDuration(text); err == nil && k.kind() == "duration" && d >= 48*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%s (%d days)", text, d/(24*time.Hour))
	}
	var n int64
	if _, err := fmt.Sscan(text, &n); err != nil || k.kind() != "number" {
		return text
	}
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%s (%d %s)", text, n/u.size, u.name)
		}
	}
	return text
}

// words writes a duration without the zeros at its end: 720h, 1m30s.
func words(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Explain writes what each setting is, its default in cfg and where to set it, in the groups of the file. With parts, only of the keys
// that are one of them or below one ("gateway", "gateway.tls"). The error names a part that there is not, or is the writer's.
func Explain(w io.Writer, cfg Config, parts ...string) error {
	all := keys(cfg)
	within := func(k key, part string) bool { return k.path == part || strings.HasPrefix(k.path, part+".") }
	for _, p := range parts {
		if !slices.ContainsFunc(all, func(k key) bool { return within(k, p) }) {
			return &UnknownError{p}
		}
	}
	slices.SortStableFunc(all, func(a, b key) int { return strings.Compare(a.group(), b.group()) })
	var b strings.Builder
	group := "-"
	for _, k := range all {
		if len(parts) > 0 && !slices.ContainsFunc(parts, func(p string) bool { return within(k, p) }) {
			continue
		}
		if g := k.group(); g != group {
			if group = g; b.Len() > 0 {
				b.WriteString("\n")
			}
		}
		fmt.Fprintf(&b, "%s  %s", k.path, k.kind())
		if text := k.said(); text != "" {
			b.WriteString(", default " + text)
		}
		b.WriteString("\n" + wrap(k.help, "    ", 110))
		for _, part := range k.parts() {
			b.WriteString(wrap("each with "+part.path+": "+part.help, "    ", 110))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// UnknownError says that there is no setting, and no part of one, of this name.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string { return fmt.Sprintf("there is no setting %q", e.Name) }

// Suggest returns a hint naming the setting, or the part of settings, that is spelt most like name, or "".
func Suggest(name string) string {
	all := keys(Default())
	for _, k := range all {
		for i, c := range k.path {
			if c == '.' {
				all = append(all, key{path: k.path[:i]})
			}
		}
	}
	return suggest(name, all)
}

// suggest returns a hint naming the key that is spelt most like path, or "".
func suggest(path string, all []key) string {
	best, at := "", 4
	for _, k := range all {
		if d := distance(strings.ReplaceAll(path, "_", "."), strings.ReplaceAll(k.path, "_", ".")); d < at {
			best, at = k.path, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// group is the first part of a key; keys without one come first.
func (k key) group() string {
	head, _, nested := strings.Cut(k.path, ".")
	if !nested {
		return ""
	}
	return head
}

// wrap breaks text into lines of at most width characters, each behind indent.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	line := indent
	for _, word := range strings.Fields(text) {
		if line != indent && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			b.WriteString(line + "\n")
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
}
