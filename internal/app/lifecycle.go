package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// lifecycle keeps what has to be closed and what runs, in the order in which it was acquired and started. Closing goes the
// other way round: what was started last, the doors, stops first, and nothing is closed while somebody still uses it.
type lifecycle struct {
	log   *slog.Logger
	mu    sync.Mutex
	stack []teardown
	ended chan error // the first part that returned although nobody stopped it
}

type teardown struct {
	name string
	do   func() error
}

func newLifecycle(log *slog.Logger) *lifecycle {
	return &lifecycle{log: log, ended: make(chan error, 1)}
}

// onClose registers a teardown right where the thing is acquired.
func (l *lifecycle) onClose(name string, do func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stack = append(l.stack, teardown{name, do})
}

// run starts a part in a goroutine of its own. Stopping it means: cancel its context, wait until it returned.
func (l *lifecycle) run(name string, f func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := f(ctx)
		if ctx.Err() == nil { // nobody asked it to stop
			if err == nil {
				err = errors.New("ended by itself")
			}
			select {
			case l.ended <- fmt.Errorf("%s: %w", name, err):
			default:
			}
		}
		done <- err
	}()
	l.onClose(name, func() error {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
}

// wait returns when ctx ends (nil) or a part ended by itself (its error).
func (l *lifecycle) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-l.ended:
		return err
	}
}

// close runs the teardowns in reverse and joins their errors.
func (l *lifecycle) close() error {
	var errs []error
	for {
		l.mu.Lock()
		n := len(l.stack)
		if n == 0 {
			l.mu.Unlock()
			return errors.Join(errs...)
		}
		t := l.stack[n-1]
		l.stack = l.stack[:n-1]
		l.mu.Unlock()
		start := time.Now()
		if err := t.do(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", t.name, err))
		}
		l.log.Debug("closed", "part", t.name, "took", time.Since(start).Round(time.Millisecond))
	}
}
