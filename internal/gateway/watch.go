package gateway

import (
	"context"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

const (
	watchEvery  = 500 * time.Millisecond
	expireEvery = 30 * time.Second
)

// watch keeps the clock, ends readers that pause for too long, sends delayed wills and forgets old sessions.
func (g *Gateway) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	expire := time.Now().Add(expireEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			g.clock.Store(now.UnixNano())
			g.stopBlocked(now)
			g.sendDelayed(now)
			if now.After(expire) {
				expire = now.Add(expireEvery)
				g.expireSessions(now)
				g.forgetAccounts(now)
			}
		}
	}
}

func (g *Gateway) stopBlocked(now time.Time) {
	var over []*session
	g.mu.Lock()
	for _, s := range g.sessions {
		if since := s.blocked.Load(); since != 0 && now.UnixNano()-since > int64(s.pause) {
			over = append(over, s)
		}
	}
	g.mu.Unlock()
	for _, s := range over {
		s.silent.Store(true) // the device is there: it is we who cannot take more
		s.stop(packets.ErrServerBusy, "paused too long")
	}
}

func (g *Gateway) sendDelayed(now time.Time) {
	var due []*session
	g.mu.Lock()
	for id, w := range g.delayed {
		if !now.Before(w.at) {
			due = append(due, w.s)
			delete(g.delayed, id)
		}
	}
	g.mu.Unlock()
	for _, s := range due {
		g.slow.Go(func() { g.sendWill(s) }) // ingest may be full: the watch must go on
	}
}
