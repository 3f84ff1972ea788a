//go:build unix

package gateway

import (
	"errors"
	"syscall"
)

// rawWriter writes to a socket without ever waiting for room: a write deadline would make the flusher wait for each client
// that does not read, and all the others with it.
type rawWriter struct {
	rc  syscall.RawConn
	p   []byte
	n   int
	err error
	fn  func(fd uintptr) bool // kept, so that a write allocates nothing
}

func newRawWriter(c syscall.Conn) *rawWriter {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	w := &rawWriter{rc: rc}
	w.fn = w.once
	return w
}

func (w *rawWriter) once(fd uintptr) bool {
	for {
		w.n, w.err = syscall.Write(int(fd), w.p)
		if !errors.Is(w.err, syscall.EINTR) {
			return true
		}
	}
}

// write returns how many bytes the socket took; a full socket is 0 and no error. One caller at a time.
func (w *rawWriter) write(p []byte) (int, error) {
	w.p = p
	err := w.rc.Write(w.fn)
	w.p = nil
	if err != nil {
		return 0, err
	}
	if errors.Is(w.err, syscall.EAGAIN) {
		return 0, nil
	}
	return max(w.n, 0), w.err
}
