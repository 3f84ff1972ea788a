package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"aftercare/internal/fleet"
)

// TestProblemsGolden compares every mistake in testdata/bad with testdata/problems.golden. UPDATE_GOLDEN=1 writes it.
func TestProblemsGolden(t *testing.T) {
	set, problems := Load(os.DirFS("testdata/bad"), testModels())
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	if len(set.Rules()) != 1 {
		t.Errorf("%d rules are good, want 1", len(set.Rules()))
	}
	golden := filepath.Join("testdata", "problems.golden")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("problems\n%s\nwant\n%s", b.String(), want)
	}
}

func TestGoodPack(t *testing.T) {
	set, problems := Load(os.DirFS("testdata/good"), testModels())
	for _, p := range problems {
		t.Error(p)
	}
	r, ok := set.Rule("washer-drain-slow")
	if !ok || len(set.Rules()) != 4 {
		t.Fatalf("rules %v", set.Rules())
	}
	if r.Kind != fleet.KindMaintenance || r.Severity != fleet.Due || r.Problem != "washer-drain" || r.For != 30*time.Minute ||
		r.ClearFor != time.Hour || len(r.Version) != 12 || r.Pack != "washing-machine" || r.Texts.In("de-AT").What == "" {
		t.Errorf("%+v", r)
	}
	if strings.Join(r.Models, ",") != "washer-w1,washer-w7" {
		t.Errorf("models %v", r.Models)
	}
	if hot, _ := set.Rule("washer-motor-hot"); strings.Join(hot.Models, ",") != "washer-w7" {
		t.Errorf("a rule runs for the models of its category that have its fields, not for %v", hot.Models)
	}
	if set.Texts("nobody") != nil {
		t.Error("texts of an unknown rule")
	}
}

func TestVersionNamesTheContent(t *testing.T) {
	version := func(rule string) (v, logic, set string) {
		s := loadPack(t, rule)
		return s.rules[0].Version, s.rules[0].logic, s.Hash()
	}
	v1, l1, s1 := version(`a | when: drain_s > 70`)
	v2, _, s2 := version(`a | when: drain_s > 70`)
	if v1 != v2 || s1 != s2 {
		t.Error("same content, other version")
	}
	v3, l3, s3 := version(`a | when: drain_s > 71`)
	if v1 == v3 || l1 == l3 || s1 == s3 {
		t.Error("other condition, same version")
	}
	v4, l4, _ := version(`a | when: drain_s > 70 | problem: b`)
	if v1 == v4 || l1 != l4 {
		t.Error("another problem is another version with the same logic")
	}
}

func TestNestedAliasesAndHugeFiles(t *testing.T) {
	for name, body := range map[string]string{
		"alias":    "pack: &a [*a]\napplies: *a\nrules: *a\n",
		"merge":    "pack: x\napplies: {category: refrigerator}\nrules:\n- <<: {id: x}\n",
		"two docs": "pack: x\n---\npack: y\n",
		"large":    "# " + strings.Repeat("x", maxFile),
		"parens":   packYAML("a | when: '" + strings.Repeat("(", 3000) + "'"),
		"minus":    packYAML("a | when: '" + strings.Repeat("-", 3000) + "1'"),
		"long":     packYAML("a | when: '" + strings.Repeat("1+", 300) + "1 > 0'"),
	} {
		if _, problems := Load(fstest.MapFS{"x.yaml": {Data: []byte(body)}}, testModels()); len(problems) == 0 {
			t.Errorf("%s: no problem", name)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"testdata/good", "testdata/bad"} {
		files, _ := filepath.Glob(dir + "/*.yaml")
		for _, name := range files {
			if b, err := os.ReadFile(name); err == nil {
				f.Add(string(b))
			}
		}
	}
	f.Add("a: &a [*a]")
	models := testModels()
	f.Fuzz(func(_ *testing.T, body string) {
		set, _ := Load(fstest.MapFS{"x.yaml": {Data: []byte(body)}}, models)
		set.Hash()
	})
}

func FuzzCondition(f *testing.F) {
	for _, s := range []string{`drain_s > 70`, `avg(drain_s, "24h") > 1.4 * avg(drain_s, "14d")`, `code == "E18"`, `now() > 1`, `filter([1], # > 0)`,
		`let x = 1; x > 0`, `drain_s | abs`, `motor?.temp > 1`, `mode matches "("`, `a[1:2]`, `{a: 1}`, `drain_s in 1..5`, `nil ?? 1`, `b"x"`, `1 ? 2 : 3`} {
		f.Add(s)
	}
	models := testModels()
	f.Fuzz(func(t *testing.T, cond string) {
		pack := packYAML("a") + "    when: |\n      " + strings.ReplaceAll(cond, "\n", "\n      ") + "\n"
		set, problems := Load(fstest.MapFS{"x.yaml": {Data: []byte(pack)}}, models)
		if len(problems) > 0 {
			return
		}
		l := &life{t: t, s: NewState(set), lag: time.Second}
		for i, fs := range []string{"drain_s=5", "mode=eco door_open=true", "drain_s=1e300 cycles=9i motor.temp=-1", "drain_s=-1e300"} {
			l.send(time.Duration(i)*hour, fs)
			l.event(time.Duration(i)*hour, "E18")
			l.tick(time.Duration(i)*hour + 40*minute)
		}
	})
}

// FuzzRestore: whatever a damaged snapshot says, it is refused or taken for a state that goes on, and it takes no more memory
// than it has bytes.
func FuzzRestore(f *testing.F) {
	set := loadPack(f, propertyRules...)
	l := &life{t: f, s: NewState(set), lag: time.Second}
	l.send(0, "drain_s=80 mode=eco door_open=true vibration_mm_s=3")
	l.event(minute, "E18")
	m := newStored(set)
	m.save(l.s, 1)
	act := activation(f, t0.Add(hour), packYAML(propertyRules...))
	l.step(act)
	f.Add(m.chunks[0].Body, m.header, set.Layout())
	f.Add(m.chunks[0].Body, l.s.Header(), loadPack(f, propertyRules[:5]...).Layout())
	f.Fuzz(func(t *testing.T, body, header, layout []byte) {
		s, _, err := Restore(set, header, layout, []Chunk{{ID: 1, Body: body}})
		if err != nil {
			return
		}
		s.Hash()
		s.clock, s.gap = t0.UnixMilli(), 0
		l := &life{t: t, s: s, lag: time.Second, seq: 9}
		l.send(2*hour, "drain_s=70 mode=eco cycles=5i door_open=false")
		l.event(3*hour, "E18")
		l.step(act)
		l.tick(5 * hour)
		s.Save(1<<20, func() uint32 { return 2 })
	})
}
