package cases_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"aftercare/internal/cases"
	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/store"
)

// TestABatchDoesWhatOneAfterTheOtherDoes applies random findings of a few devices as one batch and one by one (REL-10): the cases must be
// the same, whichever devices were ahead of the others.
func TestABatchDoesWhatOneAfterTheOtherDoes(t *testing.T) {
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 7))
		all := make([]fleet.Finding, 0, 120)
		for i := range 120 {
			phase := []fleet.Phase{fleet.Opened, fleet.Updated, fleet.Cleared}[r.IntN(3)]
			at := t0.Add(time.Duration(i) * time.Minute)
			f := finding(fmt.Sprint("WM-", r.IntN(6)), "slow", i, phase, []fleet.Severity{fleet.Watch, fleet.Due, fleet.Fault}[r.IntN(3)], t0.Add(time.Duration(i/40)*time.Hour), at)
			f.Problem = []string{"drain", "leak"}[i/40%2]
			all = append(all, f)
		}
		batch, single := openStore(t), openStore(t)
		b, _ := newCases(batch)
		s, _ := newCases(single)
		run(t, b, all)
		for _, f := range all {
			must(t, s.Apply(t.Context(), f, time.Now()))
		}
		if got, want := told(t, batch), told(t, single); got != want {
			t.Fatalf("seed %d: as a batch\n%s\none by one\n%s", seed, got, want)
		}
	}
}

// once gives its findings once; when they are marked as done, it ends.
type once struct {
	findings []fleet.Finding
	end      context.CancelFunc
}

func (o once) Next(context.Context) ([]fleet.Finding, func(context.Context) error, error) {
	return o.findings, func(context.Context) error { o.end(); return nil }, nil
}

func run(t testing.TB, c *cases.Cases, findings []fleet.Finding) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := c.Run(ctx, once{findings, cancel}); err != nil {
		t.Fatal(err)
	}
}

// told is what a store knows of all cases, without the times at which it was written.
func told(t *testing.T, s *store.Store) (out string) {
	t.Helper()
	for serial := range 6 {
		for _, problem := range []string{"drain", "leak"} {
			k, err := s.LatestCase(t.Context(), fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprint("WM-", serial)}, problem)
			if err != nil {
				t.Fatal(err)
			}
			if k == nil {
				continue
			}
			if k.OpenedAt.IsZero() || len(k.Episodes) == 0 {
				t.Errorf("an empty case %+v", k)
			}
			out += fmt.Sprintln(serial, problem, k.ID, k.State, k.Severity, k.Count, k.Version, len(k.Episodes), k.Told, k.ToldAny, k.OpenedAt, k.SeenUntil)
		}
	}
	return out
}

func BenchmarkApplyBatch(b *testing.B) {
	cfg := store.DefaultConfig()
	cfg.Path = filepath.Join(b.TempDir(), "x.db")
	s, err := store.Open(b.Context(), cfg, obs.Discard())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	c, _ := newCases(s)
	var batch []fleet.Finding
	for i := range b.N {
		batch = append(batch, finding(fmt.Sprint("WM-", i), "slow", 0, fleet.Opened, fleet.Due, t0, t0))
		if len(batch) == 256 || i == b.N-1 {
			run(b, c, batch)
			batch = batch[:0]
		}
	}
}
