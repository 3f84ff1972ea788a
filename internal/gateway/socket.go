package gateway

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// maxRest bounds what is kept of a client that does not read. Only answers that cannot wait come that far (a WebSocket pong, a
// TLS key update): everything else is written when nothing is kept.
const maxRest = 16 << 10

var errDoesNotRead = errors.New("the client does not read")

// socket is the TCP connection below TLS and WebSocket. After the handshakes its Write never waits: what the kernel does not
// take is kept, and drain, which may wait, sends it. So nobody holds a lock of the layers above while a client does not read,
// and neither the flusher nor a Close (TLS says good-bye) waits for it.
type socket struct {
	net.Conn
	raw *rawWriter // nil where a write that never waits is not possible (pipes, some systems): then Write waits

	mu       sync.Mutex
	patient  time.Time // until the handshakes are over: Write waits till then
	draining bool      // a drain is writing; what comes now is kept
	rest     []byte
}

func newSocket(nc net.Conn) *socket {
	s := &socket{Conn: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		s.raw = newRawWriter(sc)
	}
	return s
}

// handshake makes Write wait until the deadline; the zero time ends that.
func (s *socket) handshake(deadline time.Time) {
	s.mu.Lock()
	s.patient = deadline
	s.mu.Unlock()
	_ = s.Conn.SetWriteDeadline(deadline)
}

// SetDeadline moves the read deadline only: write deadlines are drain's business, and the layers above set their own.
func (s *socket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetWriteDeadline does nothing; see SetDeadline.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// Write takes all of p or fails. An error means that the connection is of no more use.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	if s.raw == nil || !s.patient.IsZero() {
		s.mu.Unlock()
		return s.Conn.Write(p)
	}
	defer s.mu.Unlock()
	n := 0
	if len(s.rest) == 0 && !s.draining {
		var err error
		if n, err = s.raw.write(p); err != nil || n == len(p) {
			return n, err
		}
	}
	if len(s.rest) > maxRest {
		return n, errDoesNotRead
	}
	s.rest = append(s.rest, p[n:]...)
	return len(p), nil
}

// pending reports whether something written before has not reached the kernel.
func (s *socket) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining || len(s.rest) > 0
}

// drain gives what is kept to the kernel, waiting at most d. One caller at a time.
func (s *socket) drain(d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rest) == 0 {
		return nil
	}
	s.draining = true
	defer func() { s.draining = false }()
	_ = s.Conn.SetWriteDeadline(time.Now().Add(d))
	for len(s.rest) > 0 {
		out := s.rest
		s.rest = nil
		s.mu.Unlock()
		_, err := s.Conn.Write(out)
		s.mu.Lock()
		if err != nil {
			return err
		}
	}
	return s.Conn.SetWriteDeadline(time.Time{})
}
