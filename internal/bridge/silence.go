package bridge

import (
	"context"
	"time"
)

// silence notices a connection that works and brings nothing: a filter that matches no topic, an ACL that lets us subscribe and
// delivers nothing, devices that report elsewhere. Time without a connection does not count, and a new connection is no message.
type silence struct {
	after  time.Duration
	quiet  time.Duration
	seen   int64
	silent bool
}

// tick takes how many messages have come since the start and how long the last tick is ago; it reports whether silence has begun
// or ended. The length is that of the silence.
func (s *silence) tick(connected bool, messages int64, elapsed time.Duration) (began, ended bool, length time.Duration) {
	length = s.quiet
	if messages != s.seen {
		ended = s.silent
		s.seen, s.quiet, s.silent = messages, 0, false
		return false, ended, length
	}
	if connected {
		s.quiet += elapsed
	}
	began = !s.silent && s.quiet > s.after
	s.silent = s.silent || began
	return began, false, s.quiet
}

// watch keeps the gauges and says when a connection brings nothing, and when it does again.
func (b *Bridge) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	s := silence{after: b.cfg.SilentAfter}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		held, _ := b.w.state()
		b.m.queued.Set(float64(held))
		switch began, ended, length := s.tick(b.connected.Load(), b.received.Load(), watchEvery); {
		case began:
			b.m.silent.Set(1)
			b.log.Warn("mqtt bridge is connected, but no message has come: do the devices publish where it listens, and may its user read there?",
				"silent_for", length, "topics", b.cfg.Topics)
		case ended:
			b.m.silent.Set(0)
			b.log.Info("mqtt bridge: messages come again", "silent_for", length)
		}
	}
}
