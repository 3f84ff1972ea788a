package rules_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

// FuzzPack: any rule file for the shipped models is refused or runs on devices that send any values of the right types.
func FuzzPack(f *testing.F) {
	models, problems := registry.LoadModels(os.DirFS("../../configs/models"))
	if len(problems) > 0 {
		f.Fatal(problems)
	}
	packs, err := filepath.Glob("../../configs/rules/*.yaml")
	if err != nil || len(packs) == 0 {
		f.Fatal("no packs to begin with")
	}
	for _, name := range packs {
		if body, err := os.ReadFile(name); err == nil && !rules.IsTest(name) {
			f.Add(string(body), uint64(1))
		}
	}
	f.Fuzz(func(t *testing.T, pack string, seed uint64) {
		set, _ := rules.Load(fstest.MapFS{"x.yaml": {Data: []byte(pack)}}, models)
		if len(set.Rules()) == 0 {
			return
		}
		s := rules.NewState(set)
		rng := rand.New(rand.NewPCG(13, seed))
		now := time.UnixMilli(1_700_000_000_000)
		for i := range 25 {
			now = now.Add(time.Duration(rng.IntN(300)) * time.Minute)
			var body []byte
			for k := range models {
				r := anyReading(rng, &models[k], now, int64(i))
				body = wire.AppendReading(body, &r)
			}
			s.Step(&wire.Record{Kind: wire.KindReadings, Received: now.Add(time.Second), Body: body}, nil)
		}
		again, _, err := rules.Restore(set, s.Header(), set.Layout(), s.Save(1<<20, func() uint32 { return 1 }))
		if err != nil || again.Hash() != s.Hash() {
			t.Fatalf("restored another state: %v", err)
		}
	})
}

// anyReading is a reading of a device of a model with some of its fields, or an event with one of its codes.
func anyReading(rng *rand.Rand, m *fleet.Model, at time.Time, seq int64) fleet.Reading {
	r := fleet.Reading{Device: fleet.DeviceKey{Tenant: "demo", Serial: "D-" + m.ID}, Model: m.ID, Time: at, Boot: 1, Seq: seq, HasSeq: true}
	if len(m.FaultCodes) > 0 && rng.IntN(6) == 0 {
		r.Class = fleet.Event
		code := m.FaultCodes[rng.IntN(len(m.FaultCodes))].Code
		r.Fields = []fleet.Field{{Name: "code", Value: fleet.Value{Type: fleet.String, Str: code}}}
		return r
	}
	for _, spec := range m.Fields {
		if rng.IntN(4) == 0 {
			continue
		}
		v := fleet.Value{Type: spec.Type}
		switch spec.Type {
		case fleet.String:
			v.Str = fmt.Sprint(rng.IntN(3))
		case fleet.Boolean:
			v.Int = int64(rng.IntN(2))
		case fleet.Integer:
			v.Int = rng.Int64N(1000)
		default:
			v.Float = rng.NormFloat64() * 100
		}
		r.Fields = append(r.Fields, fleet.Field{Name: spec.Name, Value: v})
	}
	if len(r.Fields) == 0 {
		r.Fields = []fleet.Field{{Name: "x", Value: fleet.Value{Type: fleet.Float, Float: 1}}}
	}
	return r
}
