package rules

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
	"pgregory.net/rapid"
)

func activation(t interface{ Fatal(...any) }, at time.Time, packs ...string) wire.Record {
	a := wire.Activation{By: "test", Packs: map[string]string{}}
	for i, p := range packs {
		a.Packs[string(rune('a'+i))+".yaml"] = p
	}
	rec, err := wire.EncodeActivation(0, at, a)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// eras are rules that follow one another: with and without timers, rules that change, go and come back.
func eras() []string {
	timeless := slices.DeleteFunc(slices.Clone(propertyRules), func(r string) bool { return strings.HasPrefix(r, "lost") })
	rule := func(id string) string {
		return propertyRules[slices.IndexFunc(propertyRules, func(r string) bool { return strings.HasPrefix(r, id+" |") })]
	}
	return []string{
		packYAML(propertyRules...),
		packYAML(timeless...),
		packYAML(`slow | when: drain_s > 75`, `held | when: drain_s > 60 | for: 25m | clear: drain_s < 40 | clear_for: 15m`,
			`most | when: max(drain_s, "2h") > 90 and avg(drain_s, "6h") > 30`, `e18 | when: code == "E18"`,
			`even | when: ewma(drain_s, "2h") > 65`, rule("often"), rule("odd"), rule("steps"), rule("off"), rule("where"), rule("pump"), rule("strange"), rule("worse")),
		packYAML(`held | when: drain_s > 60 | for: 40m`, `was | when: mode == "eco" and prev(drain_s) > drain_s`,
			`lost | when: age(drain_s) > 5000`, `mean | when: avg(drain_s, "2h") > 55`),
		packYAML(),
		packYAML(propertyRules[:3]...),
	}
}

// TestActivationWhateverCrashes: rules that change on the way, with crashes and snapshots anywhere, lead to the same findings
// and the same state as without.
func TestActivationWhateverCrashes(t *testing.T) {
	packs := eras()
	set := loadPackIn(t, packs[0])
	rapid.Check(t, func(t *rapid.T) {
		var recs []wire.Record
		for _, rec := range records(drawLife(t), nil) {
			switch rapid.IntRange(0, 9).Draw(t, "activation") {
			case 0, 1:
				recs = append(recs, activation(t, rec.Received, rapid.SampledFrom(packs).Draw(t, "packs")))
			case 2:
				recs = append(recs, wire.Record{Kind: wire.KindActivation, Received: rec.Received, Body: []byte("no")},
					activation(t, rec.Received, packs[1], packs[1]))
			}
			recs = append(recs, rec)
		}
		base := NewState(set)
		plain := stepAll(base, recs)
		episodes(t, plain, true)
		expect := marks(plain)

		s, saved := NewState(set), newStored(set)
		var found []fleet.Finding
		for i := 0; i < len(recs); i++ {
			found = s.Step(&recs[i], found)
			switch rapid.IntRange(0, 4).Draw(t, "snapshot") {
			case 0:
				saved.save(s, i+1)
			case 1:
				saved.begin(s, i+1)
			}
			saved.work(s, rapid.IntRange(0, 2).Draw(t, "encode"))
			if rapid.IntRange(0, 9).Draw(t, "crash") == 0 {
				s, i = saved.restore(t)
				i--
			}
		}
		if got := marks(found); got != expect {
			t.Fatalf("findings differ:\n%s", difference(got, expect))
		}
		if s.Hash() != base.Hash() {
			t.Fatal("the state is another one")
		}
	})
}

func loadPackIn(t interface{ Fatal(...any) }, pack string) *Set {
	set, problems := Load(fstest.MapFS{"a.yaml": {Data: []byte(pack)}}, testModels())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

func TestActivationKeepsWhatUnchangedRulesKnow(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`, `gone | when: drain_s > 71`, `wait | when: drain_s > 72 | for: 1h`, `waits | when: drain_s > 73 | for: 1h`)
	l.send(0, "drain_s=40 mode=eco")
	want(t, l.send(10*minute, "drain_s=80"), "slow opened", "gone opened")
	next := packYAML(`slow | when: drain_s > 75`, `wait | when: drain_s > 72 | for: 2h`, `waits | when: drain_s > 73 | for: 1h`, `eco | when: mode == "eco"`)
	ended := l.step(activation(t, t0.Add(11*minute), next))
	want(t, ended, "gone cleared")
	if f := ended[0]; f.ID != l.all[1].ID || f.Revision != 1 || f.Version != l.all[1].Version {
		t.Errorf("%+v", f)
	}
	if c := l.s.Counts(); c.Activations != 1 || c.Refused != 0 || l.s.Refused() != nil {
		t.Errorf("%+v", c)
	}
	want(t, l.send(71*minute, "drain_s=80"), "waits opened") // the wait of a rule that did not change went on
	want(t, l.send(72*minute, "drain_s=72"), "slow cleared", "waits cleared")
	want(t, l.send(73*minute, "mode=eco"), "eco opened")
}

func TestActivationThatCannotBeFollowed(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`)
	before := l.s.Set()
	for i, rec := range []wire.Record{
		{Kind: wire.KindActivation, Received: t0, Body: []byte("no")},
		activation(t, t0),
		activation(t, t0, packYAML(`slow | when: drain > 70`)),
		activation(t, t0, packYAML(`slow | when: drain_s > 71`), packYAML(`slow | when: drain_s > 72`)),
	} {
		l.step(rec)
		if l.s.Set() != before || l.s.Counts().Refused != uint64(i+1) || l.s.Refused() == nil {
			t.Errorf("%d: %v, %+v", i, l.s.Refused(), l.s.Counts())
		}
	}
	want(t, l.send(minute, "drain_s=71"), "slow opened")
	l.step(activation(t, t0, packYAML(`slow | when: drain_s > 71.5`)))
	if l.s.Refused() != nil || l.s.Set() == before {
		t.Error(l.s.Refused())
	}
	want(t, l.send(2*minute, "drain_s=71"), "slow cleared")
}

// TestActivationFindsInTheOrderOfKeys: not in that of the devices' first readings, which a start may change.
func TestActivationFindsInTheOrderOfKeys(t *testing.T) {
	l := newLife(t, `gone | when: drain_s > 70`)
	for _, serial := range []string{"WM-3", "WM-1", "WM-2"} {
		r := l.reading(fleet.Telemetry, 0, "drain_s=80")
		r.Device.Serial = serial
		want(t, l.sendReading(r), "gone opened")
	}
	for i, f := range l.step(activation(t, t0.Add(minute), packYAML())) {
		if serial := []string{"WM-1", "WM-2", "WM-3"}[i]; f.Device.Serial != serial || f.Phase != fleet.Cleared {
			t.Error(f.Device, f.Phase)
		}
	}
}

// TestSameProgramsAreKept: an activation that changes nothing for a model leaves its devices alone.
func TestSameProgramsAreKept(t *testing.T) {
	set := loadPack(t, `slow | when: drain_s > 70`)
	s := NewState(set)
	s.Save(1000, func() uint32 { return 1 })
	rec := activation(t, t0, packYAML(`slow | when: drain_s > 70`))
	s.Step(&rec, nil)
	if s.Refused() != nil || s.gen() != 0 || s.anew {
		t.Error(s.Refused(), s.gen(), s.anew)
	}
	other := activation(t, t0, packYAML(`slow | when: drain_s > 70`), "pack: cold\napplies: {models: [fridge-f2]}\nrules: []\n")
	s.Step(&other, nil)
	if s.Refused() != nil || s.gen() != 0 || s.Set().programs["washer-w7"] != set.programs["washer-w7"] {
		t.Error(s.Refused(), s.gen())
	}
}

// TestOldSetsAreForgotten: after a snapshot nothing is kept of the sets before.
func TestOldSetsAreForgotten(t *testing.T) {
	s := NewState(loadPackIn(t, eras()[0]))
	fill(s, 10, 1)
	for _, p := range eras()[1:] {
		rec := activation(t, t0.Add(hour), p)
		s.Step(&rec, nil)
	}
	if s.gen() == 0 || s.Refused() != nil {
		t.Fatal(s.gen(), s.Refused())
	}
	hash := s.Hash()
	id := uint32(0)
	s.Save(300, func() uint32 { id++; return id })
	if n := len(slices.DeleteFunc(slices.Clone(s.sets), func(x *Set) bool { return x == nil })); n != 1 || len(s.moves) > 0 || s.Hash() != hash {
		t.Error(n, len(s.moves), s.Hash() == hash)
	}
	s.settle()
	if s.gen() != 0 || s.sets[0] != s.Set() || s.Hash() != hash {
		t.Error("settling changed the state")
	}
}

func TestReadActivation(t *testing.T) {
	set := loadPack(t, `slow | when: drain_s > 70`)
	files := fstest.MapFS{"b.yaml": {Data: []byte(packYAML(`slow | when: drain_s > 71`))}, "b_test.yaml": {Data: []byte("x")}, "README.md": {}}
	a, next, problems := set.ReadActivation(files, "cli")
	if len(problems) > 0 || a.Set != next.Hash() || a.Set == set.Hash() || a.By != "cli" || len(a.Packs) != 1 {
		t.Error(a, problems)
	}
	same, err := set.Activated(a)
	if err != nil || same.Hash() != a.Set {
		t.Error(err)
	}
	if again, _ := next.Activated(a); again != same {
		t.Error("compiled twice")
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // for what does not compress
	noise := make([]byte, 2*maxPacked)
	for i := range noise {
		noise[i] = 'a' + byte(random.IntN(26))
	}
	for i, name := range []string{"d.yaml", "e.yaml"} {
		files[name] = &fstest.MapFile{Data: []byte(packYAML() + "# " + string(noise[i*maxPacked:][:maxPacked]))}
	}
	if _, _, problems := set.ReadActivation(files, "cli"); len(problems) != 1 || !strings.Contains(problems[0].Message, "too large") {
		t.Error(problems)
	}
	files["c.yaml"] = &fstest.MapFile{Data: []byte("pack: [")}
	if _, _, problems := set.ReadActivation(files, "cli"); len(problems) == 0 {
		t.Error("a mistake is not told")
	}
}

func TestActivationBeginsTheWaitOfLevelsAnew(t *testing.T) {
	rule := func(danger string) string {
		return `hot | levels: [{severity: watch, when: drain_s > 40}, {severity: danger, when: ` + danger + `, for: 2h}]`
	}
	l := newLife(t, rule("drain_s > 50"))
	wantSeverities(t, l.send(0, "drain_s=60"), "opened watch")
	wantSeverities(t, l.send(100*minute, "drain_s=60"))
	l.step(activation(t, t0.Add(101*minute), packYAML(rule("drain_s > 55"))))
	wantSeverities(t, l.send(102*minute, "drain_s=60"))
	wantSeverities(t, l.send(130*minute, "drain_s=60")) // two hours after the old level began to hold
	wantSeverities(t, l.send(222*minute, "drain_s=60"), "updated danger")
}

// TestActivationEndsWhatIsKnownByTheLinkAlone: of a device that never sent anything there is no time but that of the episode.
func TestActivationEndsWhatIsKnownByTheLinkAlone(t *testing.T) {
	l := newLife(t, `off | when: not link.online`)
	r := l.reading(fleet.Presence, 0, "online=false cause=lost")
	want(t, l.sendReading(r), "off opened")
	got := l.step(activation(t, t0.Add(minute), packYAML(`slow | when: drain_s > 70`)))
	want(t, got, "off cleared")
	if f := got[0]; !f.At.Equal(t0) || f.ID != l.all[0].ID || f.Revision != 1 {
		t.Errorf("%+v", f)
	}
}

// TestActivationThatLooksNoSooner: a device that waits for nothing but silence is left alone as long as no new rule looks sooner; what
// is found comes at its moment all the same.
func TestActivationThatLooksNoSooner(t *testing.T) {
	lost, far, off := `lost | when: age(drain_s) > 3600`, `far | when: age(drain_s) > 7200`, `off | when: held(door_open) > 600`
	l := newLife(t, lost, off)
	packs := []string{packYAML(lost, off, `slow | when: drain_s > 70`), packYAML(lost), packYAML(lost, off), packYAML(lost, off, `slow | when: drain_s > 70`)}
	l.send(0, "drain_s=5 door_open=false")
	d := l.s.devices.at(0)
	for i, p := range packs {
		want(t, l.step(activation(t, t0.Add(time.Duration(i+1)*minute), p)))
		if d.gen != 0 {
			t.Errorf("pack %d: the device was taken over", i)
		}
	}
	want(t, l.tick(60*minute))
	got := l.tick(61 * minute)
	want(t, got, "lost opened")
	if f := got[0]; !f.At.Equal(t0.Add(hour + time.Millisecond)) {
		t.Errorf("%+v", f)
	}

	l = newLife(t, far)
	l.send(0, "drain_s=5")
	want(t, l.step(activation(t, t0.Add(minute), packYAML(far, lost))))
	want(t, l.tick(61*minute), "lost opened")
	want(t, l.tick(121*minute), "far opened")

	l = newLife(t, far)
	l.send(0, "drain_s=5")
	want(t, l.step(activation(t, t0.Add(minute), packYAML(far, `slow | when: drain_s > 70`))))
	want(t, l.send(125*minute, "drain_s=80"), "far opened", "far cleared", "slow opened") // its timer runs before the reading that ends it
}
