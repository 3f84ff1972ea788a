//go:build unix

package gateway

import (
	"errors"
	"io"
	"syscall"
)

// rawReader waits for a socket without holding a buffer: one is taken when there is something to put into it.
type rawReader struct {
	rc  syscall.RawConn
	f   *framer
	n   int
	err error
	fn  func(fd uintptr) bool // kept, so that a read allocates nothing
}

func newRawReader(f *framer, c syscall.Conn) *rawReader {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawReader{rc: rc, f: f}
	r.fn = r.once
	return r
}

// once reads, or reports that the socket has nothing.
func (r *rawReader) once(fd uintptr) bool {
	f := r.f
	f.acquire()
	for {
		r.n, r.err = syscall.Read(int(fd), (*f.buf)[f.w:])
		if !errors.Is(r.err, syscall.EINTR) {
			break
		}
	}
	if !errors.Is(r.err, syscall.EAGAIN) {
		return true
	}
	if f.w == 0 {
		f.release()
	}
	return false
}

// read adds to the framer's buffer, which has room. The end of the stream is io.EOF.
func (r *rawReader) read(f *framer) error {
	if err := r.rc.Read(r.fn); err != nil {
		return err
	}
	switch {
	case r.err != nil:
		return r.err
	case r.n <= 0:
		return io.EOF
	}
	f.w += r.n
	return nil
}

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
