package gateway

import (
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// conn is a device's connection as mochi sees it. It bounds what may come before authentication, keeps mochi from setting a
// deadline for every packet, and orders the writes of mochi and of the flusher.
type conn struct {
	net.Conn     // what mochi reads and writes: the socket itself, or TLS or WebSocket on it
	sock         *socket
	transport    Transport
	writeTimeout time.Duration
	host         string      // remote address without port
	cert         *clientCert // nil without one

	guard     firstPacket // used by the reader only
	readUntil time.Time   // read deadline last set; reader only
	session   *session    // set once, before the session can be found by anybody else

	wmu sync.Mutex
}

// deadlineGrain is how much a read deadline may be early: mochi moves it with every packet.
const deadlineGrain = 100 * time.Millisecond

func newConn(nc net.Conn, t Transport, c Config) *conn {
	host, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil {
		host = nc.RemoteAddr().String()
	}
	sock := newSocket(nc)
	return &conn{Conn: sock, sock: sock, transport: t, writeTimeout: c.WriteTimeout, host: host, guard: firstPacket{max: c.MaxConnect}}
}

// Read checks the head of the first packet before mochi allocates what it announces.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.guard.passed {
		if bad := c.guard.check(p[:n]); bad != nil {
			return 0, bad
		}
	}
	return n, err
}

// SetDeadline is called by mochi before every packet, meaning the keep-alive. Writes have deadlines of their own.
func (c *conn) SetDeadline(t time.Time) error {
	if !t.IsZero() && !c.readUntil.IsZero() && t.Sub(c.readUntil) < deadlineGrain {
		return nil
	}
	if t.IsZero() && c.readUntil.IsZero() && c.guard.cleared {
		return nil
	}
	c.guard.cleared = true
	c.readUntil = t
	return c.SetReadDeadline(t)
}

// Write writes all of p, waiting at most the write timeout for the client to read; after an error the connection is closed,
// because the client can no longer tell where a packet begins.
func (c *conn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	n, err := 0, c.sock.drain(c.writeTimeout)
	if err == nil && len(p) > 0 {
		if c.sock.raw == nil {
			_ = c.sock.Conn.SetWriteDeadline(time.Now().Add(c.writeTimeout))
		}
		if n, err = c.Conn.Write(p); err == nil {
			err = c.sock.drain(c.writeTimeout)
		}
	}
	if err != nil {
		if c.session != nil {
			c.session.because(slowReader) // before the reader learns of it
		}
		_ = c.Close()
		return n, err
	}
	return n, nil
}

// tryWrite writes p if the socket takes it at once; it never waits. Otherwise it reports false, and the caller has another
// goroutine Write the left bytes, which are p or, if they are on the way already, nothing: the socket keeps those itself.
func (c *conn) tryWrite(p []byte) (left []byte, complete bool, err error) {
	if c.sock.raw == nil || !c.wmu.TryLock() {
		return p, false, nil
	}
	defer c.wmu.Unlock()
	if c.sock.pending() {
		return p, false, nil
	}
	if _, err := c.Conn.Write(p); err != nil {
		return nil, true, err
	}
	return nil, !c.sock.pending(), nil
}

// firstPacket checks that a connection begins with a CONNECT of bounded size.
type firstPacket struct {
	max     int
	passed  bool
	cleared bool // the CONNECT's deadline has been replaced by the keep-alive
	seen    int  // bytes of the fixed header
	length  int
}

func (f *firstPacket) check(p []byte) error {
	for _, b := range p {
		f.seen++
		if f.seen == 1 {
			if b != packets.Connect<<4 {
				return packets.ErrProtocolViolationRequireFirstConnect
			}
			continue
		}
		f.length |= int(b&0x7f) << (7 * (f.seen - 2))
		if f.length > f.max {
			return packets.ErrPacketTooLarge
		}
		if b&0x80 == 0 {
			f.passed = true
			return nil
		}
		if f.seen == 5 {
			return packets.ErrMalformedVariableByteInteger
		}
	}
	return nil
}
