package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// Transport is a way to reach the gateway.
type Transport int

// The transports.
const (
	TCP Transport = iota
	TLS
	WS
	WSS
	transports
)

func (t Transport) String() string { return [...]string{"tcp", "tls", "ws", "wss"}[t] }

func (t Transport) encrypted() bool { return t == TLS || t == WSS }
func (t Transport) webSocket() bool { return t == WS || t == WSS }

// address returns where the configuration wants the transport; empty: nowhere.
func (c Config) address(t Transport) string {
	return [...]string{c.Listen, c.TLS.Listen, c.WS.Listen, c.WS.TLSListen}[t]
}

// Addresses returns what the gateway will listen on by the key of the setting.
func (c Config) Addresses() map[string]string {
	out := map[string]string{}
	for t := range transports {
		if a := c.address(t); a != "" {
			out[t.key()] = a
		}
	}
	return out
}

func (t Transport) key() string {
	return "gateway." + [...]string{"listen", "tls.listen", "ws.listen", "ws.tls_listen"}[t]
}

// handshakeError is why TLS or WebSocket did not come about; reason is the metric's.
type handshakeError struct {
	reason string
	err    error
}

func (e *handshakeError) Error() string { return e.reason + ": " + e.err.Error() }

func (e *handshakeError) Unwrap() error { return e.err }

// Addr is the address for plain TCP; nil before Ready, and when it is off.
func (g *Gateway) Addr() net.Addr { return g.AddrOf(TCP) }

// AddrOf is the address of a transport; nil before Ready, and when it is off.
func (g *Gateway) AddrOf(t Transport) net.Addr {
	if all := g.addrs.Load(); all != nil {
		return all[t]
	}
	return nil
}

// listen opens every address that is set, or none.
func (g *Gateway) listen(ctx context.Context) ([transports]net.Listener, error) {
	var lns [transports]net.Listener
	var addrs [transports]net.Addr
	for t := range transports {
		address := g.cfg.address(t)
		if address == "" {
			continue
		}
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			closeAll(lns)
			return lns, fmt.Errorf("gateway: listen on %s %q: %w", t.key(), address, err)
		}
		lns[t], addrs[t] = ln, ln.Addr()
		g.log.Info("mqtt gateway listens", "transport", t.String(), "address", ln.Addr().String())
	}
	g.addrs.Store(&addrs)
	return lns, nil
}

func closeAll(lns [transports]net.Listener) {
	for _, ln := range lns {
		if ln != nil {
			_ = ln.Close()
		}
	}
}

// accept hands each connection to a goroutine of its own.
func (g *Gateway) accept(ctx context.Context, t Transport, ln net.Listener) {
	delay := time.Duration(0)
	for {
		nc, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, or a connection that ended while it waited: both pass.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			g.log.Warn("mqtt gateway cannot accept", "error", err, "again_in", delay)
			select {
			case <-ctx.Done():
				return
			case <-time.After(delay):
			}
			continue
		}
		delay = 0
		g.start(nc, t)
	}
}

// start takes a connection if there is room for it. All limits before the handshakes are here.
func (g *Gateway) start(nc net.Conn, t Transport) {
	c := newConn(nc, t, g.cfg)
	if g.conns.Load() >= int64(g.cfg.MaxClients) {
		g.m.connects.WithLabelValues("full").Inc()
		_ = nc.Close()
		return
	}
	if !g.rates.allow(c.host, time.Now()) {
		g.m.connects.WithLabelValues("rate").Inc()
		_ = nc.Close()
		return
	}
	g.mu.Lock()
	if g.closing.Load() { // under mu: shutdown must not miss a connection, nor wait before it is counted
		g.mu.Unlock()
		_ = nc.Close()
		return
	}
	g.all[c] = struct{}{}
	g.conns.Add(1)
	g.readers.Add(1)
	g.mu.Unlock()
	g.m.connections.Inc()
	go func() {
		defer g.readers.Done()
		g.serve(c)
	}()
}

// serve runs one connection to its end.
func (g *Gateway) serve(c *conn) {
	deadline := time.Now().Add(g.cfg.ConnectTimeout)
	err := g.handshake(c, deadline)
	if err == nil {
		c.in.start(c, &g.buffers, g.cfg.MaxConnect, deadline)
		err = g.attach(c)
	}
	_ = c.Close()
	if c.session != nil {
		g.ended(c.session, err)
	} else {
		g.notConnected(c, err)
	}
	g.mu.Lock()
	delete(g.all, c)
	g.mu.Unlock()
	g.conns.Add(-1)
	g.m.connections.Dec()
}

// handshake does those of the transport. They and the CONNECT after them share one deadline, which no byte moves.
func (g *Gateway) handshake(c *conn, deadline time.Time) error {
	_ = c.SetReadDeadline(deadline)
	if c.transport == TCP {
		return nil
	}
	c.sock.handshake(deadline)
	if c.transport.encrypted() {
		if err := g.secure(c); err != nil {
			return err
		}
	}
	if c.transport.webSocket() {
		if err := g.upgrade(c); err != nil {
			return err
		}
		_ = c.SetReadDeadline(deadline) // the upgrade clears it
	}
	c.sock.handshake(time.Time{})
	return nil
}

// secure does the TLS handshake and notes whom the client's certificate names.
func (g *Gateway) secure(c *conn) error {
	now := g.trust.now.Load()
	peer := tls.Server(c.sock, now.config[c.transport])
	if err := peer.HandshakeContext(g.ctx); err != nil {
		return &handshakeError{tlsReason(err), err}
	}
	if certs := peer.ConnectionState().PeerCertificates; len(certs) > 0 {
		key, err := g.cfg.TLS.identify(certs[0]) // once more: VerifyConnection has nowhere to put it
		if err != nil {
			return &handshakeError{tlsReason(err), err}
		}
		c.cert = &clientCert{key: key, until: certs[0].NotAfter, peer: peer}
		c.cert.checked.Store(now)
	}
	c.Conn = peer
	return nil
}
