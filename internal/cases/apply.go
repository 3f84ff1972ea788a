package cases

import (
	"context"
	"sync"
	"time"

	"aftercare/internal/fleet"
)

// atOnce is how many devices' findings are applied at the same time. They wait for the disk, and what waits for it together shares
// one wait.
const atOnce = 64

// applyAll applies findings, those of one device in their order, those of several at the same time. It returns an error only when ctx
// ended.
func (c *Cases) applyAll(ctx context.Context, findings []fleet.Finding) error {
	lanes := byDevice(findings)
	if len(lanes) == 1 {
		return c.applyLane(ctx, lanes[0])
	}
	next := make(chan []fleet.Finding)
	var wg sync.WaitGroup
	for range min(atOnce, len(lanes)) {
		wg.Go(func() {
			for lane := range next {
				_ = c.applyLane(ctx, lane) // only when ctx ended: said below
			}
		})
	}
	for _, lane := range lanes {
		next <- lane
	}
	close(next)
	wg.Wait()
	return ctx.Err()
}

// byDevice splits findings by device and keeps the order of each.
func byDevice(findings []fleet.Finding) [][]fleet.Finding {
	at := make(map[fleet.DeviceKey]int, len(findings))
	var out [][]fleet.Finding
	for _, f := range findings {
		i, ok := at[f.Device]
		if !ok {
			i = len(out)
			at[f.Device] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], f)
	}
	return out
}

// applyLane applies findings one after the other, each until it is applied or can never be. It returns an error only when ctx ended.
func (c *Cases) applyLane(ctx context.Context, findings []fleet.Finding) error {
	for _, f := range findings {
		for gap := firstGap; ; gap = min(2*gap, lastGap) {
			err := c.Apply(ctx, f, time.Now())
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if fleet.CodeOf(err) == fleet.CodeInvalid {
				c.log.Error("a finding is left out: it can never be applied", "finding", f.ID, "revision", f.Revision, "err", err)
				break
			}
			c.metrics.retries.Inc()
			c.log.Warn("finding not applied, trying again", "finding", f.ID, "after", gap, "err", err)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(gap):
			}
		}
	}
	return nil
}
