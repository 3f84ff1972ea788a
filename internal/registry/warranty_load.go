package registry

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"aftercare/internal/fleet"
)

// LoadWarranty reads the warranty terms of a folder: *.yaml, one country a file, named like it ("de.yaml"; "default.yaml" for
// every country without one). Models are those the terms may name, nil for any. It returns every mistake it found with file and line;
// the terms are fit for use only when there is none. A folder without files means: what the registry says of a device is all
// that is known.
func LoadWarranty(fsys fs.FS, models []fleet.Model) (*Terms, []fleet.Problem) {
	files, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, []fleet.Problem{{Message: fmt.Sprintf("list warranty terms: %v", err)}}
	}
	t := &Terms{countries: map[string]*countryTerms{}}
	var problems []fleet.Problem
	for _, file := range files {
		text, err := fs.ReadFile(fsys, file)
		if err != nil {
			problems = append(problems, fleet.Problem{File: file, Message: fmt.Sprintf("cannot be read: %v", err)})
			continue
		}
		l := &termsDoc{doc: doc{file: file}, models: models}
		if c := l.read(text); c != nil {
			t.countries[c.country] = c
		}
		problems = append(problems, l.problems...)
	}
	return t, problems
}

// Countries returns for how many countries there are terms.
func (t *Terms) Countries() int { return len(t.countries) }

// termsDoc is one file on its way to the terms of a country.
type termsDoc struct {
	doc
	models []fleet.Model
}

const maxMonths = 50 * 12

var countryPattern = regexp.MustCompile(`^[A-Z]{2}$`)

func (d *termsDoc) read(text []byte) *countryTerms {
	root := d.parse(text)
	if root == nil {
		return nil
	}
	c := &countryTerms{zone: time.UTC, seller: "seller", excluded: excluded{components: map[string]bool{}}}
	d.object(root, "", map[string]func(*yaml.Node, string){
		"country":      func(n *yaml.Node, p string) { c.country = d.country(n, p) },
		"zone":         func(n *yaml.Node, p string) { c.zone = d.zone(n, p) },
		"maker":        func(n *yaml.Node, p string) { c.maker, _ = d.text(n, p) },
		"manufacturer": func(n *yaml.Node, p string) { c.warranty = d.grants(n, p) },
		"statutory":    func(n *yaml.Node, p string) { d.statutory(n, p, c) },
		"excluded":     func(n *yaml.Node, p string) { d.excluded(n, p, c) },
	})
	want := "default"
	if c.country != "" {
		want = strings.ToLower(c.country)
	}
	if name := strings.TrimSuffix(path.Base(d.file), ".yaml"); name != want && len(d.problems) == 0 {
		d.problem(root, "country", "name the file "+want+".yaml; default.yaml, without a country, is for all others", "the file is not named like its country %q", c.country)
	}
	return c
}

func (d *termsDoc) country(n *yaml.Node, p string) string {
	s, ok := d.text(n, p)
	if ok && !countryPattern.MatchString(s) {
		d.problem(n, p, `such as "DE"`, "%q is no ISO 3166 country", s)
	}
	return s
}

func (d *termsDoc) zone(n *yaml.Node, p string) *time.Location {
	s, _ := d.text(n, p)
	z := locationOf(s)
	if z == nil {
		d.problem(n, p, `such as "Europe/Berlin"`, "%q is no time zone", s)
		return time.UTC
	}
	return z
}

// locationOf is the zone of a name, nil if there is none.
func locationOf(name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil
	}
	return z
}

func (d *termsDoc) list(n *yaml.Node, p string, each func(n *yaml.Node, p string)) {
	if n.Kind != yaml.SequenceNode {
		d.problem(n, p, "", "want a list, not %s", describe(n))
		return
	}
	for i, item := range n.Content {
		each(deref(item), p+"["+strconv.Itoa(i)+"]")
	}
}

func (d *termsDoc) grants(n *yaml.Node, p string) (out []grant) {
	var all *grant
	d.list(n, p, func(n *yaml.Node, p string) {
		g := grant{}
		if all != nil {
			d.problem(n, p, "put what holds for all others last", "an entry before this one holds for all devices: this one counts for none")
		}
		d.object(n, p, map[string]func(*yaml.Node, string){
			"categories": func(n *yaml.Node, p string) { g.categories = d.categories(n, p) },
			"models":     func(n *yaml.Node, p string) { g.models = d.modelList(n, p) },
			"months":     func(n *yaml.Node, p string) { g.months = d.months(n, p) },
		})
		if n.Kind == yaml.MappingNode && g.months == 0 {
			d.missing(n, join(p, "months"))
		}
		if out = append(out, g); len(g.categories) == 0 && len(g.models) == 0 {
			all = &g
		}
	})
	return out
}

// missing names a key that is not there; one that is there and wrong has its own problem already.
func (d *termsDoc) missing(n *yaml.Node, at string) {
	key := at[strings.LastIndexByte(at, '.')+1:]
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return
		}
	}
	d.problem(n, at, "", "the key is missing")
}

func (d *termsDoc) months(n *yaml.Node, p string) int {
	v, ok := d.number(n, p)
	if ok && (v < 1 || v > maxMonths || v != float64(int(v))) {
		d.problem(n, p, "", "%v: want whole months, 1 to %d", v, maxMonths)
		return 0
	}
	return int(v)
}

func (d *termsDoc) categories(n *yaml.Node, p string) (out []string) {
	d.list(n, p, func(n *yaml.Node, p string) {
		s, ok := d.text(n, p)
		if ok && d.models != nil && !slices.ContainsFunc(d.models, func(m fleet.Model) bool { return m.Category == s }) {
			d.problem(n, p, "", "there is no model of category %q", s)
		}
		out = append(out, s)
	})
	return out
}

func (d *termsDoc) modelList(n *yaml.Node, p string) (out []string) {
	d.list(n, p, func(n *yaml.Node, p string) {
		s, ok := d.text(n, p)
		if ok && d.models != nil && !slices.ContainsFunc(d.models, func(m fleet.Model) bool { return m.ID == s }) {
			d.problem(n, p, "", "there is no profile of model %q", s)
		}
		out = append(out, s)
	})
	return out
}

func (d *termsDoc) statutory(n *yaml.Node, p string, c *countryTerms) {
	d.object(n, p, map[string]func(*yaml.Node, string){
		"months": func(n *yaml.Node, p string) { c.statutory.months = d.months(n, p) },
		"by": func(n *yaml.Node, p string) {
			c.seller = []string{"seller", "maker"}[d.choice(n, p, "seller", "maker")]
		},
		"presumed": func(n *yaml.Node, p string) { c.presumed = d.months(n, p) },
	})
	if n.Kind == yaml.MappingNode && c.statutory.months == 0 {
		d.missing(n, join(p, "months"))
	}
	if c.statutory.months > 0 && c.presumed > c.statutory.months {
		d.problem(n, join(p, "presumed"), "", "%d months are longer than the %d of the cover", c.presumed, c.statutory.months)
	}
}

func (d *termsDoc) excluded(n *yaml.Node, p string, c *countryTerms) {
	d.object(n, p, map[string]func(*yaml.Node, string){
		"kinds": func(n *yaml.Node, p string) {
			d.list(n, p, func(n *yaml.Node, p string) {
				words := []string{string(fleet.KindMaintenance), string(fleet.KindUsage), string(fleet.KindExperience), string(fleet.KindFault)}
				c.excluded.kinds = append(c.excluded.kinds, fleet.Kind(words[d.choice(n, p, words...)]))
			})
		},
		"components": func(n *yaml.Node, p string) {
			d.list(n, p, func(n *yaml.Node, p string) {
				s, ok := d.text(n, p)
				if ok && d.models != nil && !slices.ContainsFunc(d.models, func(m fleet.Model) bool {
					return slices.ContainsFunc(m.Components, func(c fleet.Component) bool { return c.Name == s })
				}) {
					d.problem(n, p, "", "no model has a component %q", s)
				}
				c.excluded.components[s] = true
			})
		},
	})
}
