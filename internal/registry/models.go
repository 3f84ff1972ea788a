package registry

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"aftercare/internal/fleet"
)

// Names that mean something else on the way to the database.
var (
	reservedModels = []string{"event", "status", "presence", "finding", "change", "tick"}
	reservedFields = []string{"ts", "boot", "seq", "time", "tenant", "serial", "model"}
)

var (
	idPattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	wordPattern  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	fieldPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*$`)
)

// LoadModels reads every profile in the folder: *.yaml, one model a file, named like its model. It returns the models that
// could be read, sorted by id, and every mistake it found, with file and line. Models are fit for use only when there
// is no problem at all.
func LoadModels(fsys fs.FS) ([]fleet.Model, []fleet.Problem) {
	files, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, []fleet.Problem{{Message: fmt.Sprintf("list model profiles: %v", err)}}
	}
	if len(files) == 0 {
		return nil, []fleet.Problem{{Message: "there is no model profile in the folder", Hint: "one file <model>.yaml for each model"}}
	}
	var models []fleet.Model
	var problems []fleet.Problem
	units := unitsByCategory{}
	for _, file := range files {
		text, err := fs.ReadFile(fsys, file)
		if err != nil {
			problems = append(problems, fleet.Problem{File: file, Message: fmt.Sprintf("cannot be read: %v", err)})
			continue
		}
		d := &profile{doc: doc{file: file}, fieldNodes: map[string]*yaml.Node{}}
		if m := d.read(text); m != nil {
			units.check(d, m)
			models = append(models, *m)
		}
		problems = append(problems, d.problems...)
	}
	slices.SortFunc(models, func(a, b fleet.Model) int { return strings.Compare(a.ID, b.ID) })
	return models, problems
}

// profile is one file on its way to a fleet.Model.
type profile struct {
	doc
	fieldNodes map[string]*yaml.Node
	model      fleet.Model
	chart      []*yaml.Node
	counters   []*yaml.Node // of the components, nil where there is none
}

func (d *profile) read(text []byte) *fleet.Model {
	root := d.parse(text)
	if root == nil {
		return nil
	}
	m := &d.model
	d.object(root, "", map[string]func(*yaml.Node, string){
		"model":          func(n *yaml.Node, p string) { m.ID = d.id(n, p); d.checkModelID(n, p) },
		"category":       func(n *yaml.Node, p string) { m.Category = d.id(n, p) },
		"label":          func(n *yaml.Node, p string) { m.Label = d.words(n, p) },
		"interval":       func(n *yaml.Node, p string) { m.Interval = d.duration(n, p) },
		"format":         func(n *yaml.Node, p string) { m.Format = fleet.Format(d.choice(n, p, fleet.Formats()...)) },
		"unknown_fields": func(n *yaml.Node, p string) { m.Unknown = d.unknownFields(n, p) },
		"chart":          func(n *yaml.Node, p string) { d.readChart(n, p) },
		"fields":         func(n *yaml.Node, p string) { d.fields(n, p) },
		"fault_codes":    func(n *yaml.Node, p string) { d.faultCodes(n, p) },
		"components":     func(n *yaml.Node, p string) { d.components(n, p) },
		"commands":       func(n *yaml.Node, p string) { d.commands(n, p) },
	})
	if root.Kind == yaml.MappingNode {
		d.required(root, "model", m.ID != "")
		d.required(root, "category", m.Category != "")
		d.required(root, "label", m.Label != nil)
		d.required(root, "interval", m.Interval != 0)
		d.required(root, "fields", len(m.Fields) > 0)
	}
	d.checkChart()
	d.checkCounters()
	return m
}

// required names a key that is missing. One that is there and wrong has its own problem already.
func (d *profile) required(root *yaml.Node, key string, ok bool) {
	if ok {
		return
	}
	for i := 0; i < len(root.Content); i += 2 {
		if root.Content[i].Value == key {
			return
		}
	}
	d.problem(root, key, "", "the key is missing")
}

func (d *profile) id(n *yaml.Node, p string) string {
	s, ok := d.text(n, p)
	if ok && !idPattern.MatchString(s) {
		d.problem(n, p, "", "%q: want at most 64 small letters, digits and '-', beginning with a letter or digit", s)
	}
	return s
}

func (d *profile) checkModelID(n *yaml.Node, p string) {
	id := d.model.ID
	if slices.Contains(reservedModels, id) {
		d.problem(n, p, "", "%q is reserved: it names something else in the database", id)
	}
	if name := strings.TrimSuffix(path.Base(d.file), ".yaml"); id != "" && name != id {
		d.problem(n, p, "name the file "+id+".yaml", "the file is not named like its model %q", id)
	}
}

func (d *profile) unknownFields(n *yaml.Node, p string) fleet.UnknownFields {
	return []fleet.UnknownFields{fleet.KeepUnknown, fleet.DropUnknown, fleet.RefuseUnknown}[d.choice(n, p, "keep", "drop", "refuse")]
}

func (d *profile) readChart(n *yaml.Node, p string) {
	if n.Kind != yaml.SequenceNode {
		d.problem(n, p, "", "want a list of fields, not %s", describe(n))
		return
	}
	for i, item := range n.Content {
		if s, ok := d.text(deref(item), p+"["+strconv.Itoa(i)+"]"); ok {
			d.model.Chart = append(d.model.Chart, s)
			d.chart = append(d.chart, item)
		}
	}
}

// checkChart runs last: the fields may stand below the chart in the file.
func (d *profile) checkChart() {
	for i, name := range d.model.Chart {
		p := "chart[" + strconv.Itoa(i) + "]"
		switch f := d.model.Field(name); {
		case f == nil:
			d.problem(d.chart[i], p, "", "there is no field %q", name)
		case f.Type == fleet.String:
			d.problem(d.chart[i], p, "", "field %q is a string: only numbers can be drawn", name)
		}
	}
}

func (d *profile) fields(n *yaml.Node, p string) {
	pairs := d.pairs(n, p)
	if len(pairs) == 0 && n.Kind == yaml.MappingNode {
		d.problem(n, p, "", "a model without fields has nothing to report")
	}
	for _, kv := range pairs {
		at := join(p, kv.key.Value)
		name := kv.key.Value
		switch {
		case !fieldPattern.MatchString(name) || len(name) > 64:
			d.problem(kv.key, at, "", "%q: want at most 64 letters, digits and '_', beginning with a letter; '.' between the levels of nested objects", name)
		case slices.Contains(reservedFields, name):
			d.problem(kv.key, at, "", "%q is reserved", name)
		}
		d.fieldNodes[name] = kv.key
		d.model.Fields = append(d.model.Fields, d.field(kv, at))
	}
}

func (d *profile) field(kv pair, p string) fleet.FieldSpec {
	f := fleet.FieldSpec{Name: kv.key.Value}
	typed := false
	d.object(kv.value, p, map[string]func(*yaml.Node, string){
		"type": func(n *yaml.Node, p string) {
			typed = true
			f.Type = []fleet.FieldType{fleet.Float, fleet.Integer, fleet.Boolean, fleet.String}[d.choice(n, p, "float", "integer", "boolean", "string")]
		},
		"unit":     func(n *yaml.Node, p string) { f.Unit, _ = d.text(n, p) },
		"min":      func(n *yaml.Node, p string) { f.Min, f.HasMin = d.number(n, p) },
		"max":      func(n *yaml.Node, p string) { f.Max, f.HasMax = d.number(n, p) },
		"required": func(n *yaml.Node, p string) { f.Required = d.boolean(n, p) },
		"label":    func(n *yaml.Node, p string) { f.Label = d.words(n, p) },
	})
	if kv.value.Kind != yaml.MappingNode {
		return f
	}
	number := f.Type == fleet.Float || f.Type == fleet.Integer
	switch {
	case !typed:
		d.problem(kv.key, join(p, "type"), "float, integer, boolean or string", "the key is missing")
	case number && f.Unit == "":
		d.problem(kv.key, join(p, "unit"), `"1" if it has none`, "a number wants a unit")
	case !number && (f.HasMin || f.HasMax):
		d.problem(kv.key, p, "", "min and max are for numbers, not for a %s", f.Type)
	case f.HasMin && f.HasMax && f.Min > f.Max:
		d.problem(kv.key, p, "", "min %v is above max %v: no value would be accepted", f.Min, f.Max)
	}
	return f
}

func (d *profile) faultCodes(n *yaml.Node, p string) {
	for _, kv := range d.pairs(n, p) {
		at := join(p, kv.key.Value)
		c := fleet.FaultCode{Code: kv.key.Value}
		d.object(kv.value, at, map[string]func(*yaml.Node, string){
			"meaning": func(n *yaml.Node, p string) { c.Meaning = d.words(n, p) },
			"cause":   func(n *yaml.Node, p string) { c.Cause = d.words(n, p) },
			"remedy":  func(n *yaml.Node, p string) { c.Remedy = d.words(n, p) },
			"part":    func(n *yaml.Node, p string) { c.Part, _ = d.text(n, p) },
		})
		if c.Meaning == nil && kv.value.Kind == yaml.MappingNode {
			d.problem(kv.key, join(at, "meaning"), "", "the key is missing")
		}
		d.model.FaultCodes = append(d.model.FaultCodes, c)
	}
}

// unitsByCategory finds fields that mean the same in two models and are measured differently: a rule for the category
// could not compare them.
type unitsByCategory map[[2]string]unitUse

type unitUse struct{ unit, file string }

func (u unitsByCategory) check(d *profile, m *fleet.Model) {
	for _, f := range m.Fields {
		if f.Unit == "" {
			continue
		}
		key := [2]string{m.Category, f.Name}
		first, ok := u[key]
		if !ok {
			u[key] = unitUse{f.Unit, d.file}
			continue
		}
		if first.unit != f.Unit {
			d.problem(d.fieldNodes[f.Name], "fields."+f.Name+".unit", "use one unit, or another name",
				"%q here and %q in %s: one category, one unit", f.Unit, first.unit, first.file)
		}
	}
}
