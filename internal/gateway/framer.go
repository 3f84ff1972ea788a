package gateway

import (
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// deadlineGrain is how much a read deadline may be early: most packets need not move it.
const deadlineGrain = 100 * time.Millisecond

// framer cuts what a connection sends into packets. It has a buffer only while there is something in it: a connection that
// waits has none, and those are most of a fleet. Used by the reader only.
type framer struct {
	c     *conn
	pool  *sync.Pool // of *[]byte, all of one size
	buf   *[]byte    // nil: nothing has been read that was not taken
	r, w  int        // (*buf)[r:w] is read and not taken
	first bool       // CONNECT has not come
	max   int        // bytes of a packet, the fixed header among them

	deadAfter time.Duration // silence that ends the connection; 0: none does
	until     time.Time     // read deadline last set; zero: none
	raw       *rawReader    // nil: read by c
	one       [1]byte       // what is waited for where there is no raw
}

// frame is a packet. body is good until the next call of next, or for ever if it is own.
type frame struct {
	head byte
	body []byte
	own  bool
}

// next waits for a packet.
func (f *framer) next() (frame, error) {
	for waited := false; ; waited = true {
		have := f.have()
		n, size, err := f.header(have)
		switch {
		case err != nil:
			return frame{}, err
		case n > 0 && len(have) >= size:
			f.r += size
			return frame{head: have[0], body: have[n:size:size]}, nil
		}
		if !waited && !f.first {
			f.extend()
		}
		if n > 0 && size > len(*f.buf) {
			return f.large(have[0], n, size)
		}
		if err := f.fill(); err != nil {
			return frame{}, err
		}
	}
}

// start makes the framer read a connection, after the handshakes of its transport, which left a deadline.
func (f *framer) start(c *conn, pool *sync.Pool, maxConnect int, until time.Time) {
	*f = framer{c: c, pool: pool, first: true, max: maxConnect, until: until}
	if sc, ok := c.sock.Conn.(syscall.Conn); ok && c.transport == TCP {
		f.raw = newRawReader(f, sc)
	}
}

// greeted ends the limits of CONNECT.
func (f *framer) greeted(maxPacket int, deadAfter time.Duration) {
	f.first, f.max, f.deadAfter = false, maxPacket, deadAfter
}

func (f *framer) have() []byte {
	if f.buf == nil {
		return nil
	}
	return (*f.buf)[f.r:f.w]
}

// header reads a fixed header: how long it is and how long the packet is; 0 when it is not all there. A packet that is too
// large is refused before it comes.
func (f *framer) header(b []byte) (n, size int, err error) {
	if len(b) == 0 {
		return 0, 0, nil
	}
	if f.first && b[0] != packets.Connect<<4 {
		return 0, 0, packets.ErrProtocolViolationRequireFirstConnect // MQTT-3.1.0-1
	}
	for i := 1; i < len(b); i++ {
		size |= int(b[i]&0x7f) << (7 * (i - 1))
		switch {
		case size+i+1 > f.max:
			return 0, 0, packets.ErrPacketTooLarge
		case b[i]&0x80 == 0:
			return i + 1, size + i + 1, nil
		case i == 4:
			return 0, 0, packets.ErrMalformedVariableByteInteger
		}
	}
	return 0, 0, nil
}

// extend moves the deadline: the next packet has to be complete by then.
func (f *framer) extend() {
	var t time.Time
	if f.deadAfter > 0 {
		t = time.Now().Add(f.deadAfter)
	}
	if t.IsZero() && f.until.IsZero() || !f.until.IsZero() && t.Sub(f.until).Abs() < deadlineGrain {
		return
	}
	f.until = t
	_ = f.c.SetReadDeadline(t)
}

// fill waits for some bytes. What is read together is taken together: one system call for many small packets.
func (f *framer) fill() error {
	if f.r > 0 {
		f.w = copy(*f.buf, (*f.buf)[f.r:f.w])
		f.r = 0
	}
	if f.raw != nil {
		return f.raw.read(f)
	}
	if f.w == 0 { // TLS and WebSocket: wait with a single byte, and fetch the rest of what they have decoded afterwards
		f.release()
		n, err := f.c.Read(f.one[:])
		if n > 0 {
			f.acquire()
			(*f.buf)[0], f.w = f.one[0], 1
			return nil
		}
		return err
	}
	n, err := f.c.Read((*f.buf)[f.w:])
	f.w += n
	if n > 0 {
		return nil
	}
	return err
}

// large reads a packet that no buffer holds. Its memory is its own.
func (f *framer) large(head byte, n, size int) (frame, error) {
	body := make([]byte, size-n)
	got := copy(body, (*f.buf)[f.r+n:f.w])
	f.r, f.w = 0, 0
	f.release()
	if _, err := io.ReadFull(f.c, body[got:]); err != nil {
		return frame{}, err
	}
	return frame{head: head, body: body, own: true}, nil
}

func (f *framer) acquire() {
	if f.buf == nil {
		f.buf = f.pool.Get().(*[]byte)
	}
}

func (f *framer) release() {
	if f.buf != nil {
		f.pool.Put(f.buf)
		f.buf, f.r, f.w = nil, 0, 0
	}
}
