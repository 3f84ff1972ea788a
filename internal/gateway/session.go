package gateway

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// ack is one unanswered QoS 1 message.
type ack struct {
	packetID uint16
	reason   byte // MQTT 5
	done     bool
}

// session is an authenticated connection: who it is, and the queue of its unanswered messages.
type session struct {
	g       *Gateway
	conn    *conn
	key     fleet.DeviceKey
	id      string // identity and client id
	v5      bool
	clean   bool         // wants nothing of an earlier connection
	keep    atomic.Int64 // time.Duration for which the session outlives the connection
	flusher *flusher
	pause   time.Duration   // longest time the reader may wait
	ctx     context.Context //nolint:containedctx // the life of the connection
	cancel  context.CancelFunc

	contentType string // of the last message; reader only
	topic       string // last topic of its own that was checked; reader only
	will        *will  // nil: none; reader only
	bye         bool   // the client said good-bye; reader only

	first *firstContact // nil: an ordinary session
	meter meter         // reader only

	established bool // under Gateway.mu
	present     bool // under attendance.mu

	silent  atomic.Bool   // no will is sent at its end
	blocked atomic.Int64  // the gateway's clock when the reader began to wait for ingest or for room; 0: it reads
	room    chan struct{} // one token wakes the reader

	mu      sync.Mutex
	down    downlink
	ring    []ack  // power of two long; ticket t is at t & (len-1)
	head    uint64 // first unanswered ticket
	next    uint64
	waiting bool // the reader waits for room
	dirty   bool // queued at the flusher
	slow    bool // a goroutine is writing what the client did not take
	failed  bool // ingest will not store a message: close, so that the device sends it again elsewhere or later
	closed  bool
	reason  string // why it was stopped; first one wins
}

// reserve queues a QoS 1 message and returns its ticket, waiting while too many are unanswered. It returns an error when the
// session ended meanwhile. Called by the reader only.
func (s *session) reserve(a ack) (uint64, error) {
	s.mu.Lock()
	for !s.closed && int(s.next-s.head) >= s.g.cfg.MaxInflight {
		s.waiting = true
		s.mu.Unlock()
		s.g.m.paused.Inc()
		select {
		case <-s.room:
		case <-s.ctx.Done():
		}
		s.g.m.paused.Dec()
		if err := s.ctx.Err(); err != nil {
			return 0, err
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if s.closed {
		return 0, context.Canceled
	}
	if int(s.next-s.head) == len(s.ring) {
		s.grow()
	}
	t := s.next
	s.next++
	s.ring[t&uint64(len(s.ring)-1)] = a
	s.g.open.Add(1)
	if a.done {
		s.markLocked()
	}
	return t, nil
}

func (s *session) grow() {
	bigger := make([]ack, max(8, 2*len(s.ring)))
	for t := s.head; t < s.next; t++ {
		bigger[t&uint64(len(bigger)-1)] = s.ring[t&uint64(len(s.ring)-1)]
	}
	s.ring = bigger
}

// Done is ingest's answer to a message. It only notes it and tells the flusher.
func (s *session) Done(ticket uint64, o wire.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || ticket < s.head || ticket >= s.next {
		return
	}
	a := &s.ring[ticket&uint64(len(s.ring)-1)]
	switch o {
	case wire.Failed:
		s.failed = true
	case wire.Refused:
		a.done, a.reason = true, packets.ErrImplementationSpecificError.Code
	default:
		a.done = true
	}
	s.markLocked()
}

// markLocked tells the flusher once that there is something due.
func (s *session) markLocked() {
	if !s.dirty && !s.slow && !s.closed && (s.failed || s.down.ready() || s.head < s.next && s.ring[s.head&uint64(len(s.ring)-1)].done) {
		s.dirty = true
		s.flusher.add(s)
	}
}

// due appends the PUBACKs that may leave now to buf, in order, and returns how many they are.
func (s *session) due(buf []byte) ([]byte, int) {
	n := 0
	for s.head < s.next {
		a := s.ring[s.head&uint64(len(s.ring)-1)]
		if !a.done {
			break
		}
		if s.v5 && a.reason >= packets.ErrUnspecifiedError.Code {
			buf = append(buf, packets.Puback<<4, 3, byte(a.packetID>>8), byte(a.packetID), a.reason)
		} else {
			buf = append(buf, packets.Puback<<4, 2, byte(a.packetID>>8), byte(a.packetID))
		}
		s.head++
		n++
	}
	return buf, n
}

// because notes why the connection ends and reports whether it is the first to say so.
func (s *session) because(reason string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != "" {
		return false
	}
	s.reason = reason
	return true
}

// stop ends the connection from our side.
func (s *session) stop(code packets.Code, reason string) {
	if s.because(reason) && s.v5 {
		s.sayWhy(code)
	}
	_ = s.conn.Close()
	s.cancel()
}

// sayWhy sends a DISCONNECT if the client takes it at once. Somebody may just be through with a write: that is worth waiting
// for a moment, a client that does not read is not. It reports whether the client has it.
func (s *session) sayWhy(code packets.Code) bool {
	s.mu.Lock()
	slow := s.slow
	s.mu.Unlock()
	if slow {
		return false
	}
	for begin := time.Now(); time.Since(begin) < 20*time.Millisecond; time.Sleep(100 * time.Microsecond) {
		if _, complete, _ := s.conn.tryWrite([]byte{packets.Disconnect << 4, 2, code.Code, 0}); complete {
			s.g.m.farewells.WithLabelValues(fmt.Sprintf("%#x", code.Code)).Inc()
			return true
		}
	}
	return false
}

// end forgets what is unanswered and returns the reason of stop, if there was one.
func (s *session) end() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.g.open.Add(-int64(s.next - s.head))
	s.head = s.next
	s.ring = nil
	s.down = downlink{filters: s.down.filters} // they outlive the connection
	return s.reason
}
