package gateway

import (
	"net"
	"sync"
	"time"
)

// conn is a device's connection. It orders the writes of its reader, which answers, and of the flusher.
type conn struct {
	net.Conn     // the socket itself, or TLS or WebSocket on it
	sock         *socket
	transport    Transport
	writeTimeout time.Duration
	host         string      // remote address without port
	cert         *clientCert // nil without one

	in      framer   // reader only
	session *session // set once, before the session can be found by anybody else

	wmu sync.Mutex
}

func newConn(nc net.Conn, t Transport, c Config) *conn {
	host, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil {
		host = nc.RemoteAddr().String()
	}
	sock := newSocket(nc)
	return &conn{Conn: sock, sock: sock, transport: t, writeTimeout: c.WriteTimeout, host: host}
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
