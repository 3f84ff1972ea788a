package gateway

import (
	"context"
	"sync"

	"github.com/mochi-mqtt/server/v2/packets"
)

// maxScratch is how large a flusher's buffer may stay.
const maxScratch = 256 << 10

// flusher writes the PUBACKs and the messages to devices that are due. Ingest's goroutine only adds sessions to its list; the flusher takes the whole
// list, so that what became due meanwhile on a connection goes out in one write.
type flusher struct {
	g    *Gateway
	wake chan struct{}
	mu   sync.Mutex
	list []*session
	buf  []byte // scratch of run
}

func newFlusher(g *Gateway) *flusher {
	return &flusher{g: g, wake: make(chan struct{}, 1)}
}

// add queues a session; its dirty flag keeps it from being queued twice.
func (f *flusher) add(s *session) {
	f.mu.Lock()
	f.list = append(f.list, s)
	first := len(f.list) == 1
	f.mu.Unlock()
	if first {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

func (f *flusher) run(ctx context.Context) {
	var taken []*session
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		f.mu.Lock()
		taken, f.list = f.list, taken[:0]
		f.mu.Unlock()
		for i, s := range taken {
			f.flush(s)
			taken[i] = nil // the list is reused: do not hold ended sessions
		}
	}
}

func (f *flusher) flush(s *session) {
	s.mu.Lock()
	s.dirty = false
	if s.slow || s.closed {
		s.mu.Unlock()
		return
	}
	buf, n := s.due(f.buf[:0])
	wake := n > 0 && s.waiting
	if wake {
		s.waiting = false
	}
	failed := s.failed
	buf = s.down.due(buf)
	s.mu.Unlock()
	if f.buf = buf; cap(buf) > maxScratch {
		f.buf = nil
	}

	if len(buf) > 0 {
		f.write(s, buf, n)
	}
	if n > 0 {
		f.g.m.acks.Add(float64(n))
		f.g.m.ackWrites.Inc()
	}
	if wake {
		select {
		case s.room <- struct{}{}:
		default:
		}
	}
	if failed {
		s.silent.Store(true)
		s.stop(packets.ErrServerUnavailable, "not stored")
	}
}

// write gives buf to the socket; what a client does not take at once is written by a goroutine of that session, which may
// wait. Until it is through, the session's further PUBACKs stay in its queue and its reader pauses.
func (f *flusher) write(s *session, buf []byte, n int) {
	left, complete, err := s.conn.tryWrite(buf)
	switch {
	case err != nil:
		f.g.open.Add(-int64(n))
		s.stop(packets.ErrUnspecifiedError, "write failed")
	case complete:
		f.g.open.Add(-int64(n))
	default:
		s.mu.Lock()
		s.slow = true
		s.mu.Unlock()
		left = append([]byte(nil), left...)
		f.g.m.slowWrites.Inc()
		f.g.slow.Go(func() {
			s.writeSlowly(left)
			f.g.open.Add(-int64(n))
		})
	}
}

func (s *session) writeSlowly(left []byte) {
	if _, err := s.conn.Write(left); err != nil {
		s.stop(packets.ErrUnspecifiedError, slowReader)
		return
	}
	s.mu.Lock()
	s.slow = false
	s.markLocked()
	s.mu.Unlock()
}
