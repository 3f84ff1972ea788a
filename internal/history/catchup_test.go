//go:build !slim

package history

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/journal"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

// BenchmarkCatchUp is what happens after an outage: the real journal is read and written to the database until all is committed. An
// operation is a line.
func BenchmarkCatchUp(b *testing.B) {
	for _, perRecord := range []int{1, 7, 200} {
		b.Run(fmt.Sprintf("record=%d", perRecord), func(b *testing.B) {
			recs := benchRecords(b.N, 10_000, perRecord)
			cfg := journal.DefaultConfig()
			cfg.Dir = b.TempDir()
			backlog(b, cfg, recs)
			j, err := journal.Open(b.Context(), cfg, obs.Discard(), prometheus.NewRegistry())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = j.Close() }()
			src, err := j.Open(b.Context(), wire.Readings, -1, "history", 0)
			if err != nil {
				b.Fatal(err)
			}
			h := open(b)
			if err := h.Prepare(b.Context()); err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			b.ResetTimer()
			if err := h.RunReadings(ctx, &until{src, uint64(len(recs)), cancel}); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
			h.wantCount(b, int64(b.N))
			if err := src.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

// backlog fills a journal, without syncing each record: that is not what is measured.
func backlog(b *testing.B, cfg journal.Config, recs []wire.Record) {
	b.Helper()
	cfg.Sync, cfg.Durability = "interval", "relaxed"
	j, err := journal.Open(b.Context(), cfg, obs.Discard(), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	for i := range recs {
		recs[i].Stream, recs[i].Partition = wire.Readings, i%4
	}
	if err := j.Append(b.Context(), recs); err != nil {
		b.Fatal(err)
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}

// until ends a run with the commit of its last record.
type until struct {
	wire.Source
	last uint64
	end  func()
}

func (u *until) Commit(ctx context.Context, seq uint64) error {
	err := u.Source.Commit(ctx, seq)
	if seq == u.last {
		u.end()
	}
	return err
}
