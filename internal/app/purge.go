package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What is over is deleted now and then, in steps so small that nobody who writes waits for one.
const (
	purgeEvery = 10 * time.Minute
	purgeStep  = 500
	purgePause = 50 * time.Millisecond
)

// purge deletes finished outbox rows and commands after their time until ctx ends.
func (s *server) purge(ctx context.Context) error {
	purged := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_purged_rows_total",
		Help: "Rows deleted after the time they are kept, by table: outbox, commands."}, []string{"table"})
	if err := s.metrics.Register(purged); err != nil {
		return err
	}
	tables := []struct {
		name string
		keep time.Duration
		step func(ctx context.Context, before time.Time, limit int) (int, error)
	}{{"outbox", s.cfg.Store.KeepDone, s.store.PurgeOutbox}, {"commands", s.cfg.Commands.Keep, s.store.PurgeCommands}}
	for {
		for _, t := range tables {
			for n := purgeStep; n == purgeStep && ctx.Err() == nil; {
				var err error
				if n, err = t.step(ctx, time.Now().Add(-t.keep), purgeStep); err != nil {
					if ctx.Err() == nil {
						s.log.Warn("old rows not deleted", "table", t.name, "err", err)
					}
					break
				}
				purged.WithLabelValues(t.name).Add(float64(n))
				pause(ctx, purgePause)
			}
		}
		if !pause(ctx, purgeEvery) {
			return nil
		}
	}
}

// pause waits for d; it reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
