package rules

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"

	"aftercare/internal/fleet"
	"go.yaml.in/yaml/v3"
)

// Load reads every *.yaml and *.yml file under fsys, but for tests (IsTest), as a rule pack and compiles the rules for the models they apply to,
// with DefaultConfig. It returns every mistake it can find, sorted by file and line; rules with a mistake are not in the
// set. The set is never nil.
func Load(fsys fs.FS, models []fleet.Model) (*Set, []fleet.Problem) {
	return DefaultConfig().Load(fsys, models)
}

// Load is the same with another configuration, which must be valid.
func (c Config) Load(fsys fs.FS, models []fleet.Model) (*Set, []fleet.Problem) {
	files, unread := readPacks(fsys)
	set, problems := c.compile(files, models)
	set.maker = &maker{cfg: c, models: models}
	return set, append(unread, problems...)
}

// readPacks returns the rule packs under fsys by name.
func readPacks(fsys fs.FS) (map[string]string, []fleet.Problem) {
	files := map[string]string{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ext := path.Ext(name); d.IsDir() || (ext != ".yaml" && ext != ".yml") || IsTest(name) {
			return nil
		}
		body, err := fs.ReadFile(fsys, name)
		files[name] = string(body)
		return err
	})
	if err != nil {
		return files, []fleet.Problem{{Message: fmt.Sprintf("read rule packs: %v", err)}}
	}
	return files, nil
}

// compile makes a set of rule packs, by file name.
func (c Config) compile(files map[string]string, models []fleet.Model) (*Set, []fleet.Problem) {
	l := &loader{cfg: c, models: map[string]*fleet.Model{}, seen: map[string]string{}, builders: map[string]*builder{}}
	for i := range models {
		l.models[models[i].ID] = &models[i]
		l.ids = append(l.ids, models[i].ID)
		if !contains(l.categories, models[i].Category) {
			l.categories = append(l.categories, models[i].Category)
		}
	}
	sort.Strings(l.ids)
	sort.Strings(l.categories)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		l.pack(name, []byte(files[name]))
	}
	l.order()
	for _, d := range l.drafts {
		l.finish(d)
	}
	programs := map[string]*program{}
	for _, id := range l.ids { // a model without rules has a program too: it is known, there is nothing to do
		programs[id] = l.builder(id).finish()
	}
	sort.SliceStable(l.problems, func(i, j int) bool {
		a, b := l.problems[i], l.problems[j]
		return a.File < b.File || a.File == b.File && a.Line < b.Line
	})
	return newSet(c, l.rules, programs), slices.Compact(l.problems) // two looks at one text may see the same mistake
}

// IsTest reports whether a file holds tests of rules (package ruletest) and not a pack: its name ends in _test.yaml or _test.yml.
func IsTest(name string) bool {
	return strings.HasSuffix(name, "_test.yaml") || strings.HasSuffix(name, "_test.yml")
}

type loader struct {
	cfg        Config
	models     map[string]*fleet.Model
	ids        []string
	categories []string
	seen       map[string]string // rule id to the place it was seen first
	builders   map[string]*builder
	drafts     []*draft // read and not yet compiled; once in order, each stands behind those it looks at
	rules      []*Rule
	problems   []fleet.Problem
}

func (l *loader) builder(model string) *builder {
	b := l.builders[model]
	if b == nil {
		b = newBuilder(l.cfg, l.models[model])
		l.builders[model] = b
	}
	return b
}

func (l *loader) pack(file string, body []byte) {
	r := &reader{file: file, problems: &l.problems}
	root := r.document(body)
	if root == nil {
		return
	}
	if o, ok := r.object(root, ""); ok && len(o.keys) > 0 && o.keys["pack"] == nil && o.keys["rules"] == nil {
		r.problem(root, "", "its keys are pack, applies and rules", "this is no rule pack")
		return
	}
	o, ok := r.object(root, "", "pack", "applies", "rules")
	if !ok {
		return
	}
	name, n := o.text("pack", true)
	if n != nil && !validID(name) {
		r.problem(n, "pack", idHint, "pack %q is not a name", clip(name))
	}
	sc := l.applies(o)
	items := o.list("rules")
	if len(items) == 0 && o.keys["rules"] == nil {
		r.problem(root, "rules", "", "rules is missing")
	}
	for i, item := range items {
		l.rule(r, item, fmt.Sprintf("rules[%d]", i), name, sc)
	}
}

// audience is which models and devices a pack is about.
type audience struct {
	models   []string // sorted
	explicit bool     // named one by one: each must have every field; a category's rule skips models without
	scope    Scope
}

// applies reads which models and devices a pack is about.
func (l *loader) applies(o object) (out audience) {
	r := o.r
	n := o.keys["applies"]
	if n == nil {
		r.problem(o.node, "applies", "applies: {category: washing-machine}", "applies is missing")
		return out
	}
	a, ok := r.object(n, "applies", append([]string{"category", "models"}, scopeKeys...)...)
	if !ok {
		return out
	}
	out.scope = readScope(a)
	if (a.keys["category"] == nil) == (a.keys["models"] == nil) {
		r.problem(n, "applies", "", "want either category or models")
		return out
	}
	if c, node := a.text("category", false); node != nil {
		for _, id := range l.ids {
			if l.models[id].Category == c {
				out.models = append(out.models, id)
			}
		}
		if len(out.models) == 0 {
			r.problem(node, "applies.category", didYouMean(c, l.categories), "no model is of category %q", clip(c))
		}
		return out
	}
	out.explicit = true
	for i, item := range a.list("models") {
		switch id := resolve(item).Value; {
		case l.models[id] == nil:
			r.problem(item, fmt.Sprintf("applies.models[%d]", i), didYouMean(id, l.ids), "unknown model %q", clip(id))
		case contains(out.models, id):
			r.problem(item, fmt.Sprintf("applies.models[%d]", i), "", "model %q is here twice", id)
		default:
			out.models = append(out.models, id)
		}
	}
	sort.Strings(out.models)
	return out
}

const idHint = "lower-case letters, digits and hyphens, a letter first, at most 64"

func validID(s string) bool {
	return fleet.ValidName(s) && s == strings.ToLower(s) && s[0] >= 'a' && s[0] <= 'z' && !strings.ContainsAny(s, "._")
}

func nodeLine(n *yaml.Node) int {
	if n == nil {
		return 0
	}
	return n.Line
}
