package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"aftercare/internal/fleet"
)

// items notes where each item of a list stands, and looks at the keys of items that have some. It says whether the list can be read.
func (w *walker) items(list *yaml.Node, path string) bool {
	i := slices.IndexFunc(w.all, func(x key) bool { return x.path == path })
	known := w.all[i].parts()
	if known == nil && list.Kind != yaml.SequenceNode {
		return true
	}
	if list.Kind != yaml.SequenceNode && list.Tag != "!!null" {
		w.problems = append(w.problems, fleet.Problem{File: w.file, Line: list.Line, Path: path, Message: "want a list, each item with " + enumerate(known)})
		return false
	}
	ok := true
	for n, item := range list.Content {
		at := fmt.Sprintf("%s[%d]", path, n)
		w.places[at] = item.Line
		switch {
		case known == nil:
		case item.Kind == yaml.AliasNode:
		case item.Kind != yaml.MappingNode:
			w.problems, ok = append(w.problems, fleet.Problem{File: w.file, Line: item.Line, Path: at, Message: "want " + enumerate(known)}), false
		default:
			for k := 0; k+1 < len(item.Content); k += 2 {
				if name := item.Content[k]; !slices.ContainsFunc(known, func(x key) bool { return x.path == name.Value }) {
					w.problems = append(w.problems, fleet.Problem{File: w.file, Line: name.Line, Path: at + "." + name.Value, Message: "unknown key",
						Hint: suggest(name.Value, known)})
				}
			}
		}
	}
	return ok
}

// enumerate names keys: "channel, address and secret".
func enumerate(all []key) string {
	var b strings.Builder
	for i, k := range all {
		switch {
		case i > 0 && i == len(all)-1:
			b.WriteString(" and ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(k.path)
	}
	return b.String()
}

// parts returns the keys of each item of a list of structs, in the order of the struct; of every other setting nil.
func (k key) parts() (out []key) {
	if k.of == nil || k.of.Kind() != reflect.Slice || k.of.Elem().Kind() != reflect.Struct {
		return nil
	}
	for i := range k.of.Elem().NumField() {
		f := k.of.Elem().Field(i)
		if tag := f.Tag.Get("mapstructure"); tag != "" && tag != "-" {
			out = append(out, key{path: tag, help: f.Tag.Get("help"), of: f.Type})
		}
	}
	return out
}
