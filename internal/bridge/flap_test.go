package bridge

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy is a network between the bridge and a broker that can be made to misbehave.
type proxy struct {
	t      *testing.T
	ln     net.Listener
	target string

	mu    sync.Mutex
	pairs []pair
	wg    sync.WaitGroup
}

type pair struct {
	near, far *net.TCPConn
	dead      *atomic.Bool
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, ln: ln, target: target}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) accept() {
	for {
		near, err := p.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		c := pair{near.(*net.TCPConn), far.(*net.TCPConn), new(atomic.Bool)}
		p.mu.Lock()
		p.pairs = append(p.pairs, c)
		p.mu.Unlock()
		p.wg.Go(func() { p.down(c) })
		p.wg.Go(func() { _, _ = io.Copy(c.far, c.near); _ = c.far.CloseWrite() })
	}
}

// each does something to all connections there are.
func (p *proxy) each(do func(pair)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.pairs {
		do(c)
	}
}

// cut resets both sides in the middle of whatever is under way.
func (p *proxy) cut() {
	p.each(func(c pair) {
		_, _ = c.near.SetLinger(0), c.far.SetLinger(0)
		_, _ = c.near.Close(), c.far.Close()
	})
	p.mu.Lock()
	p.pairs = nil
	p.mu.Unlock()
}

// half ends only the direction from the broker to the bridge.
func (p *proxy) half() { p.each(func(c pair) { _ = c.near.CloseWrite() }) }

// down copies from the broker to the bridge; on a connection that stalled it goes on reading and tells nobody.
func (p *proxy) down(c pair) {
	buf := make([]byte, 4096)
	for {
		n, err := c.far.Read(buf)
		dead := c.dead.Load()
		if !dead {
			_, _ = c.near.Write(buf[:n])
		}
		if err != nil {
			if !dead {
				_ = c.near.CloseWrite()
			}
			return
		}
	}
}

// stall lets nothing through from the broker any more, and nobody is told.
func (p *proxy) stall() { p.each(func(c pair) { c.dead.Store(true) }) }

// A network that cuts, half-closes and goes dead in the middle of traffic loses nothing, and what is first seen is in order.
func TestNetworkFlap(t *testing.T) {
	t.Parallel()
	m := newRealBroker(t)
	net := newProxy(t, m.addr)
	in := newInbox(false)
	r := start(t, net.addr(), in, patient, func(c *Config) { c.KeepAlive = time.Second })
	eventually(t, "subscribed", r.subscribed)
	p := &publisher{t: t, addr: m.addr}
	want := make([]string, 0, 360)
	for round, harm := range []func(){net.cut, net.half, net.cut, net.cut, net.half, net.cut} {
		for i := range 60 {
			payload := fmt.Sprintf(`{"round":%d,"seq":%d}`, round, i)
			p.publish(payload)
			want = append(want, payload)
			if i == 30 {
				harm()
			}
		}
		in.until(t, "all of a round", func() bool { return len(in.firsts()) == len(want) })
	}
	if got := in.firsts(); !slices.Equal(got, want) {
		t.Errorf("order of first arrival: %v", got)
	}
	if r.metric("connects_total", "lost") == 0 {
		t.Error("no connection was lost")
	}
	p.close()
}

// A connection that is open and dead is found out by the keep-alive.
func TestNetworkStall(t *testing.T) {
	t.Parallel()
	m := newRealBroker(t)
	net := newProxy(t, m.addr)
	in := newInbox(false)
	r := start(t, net.addr(), in, patient, func(c *Config) { c.KeepAlive = time.Second })
	eventually(t, "subscribed", r.subscribed)
	net.stall()
	p := &publisher{t: t, addr: m.addr}
	for i := range 20 {
		p.publish(fmt.Sprint(i))
	}
	in.until(t, "what was published meanwhile", func() bool { return len(in.firsts()) == 20 })
	if r.metric("connects_total", "lost") != 1 {
		t.Error("the dead connection was not left")
	}
	p.close()
}
