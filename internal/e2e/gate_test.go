package e2e

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// gate is a TCP proxy in front of a server that is to go away: connections are refused, as when its process has ended, or accepted
// and never answered, as when it or its disk is stuck. What was sent to a stuck server reaches it when it goes on.
type gate struct {
	addr, to string

	mu     sync.Mutex
	ln     net.Listener
	conns  map[net.Conn]bool
	moving chan struct{} // closed: bytes pass
	gone   bool
	wg     sync.WaitGroup
}

// newGate opens a gate in front of to until the test ends.
func newGate(t testing.TB, to string) *gate {
	t.Helper()
	g := &gate{addr: "127.0.0.1:0", to: to, conns: map[net.Conn]bool{}, moving: make(chan struct{})}
	close(g.moving)
	if err := g.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.refuse()
		g.flow()
		g.wg.Wait()
	})
	return g
}

func (g *gate) listen() error {
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", g.addr)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.ln, g.addr, g.gone = ln, ln.Addr().String(), false
	g.mu.Unlock()
	g.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			g.wg.Go(func() { g.pass(c) })
		}
	})
	return nil
}

// refuse cuts what is connected and listens no more.
func (g *gate) refuse() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = true
	_ = g.ln.Close()
	for c := range g.conns {
		_ = c.Close()
	}
}

// stall holds every byte back in both directions.
func (g *gate) stall() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.moving = make(chan struct{})
}

// flow lets bytes pass again.
func (g *gate) flow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.moving:
	default:
		close(g.moving)
	}
}

func (g *gate) wait() {
	g.mu.Lock()
	moving := g.moving
	g.mu.Unlock()
	<-moving
}

// keep remembers a connection; false when the gate is shut, and then it is closed.
func (g *gate) keep(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		_ = c.Close()
		return false
	}
	g.conns[c] = true
	return true
}

func (g *gate) drop(c net.Conn) {
	_ = c.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

func (g *gate) pass(client net.Conn) {
	if !g.keep(client) {
		return
	}
	defer g.drop(client)
	g.wait()
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", g.to)
	if err != nil || !g.keep(server) {
		return
	}
	defer g.drop(server)
	var both sync.WaitGroup
	both.Go(func() { g.copy(server, client) })
	both.Go(func() { g.copy(client, server) })
	both.Wait()
}

// copy moves bytes while the gate is open and ends both connections when one ends.
func (g *gate) copy(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		g.wait()
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			if err != io.EOF { //nolint:errorlint // as io.Copy compares it
				_ = from.Close()
			}
			_ = to.Close()
			return
		}
	}
}
