package engine

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

// process is one process with an engine over a memory that it shares with others. It can be killed or made to stand still at
// any of its operations.
type process struct {
	log    Log
	found  Findings
	store  Snapshots
	past   Past // may be nil
	engine *Engine
	cancel context.CancelFunc
	done   chan error

	mu     sync.Mutex
	n      int           // operations so far
	at     int           // of this one fault happens; 0: never
	fault  fault         // what happens then
	dead   bool          // nothing it does has an effect
	going  chan struct{} // closed: it goes on after it stood still
	stood  bool          // it stands still, or did
	writes []string      // keys written after it went on
}

type fault int

const (
	killBefore fault = iota // the operation has no effect
	killAfter               // it has, and nobody learns of it
	stall                   // the process stands still just before it, until going is closed
	answerLost              // it has an effect, and the answer is an error; the process goes on
)

// start runs an engine. alone is as in Deps.
func start(m *memory, set *rules.Set, alone bool, at int, f fault) *process {
	p := &process{log: m, found: m, store: m, at: at, fault: f}
	return p.start(DefaultConfig(), set, alone)
}

func (p *process) start(cfg Config, set *rules.Set, alone bool) *process {
	p.going, p.done = make(chan struct{}), make(chan error, 1)
	p.engine = New(cfg, set, Deps{Partitions: 2, Log: p, Findings: p, Snapshots: p, Summaries: p, Past: p.past, Alone: alone})
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.done <- p.engine.Run(ctx) }()
	return p
}

func (p *process) stop(t testing.TB) {
	t.Helper()
	p.cancel()
	if err := <-p.done; err != nil {
		t.Errorf("run: %v", err)
	}
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (p *process) hasStood() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stood
}

// do is one operation.
func (p *process) do(key string, f func() error) error {
	p.mu.Lock()
	p.n++
	fault, here := p.fault, p.n == p.at
	if here {
		p.dead = fault == killBefore
		p.stood = fault == stall
	}
	dead, stands := p.dead, p.stood
	p.mu.Unlock()
	if dead {
		return errAway
	}
	if stands {
		<-p.going
		if key != "" {
			p.mu.Lock()
			p.writes = append(p.writes, key)
			p.mu.Unlock()
		}
	}
	err := f()
	if here && fault == killAfter {
		p.mu.Lock()
		p.dead = true
		p.mu.Unlock()
	}
	if here && (fault == killAfter || fault == answerLost) {
		return errAway
	}
	return err
}

func (p *process) OpenReadings(ctx context.Context, partition int, from uint64) (wire.Source, error) {
	return p.log.OpenReadings(ctx, partition, from)
}

func (p *process) First(ctx context.Context) (uint64, time.Time, error) { return p.log.First(ctx) }

func (p *process) Emit(ctx context.Context, partition int, fs []fleet.Finding) error {
	return p.do("", func() error { return p.found.Emit(ctx, partition, fs) })
}

func (p *process) Count(ctx context.Context, partition int, at time.Time, lines []byte) error {
	return p.do("", func() error { return p.found.Count(ctx, partition, at, lines) })
}

func (p *process) Summarise(ctx context.Context, sum fleet.Summary) error {
	return p.do("", func() error { return p.log.(*memory).Summarise(ctx, sum) }) //nolint:forcetypeassert // it is one wherever there are summaries
}

func (p *process) Load(ctx context.Context, key string) (body []byte, rev uint64, err error) {
	err = p.do("", func() (err error) {
		body, rev, err = p.store.Load(ctx, key)
		return err
	})
	return body, rev, err
}

func (p *process) Save(ctx context.Context, key string, body []byte) error {
	return p.do(key, func() error { return p.store.Save(ctx, key, body) })
}

func (p *process) Swap(ctx context.Context, key string, body []byte, revision uint64) (rev uint64, err error) {
	err = p.do("", func() (err error) {
		if rev, err = p.store.Swap(ctx, key, body, revision); err == nil && strings.Contains(key, "manifest") {
			p.note(key)
		}
		return err
	})
	return rev, err
}

// note notes a conditional write that was not refused although the process stood still before it.
func (p *process) note(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stood {
		p.writes = append(p.writes, key)
	}
}

func (p *process) Keys(ctx context.Context, prefix string) (keys []string, err error) {
	err = p.do("", func() (err error) {
		keys, err = p.store.Keys(ctx, prefix)
		return err
	})
	return keys, err
}

func (p *process) Delete(ctx context.Context, key string) error {
	return p.do(key, func() error { return p.store.Delete(ctx, key) })
}

// hash names the states of all partitions of a process that has stopped.
func (p *process) hash() string {
	var out []string
	for _, w := range p.engine.workers {
		if w.state == nil {
			return "not loaded"
		}
		out = append(out, w.state.Hash())
	}
	return strings.Join(out, " ")
}
