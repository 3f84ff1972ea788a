package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
)

// hold takes the writer's turn, so that what is written until it lets go waits and becomes one group.
func hold(s *Store) (letGo func()) {
	s.writes.turn <- struct{}{}
	return func() { <-s.writes.turn }
}

// queued waits until n writes wait.
func queued(s *Store, n int) {
	for {
		s.writes.mu.Lock()
		have := len(s.writes.queue)
		s.writes.mu.Unlock()
		if have >= n {
			return
		}
	}
}

func outboxIDs(t *testing.T, s *Store) []string {
	t.Helper()
	ids := []string{}
	must(t, s.r.NewRaw("SELECT id FROM outbox ORDER BY id").Scan(t.Context(), &ids))
	return ids
}

func add(ctx context.Context, tx bun.Tx, id string) error {
	return addOutbox(ctx, tx, []fleet.OutboxRow{message(id, t0)}, 0)
}

// TestAFailingWriteTakesBackItsOwnPartAlone is REL-10's ground: what is committed together with others is whole, or not there.
func TestAFailingWriteTakesBackItsOwnPartAlone(t *testing.T) {
	s := open(t)
	boom := errors.New("boom")
	ctx, cancel := context.WithCancel(t.Context())
	cases := []struct {
		id   string
		fn   func(tx bun.Tx) error
		want error
		any  bool // an error of whatever kind
	}{
		{"a", func(tx bun.Tx) error { return add(t.Context(), tx, "a") }, nil, false},
		{"b", func(tx bun.Tx) error { return errors.Join(add(t.Context(), tx, "b"), boom) }, boom, false},
		{"c", func(tx bun.Tx) error {
			if err := add(ctx, tx, "c"); err != nil {
				return err
			}
			cancel()
			return add(ctx, tx, "c2")
		}, context.Canceled, false},
		{"d", func(tx bun.Tx) error {
			_, err := tx.NewRaw("INSERT INTO outbox (id) VALUES (NULL)").Exec(t.Context())
			return err
		}, nil, true},
		{"e", func(tx bun.Tx) error {
			must(t, add(t.Context(), tx, "e"))
			panic("e fell")
		}, errPanic, false},
		{"f", func(tx bun.Tx) error { return add(t.Context(), tx, "f") }, nil, false},
	}
	letGo := hold(s)
	var wg sync.WaitGroup
	for i, c := range cases {
		wg.Go(func() {
			mine := t.Context()
			if c.id == "c" {
				mine = ctx
			}
			got := caught(func() error { return s.write(mine, c.id, c.fn) })
			switch {
			case c.any && got != nil, c.want == nil && got == nil, c.want != nil && errors.Is(got, c.want):
			default:
				t.Errorf("%s: %v, want %v", c.id, got, c.want)
			}
		})
		queued(s, i+1)
	}
	letGo()
	wg.Wait()
	same(t, outboxIDs(t, s), []string{"a", "f"})
	must(t, s.write(t.Context(), "after", func(tx bun.Tx) error { return add(t.Context(), tx, "g") }))
	same(t, outboxIDs(t, s), []string{"a", "f", "g"})
}

var errAny, errPanic = errors.New("any error"), errors.New("a panic")

func caught(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return fn()
}

func TestAWriteWhoseCallerLeavesDoesNotBegin(t *testing.T) {
	s := open(t)
	letGo := hold(s)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		left <- s.write(ctx, "leaves", func(tx bun.Tx) error { return add(t.Context(), tx, "left") })
	}()
	queued(s, 1)
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	letGo()
	must(t, s.write(t.Context(), "stays", func(tx bun.Tx) error { return add(t.Context(), tx, "stays") }))
	same(t, outboxIDs(t, s), []string{"stays"})
	wantErr := s.write(ctx, "gone before", func(bun.Tx) error { t.Error("it ran"); return nil })
	if !errors.Is(wantErr, context.Canceled) {
		t.Fatal(wantErr)
	}
}

// TestABrokenTransactionIsToldToAllInIt ends the transaction behind the group's back, as SQLite itself does when the disk is full: nobody in it
// may hear of success.
func TestABrokenTransactionIsToldToAllInIt(t *testing.T) {
	s := open(t)
	letGo := hold(s)
	var wg sync.WaitGroup
	for i, fn := range []func(tx bun.Tx) error{
		func(tx bun.Tx) error { return add(t.Context(), tx, "before") },
		func(tx bun.Tx) error {
			_, err := tx.Tx.ExecContext(t.Context(), "ROLLBACK")
			return errors.Join(err, errAny)
		},
	} {
		wg.Go(func() {
			if err := s.write(t.Context(), "broken", fn); err == nil {
				t.Errorf("write %d: want an error", i)
			}
		})
		queued(s, i+1)
	}
	wg.Go(func() {
		must(t, s.write(t.Context(), "after", func(tx bun.Tx) error { return add(t.Context(), tx, "after") }))
	})
	queued(s, 3)
	letGo()
	wg.Wait()
	same(t, outboxIDs(t, s), []string{"after"})
}

func TestWritesAfterClose(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Path = filepath.Join(t.TempDir(), "a.db")
	s, err := Open(t.Context(), cfg, obs.Discard())
	must(t, err)
	must(t, s.Close())
	for range 2 {
		if err := s.write(t.Context(), "late", func(bun.Tx) error { return nil }); err == nil {
			t.Fatal("want an error")
		}
	}
}

// TestGroupsDoWhatSingleWritesDo lets many callers write at random, some of them failing, and compares what is there with the
// same writes one at a time: the failed ones have left nothing, the others everything.
func TestGroupsDoWhatSingleWritesDo(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		type step struct {
			ids  []string
			fail bool
		}
		steps := make([][]step, 12) // by caller
		for i := range steps {
			for j := range 20 {
				st := step{fail: r.IntN(3) == 0}
				for k := range 1 + r.IntN(3) {
					st.ids = append(st.ids, fmt.Sprintf("%02d-%02d-%d", i, j, k))
				}
				steps[i] = append(steps[i], st)
			}
		}
		do := func(s *Store, st step) {
			err := s.write(t.Context(), "step", func(tx bun.Tx) error {
				for _, id := range st.ids {
					if err := add(t.Context(), tx, id); err != nil {
						return err
					}
				}
				if st.fail {
					return errAny
				}
				return nil
			})
			if (err != nil) != st.fail {
				t.Errorf("%v: %v", st, err)
			}
		}
		grouped, single := open(t), open(t)
		var wg sync.WaitGroup
		for _, mine := range steps {
			wg.Go(func() {
				for _, st := range mine {
					do(grouped, st)
				}
			})
		}
		wg.Wait()
		for _, st := range slices.Concat(steps...) {
			do(single, st)
		}
		same(t, outboxIDs(t, grouped), outboxIDs(t, single))
	}
}

// TestKeptStatementsReadTwiceAtOnce reads with one statement while rows of the same one are still open.
func TestKeptStatementsReadTwiceAtOnce(t *testing.T) {
	s := open(t)
	must(t, s.AddOutbox(t.Context(), []fleet.OutboxRow{message("a", t0), message("b", t0)}))
	const query = "SELECT id FROM outbox WHERE id >= ? ORDER BY id"
	must(t, s.write(t.Context(), "read", func(tx bun.Tx) error {
		var got []string
		for range 2 {
			outer, err := tx.Tx.QueryContext(t.Context(), query, "a")
			if err != nil {
				return err
			}
			for outer.Next() {
				var o, i string
				must(t, outer.Scan(&o))
				must(t, tx.Tx.QueryRowContext(t.Context(), query, "b").Scan(&i))
				got = append(got, o+i)
			}
			must(t, errors.Join(outer.Err(), outer.Close())) //nolint:sqlclosecheck // the point is when it closes
		}
		same(t, got, []string{"ab", "bb", "ab", "bb"})
		return nil
	}))
}

func BenchmarkCommitMany(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Path = b.TempDir() + "/x.db"
	s, err := Open(b.Context(), cfg, obs.Discard())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	b.SetParallelism(32)
	var n atomicCount
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.next()
			if err := s.Commit(b.Context(), change(aCase(fmt.Sprint("c", i), fmt.Sprint("WM-", i), fleet.Due, t0), 0)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

type atomicCount struct {
	mu sync.Mutex
	n  int
}

func (a *atomicCount) next() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	return a.n
}
