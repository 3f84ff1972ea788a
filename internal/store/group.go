package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"
)

// Writes are committed in groups. A commit waits for the disk; whoever comes meanwhile joins a queue, and the first of
// them to get the writer's turn runs all that wait, each in a savepoint of its own, and commits once. A write that fails, or whose
// caller has gone, takes back its own part alone; the others do not notice. A caller hears of success after the commit.
const (
	// groupMax and groupTime bound how much goes into one commit, and so how long those who come later wait.
	groupMax  = 256
	groupTime = 20 * time.Millisecond
)

// The statements of a part.
const (
	savepoint = "SAVEPOINT part"
	takeBack  = "ROLLBACK TO part"
	release   = "RELEASE part"
)

type group struct {
	turn  chan struct{} // held by the one who writes
	mu    sync.Mutex
	queue []*write
}

func newGroup() *group { return &group{turn: make(chan struct{}, 1)} }

// write is a function that waits for its transaction, then its result.
type write struct {
	fn       func(bun.Tx) error
	state    atomic.Int32 // waiting, running or left
	err      error
	panicked any
	done     chan struct{}
}

const (
	writeWaits int32 = iota
	writeRuns
	writeLeft
)

// run returns when fn was committed, or has failed and left nothing behind. When ctx ends before fn began it does not begin; later,
// statements that have not begun fail. A panic of fn comes out of run.
func (g *group) run(ctx context.Context, db *bun.DB, fn func(bun.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &write{fn: fn, done: make(chan struct{})}
	g.mu.Lock()
	g.queue = append(g.queue, w)
	g.mu.Unlock()
	for {
		select {
		case <-w.done:
			return w.result()
		case g.turn <- struct{}{}:
			g.lead(db, w)
		case <-ctx.Done():
			if w.state.CompareAndSwap(writeWaits, writeLeft) {
				return ctx.Err()
			}
			<-w.done // it is being written: what becomes of it is known soon
			return w.result()
		}
	}
}

func (w *write) result() error {
	if w.panicked != nil {
		panic(w.panicked)
	}
	return w.err
}

// lead holds the writer's turn for one group. It does nothing when another leader took w along meanwhile.
func (g *group) lead(db *bun.DB, w *write) {
	defer func() { <-g.turn }()
	select {
	case <-w.done:
		return
	default:
	}
	g.mu.Lock()
	n := min(len(g.queue), groupMax)
	batch := append([]*write(nil), g.queue[:n]...)
	g.queue = append(g.queue[:0], g.queue[n:]...)
	clear(g.queue[len(g.queue):cap(g.queue)])
	g.mu.Unlock()
	left := commitGroup(db, batch)
	if len(left) > 0 {
		g.mu.Lock()
		g.queue = append(left, g.queue...)
		g.mu.Unlock()
	}
}

// commitGroup runs the writes of a batch in one transaction, as many as there is time for, and answers them. It returns those
// there was no time for.
func commitGroup(db *bun.DB, batch []*write) (left []*write) {
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		answer(batch, err)
		return nil
	}
	alone := len(batch) == 1
	began := time.Now()
	written := make([]*write, 0, len(batch))
	for i, w := range batch {
		if !w.state.CompareAndSwap(writeWaits, writeRuns) {
			continue // its caller has gone
		}
		if err := w.part(tx, alone); err != nil { // the transaction itself is broken
			_ = tx.Rollback()
			answer(append(written, w), err)
			return batch[i+1:]
		}
		if w.err != nil || w.panicked != nil {
			close(w.done)
			if alone {
				_ = tx.Rollback()
				return nil
			}
			continue
		}
		written = append(written, w)
		if time.Since(began) > groupTime {
			left = batch[i+1:]
			break
		}
	}
	answer(written, tx.Commit())
	return left
}

// part runs one function. What it returns is an error of the transaction as a whole; the function's own is in w.err. One that is
// alone needs no savepoint: the whole transaction is taken back.
func (w *write) part(tx bun.Tx, alone bool) error {
	ctx := context.Background()
	if !alone {
		if _, err := tx.Tx.ExecContext(ctx, savepoint); err != nil {
			return fmt.Errorf("begin a part of a transaction: %w", err)
		}
	}
	w.call(tx)
	if alone {
		return nil
	}
	var err error
	if w.err != nil || w.panicked != nil {
		_, err = tx.Tx.ExecContext(ctx, takeBack)
	}
	_, err2 := tx.Tx.ExecContext(ctx, release)
	if err := errors.Join(err, err2); err != nil {
		return fmt.Errorf("end a part of a transaction: %w", err)
	}
	return nil
}

func (w *write) call(tx bun.Tx) {
	defer func() { w.panicked = recover() }()
	w.err = w.fn(tx)
}

func answer(ws []*write, err error) {
	for _, w := range ws {
		if w.state.CompareAndSwap(writeWaits, writeRuns); w.state.Load() == writeLeft {
			continue // its caller has gone
		}
		w.err = err
		close(w.done)
	}
}
