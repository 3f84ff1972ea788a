package registry

import (
	"regexp"

	"go.yaml.in/yaml/v3"

	"aftercare/internal/fleet"
)

// components reads the parts that wear.
func (d *profile) components(n *yaml.Node, p string) {
	for _, kv := range d.pairs(n, p) {
		at := join(p, kv.key.Value)
		if !idPattern.MatchString(kv.key.Value) {
			d.problem(kv.key, at, "", "%q: want at most 64 small letters, digits and '-', beginning with a letter or digit", kv.key.Value)
		}
		c := fleet.Component{Name: kv.key.Value}
		var counter, life *yaml.Node
		d.object(kv.value, at, map[string]func(*yaml.Node, string){
			"label":   func(n *yaml.Node, p string) { c.Label = d.words(n, p) },
			"counter": func(n *yaml.Node, p string) { c.Counter, _ = d.text(n, p); counter = n },
			"life":    func(n *yaml.Node, p string) { c.Life, _ = d.number(n, p); life = n },
			"part":    func(n *yaml.Node, p string) { c.Part, _ = d.text(n, p) },
		})
		if kv.value.Kind == yaml.MappingNode {
			switch {
			case c.Label == nil:
				d.problem(kv.key, join(at, "label"), "", "the key is missing")
			case life != nil && counter == nil:
				d.problem(life, join(at, "life"), "name the field that counts its use", "a life without a counter cannot be compared with anything")
			case life != nil && c.Life <= 0:
				d.problem(life, join(at, "life"), "in the counter's unit", "want more than 0")
			}
		}
		d.counters = append(d.counters, counter)
		d.model.Components = append(d.model.Components, c)
	}
}

// checkCounters runs last: the fields may stand below the components in the file.
func (d *profile) checkCounters() {
	for i, c := range d.model.Components {
		if c.Counter == "" {
			continue
		}
		p := "components." + c.Name + ".counter"
		if m := countedCall.FindStringSubmatch(c.Counter); m != nil {
			d.checkCounted(d.counters[i], p, m[1], m[2], m[3] != "")
			continue
		}
		switch f := d.model.Field(c.Counter); {
		case f == nil:
			d.problem(d.counters[i], p, "", "there is no field %q", c.Counter)
		case f.Type != fleet.Integer && f.Type != fleet.Float:
			d.problem(d.counters[i], p, "", "field %q is a %s: only a number counts", c.Counter, f.Type)
		}
	}
}

// countedCall is a counter that the rules keep: hours(running), starts(power_w > 5), total(water_l).
var countedCall = regexp.MustCompile(`^(hours|starts|total)\( *([A-Za-z_][A-Za-z0-9_.]*)( *(?:<|>|<=|>=|==|!=) *-?[0-9]+(?:\.[0-9]+)?)? *\)$`)

// checkCounted looks at the field that such a counter is about.
func (d *profile) checkCounted(n *yaml.Node, p, call, field string, compared bool) {
	f := d.model.Field(field)
	if f == nil {
		d.problem(n, p, "", "there is no field %q", field)
		return
	}
	number := f.Type == fleet.Integer || f.Type == fleet.Float
	switch {
	case call == "total" && (compared || !number):
		d.problem(n, p, "total(water_l)", "total adds up the values of a field with numbers")
	case call != "total" && compared && !number:
		d.problem(n, p, "", "field %q is a %s: it is not compared with a number", field, f.Type)
	case call != "total" && !compared && f.Type != fleet.Boolean:
		d.problem(n, p, call+"("+field+" > 5)", "field %q is of type %s: %s wants one of type boolean, or a comparison", field, f.Type, call)
	}
}

// commands reads what the model's devices can be asked to do.
func (d *profile) commands(n *yaml.Node, p string) {
	for _, kv := range d.pairs(n, p) {
		at := join(p, kv.key.Value)
		if !wordPattern.MatchString(kv.key.Value) {
			d.problem(kv.key, at, "such as run_self_test", "%q: want at most 64 small letters, digits and '_', beginning with a letter", kv.key.Value)
		}
		c := fleet.CommandSpec{Name: kv.key.Value}
		d.object(kv.value, at, map[string]func(*yaml.Node, string){
			"label":      func(n *yaml.Node, p string) { c.Label = d.words(n, p) },
			"disruptive": func(n *yaml.Node, p string) { c.Disruptive = d.boolean(n, p) },
		})
		if c.Label == nil && kv.value.Kind == yaml.MappingNode {
			d.problem(kv.key, join(at, "label"), "", "the key is missing")
		}
		d.model.Commands = append(d.model.Commands, c)
	}
}
