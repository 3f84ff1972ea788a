// Package profiletest holds simulated readings against the profiles in configs/models, which the server checks them with. Only
// tests of firmware-sim import it.
package profiletest

import (
	"iter"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Reading is what is checked: names with types, and the numbers (a boolean is 0 or 1).
type Reading interface {
	All() iter.Seq2[string, string]
	Number(name string) (float64, bool)
}

// Profile is what a test needs of a model's profile.
type Profile struct {
	Model      string
	Chart      []string
	Components map[string]any
	Fields     map[string]struct {
		Type     string
		Min, Max *float64
		Required bool
	}
	FaultCodes map[string]any `yaml:"fault_codes"`
}

// Read reads a profile; the test's folder is three levels below the module.
func Read(t *testing.T, model string) Profile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../configs/models", model+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var p Profile
	if err := yaml.Unmarshal(text, &p); err != nil {
		t.Fatalf("%s: %v", model, err)
	}
	return p
}

// Check ends the test when the server would put the reading aside.
func (p Profile) Check(t *testing.T, r Reading) {
	t.Helper()
	seen := map[string]bool{}
	for name, typ := range r.All() {
		spec, ok := p.Fields[name]
		if !ok || seen[name] {
			t.Fatalf("%s: field %q is not in the profile or twice", p.Model, name)
		}
		seen[name] = true
		if spec.Type != typ {
			t.Fatalf("%s.%s is sent as %s, the profile says %s", p.Model, name, typ, spec.Type)
		}
		v, isNumber := r.Number(name)
		if !isNumber || typ == "boolean" {
			continue
		}
		if spec.Min == nil || spec.Max == nil {
			t.Fatalf("%s.%s has no range", p.Model, name)
		}
		if !(v >= *spec.Min && v <= *spec.Max) { // NaN neither
			t.Fatalf("%s.%s = %v is outside %v to %v", p.Model, name, v, *spec.Min, *spec.Max)
		}
	}
	for name, spec := range p.Fields {
		if spec.Required && !seen[name] {
			t.Fatalf("%s: required %q is missing", p.Model, name)
		}
	}
}
