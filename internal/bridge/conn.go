package bridge

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"
)

// maxUnsent bounds what a conn holds for a broker that does not read.
const maxUnsent = 64 << 10

// conn is a connection for paho, which reads two bytes at a time and writes each acknowledgement alone: reads are buffered,
// and what is written while a write is under way goes out together in the next.
type conn struct {
	net.Conn
	r       *bufio.Reader
	timeout time.Duration

	mu      sync.Mutex
	changed sync.Cond // buf emptied, something added, or closing
	buf     []byte
	err     error
	closing bool
	linger  bool          // Close waits for the broker to close first
	done    chan struct{} // the writer is gone

	once  sync.Once
	ended chan struct{} // a read failed: the broker has closed, or the connection is broken
}

func dial(ctx context.Context, u *url.URL, cfg Config) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	var nc net.Conn
	var err error
	if schemes[u.Scheme] {
		var t *tls.Config
		if t, err = cfg.tls(); err != nil { // read each time: certificates are renewed
			return nil, err
		}
		nc, err = (&tls.Dialer{Config: t}).DialContext(ctx, "tcp", u.Host)
	} else {
		nc, err = new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	}
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", u.Host, err)
	}
	return newConn(nc, cfg.WriteTimeout), nil
}

func newConn(nc net.Conn, timeout time.Duration) *conn {
	c := &conn{Conn: nc, r: bufio.NewReaderSize(nc, 64<<10), timeout: timeout, done: make(chan struct{}),
		ended: make(chan struct{})}
	c.changed.L = &c.mu
	go c.write()
	return c
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil {
		c.once.Do(func() { close(c.ended) })
	}
	return n, err
}

// SetDeadline bounds reading; the writer has its own deadline.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing: the writer has its own deadline.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Write queues p; it waits only for a broker that does not read. Errors show with a later call.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && !c.closing && len(c.buf) > maxUnsent {
		c.changed.Wait()
	}
	if c.err != nil {
		return 0, c.err
	}
	if c.closing {
		return 0, net.ErrClosed
	}
	c.buf = append(c.buf, p...)
	c.changed.Broadcast()
	return len(p), nil
}

func (c *conn) write() {
	defer close(c.done)
	var out []byte
	for {
		c.mu.Lock()
		for len(c.buf) == 0 && !c.closing {
			c.changed.Wait()
		}
		if len(c.buf) == 0 {
			c.mu.Unlock()
			return
		}
		out, c.buf = c.buf, out[:0]
		c.changed.Broadcast()
		c.mu.Unlock()
		_ = c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
		if _, err := c.Conn.Write(out); err != nil {
			c.mu.Lock()
			c.err = err
			c.changed.Broadcast()
			c.mu.Unlock()
			c.abort()
			return
		}
	}
}

// abort makes paho lose the connection at once. It takes a closed socket for its own doing and would notice at the next ping.
func (c *conn) abort() { _ = c.SetReadDeadline(time.Unix(1, 0)) }

// goodbye makes Close wait for the broker, which closes when it has read DISCONNECT. Closing first would lose acknowledgements
// that it has not read yet, if it writes to us meanwhile.
func (c *conn) goodbye() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = true
}

// Close sends what is queued (paho closes right behind its DISCONNECT) and closes. It waits a second at most.
func (c *conn) Close() error {
	c.mu.Lock()
	c.closing = true
	linger := c.linger
	c.changed.Broadcast()
	c.mu.Unlock()
	late := time.After(min(time.Second, c.timeout))
	select {
	case <-c.done:
	case <-late:
		linger = false
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && linger && half.CloseWrite() == nil {
		select {
		case <-c.ended:
		case <-late:
		}
	}
	err := c.Conn.Close()
	<-c.done
	return err
}
