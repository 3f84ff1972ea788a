package gateway

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Limits bound what devices send after they have logged in. A connection whose device or tenant is over a limit is read more
// slowly; nothing is dropped. 0 switches a limit off.
type Limits struct {
	DeviceMessages float64       `mapstructure:"device_messages" help:"packets a second of one device, over all its connections; above it the device is read more slowly, nothing is dropped; 0: no limit"`
	DeviceBytes    float64       `mapstructure:"device_bytes" help:"bytes a second of one device; above it the device is read more slowly; 0: no limit"`
	TenantMessages float64       `mapstructure:"tenant_messages" help:"packets a second of all devices of a tenant; above it all of them are read more slowly; 0: no limit"`
	TenantBytes    float64       `mapstructure:"tenant_bytes" help:"bytes a second of all devices of a tenant; 0: no limit"`
	Burst          time.Duration `mapstructure:"burst" help:"what a limit allows in this time may come at once"`
}

// limit names one of the four.
type limit int

const (
	deviceMessages limit = iota
	deviceBytes
	tenantMessages
	tenantBytes
	limits
)

func (l limit) String() string {
	return [...]string{"device_messages", "device_bytes", "tenant_messages", "tenant_bytes"}[l]
}

func (l Limits) rates() [limits]float64 {
	return [limits]float64{l.DeviceMessages, l.DeviceBytes, l.TenantMessages, l.TenantBytes}
}

func (l Limits) validate(maxPacket int) error {
	var errs []error
	for i, v := range l.rates() {
		low := 1.0
		if limit(i) == deviceBytes || limit(i) == tenantBytes {
			low = float64(maxPacket) // what is allowed in a second must hold any packet
		}
		if v != 0 && (v < low || v > 1e12 || math.IsNaN(v)) {
			errs = append(errs, fmt.Errorf("gateway.limits.%s %v: want 0 (off) or %v to 1e12", limit(i), v, low))
		}
	}
	if l.Burst <= 0 || l.Burst > time.Hour {
		errs = append(errs, fmt.Errorf("gateway.limits.burst %s: want more than 0 and at most 1h", l.Burst))
	}
	return errors.Join(errs...)
}

const (
	maxSlice    = time.Second      // longest pause before one packet
	maxDebt     = 30 * time.Second // what many connections can get a tenant behind
	minPause    = time.Millisecond // less stays in the account until it is worth a timer
	maxChunk    = 64               // packets between two looks into the accounts
	maxByteSlab = 64 << 10         // bytes between two looks
)

// allowance is a token bucket as a point in time: when everything spent will have been earned. Before now, something is
// saved up; behind it lies debt. It is one atomic word, so that thousands of connections can share a tenant's.
type allowance struct{ paid atomic.Int64 } // unix nanoseconds

// spend takes n at rate a second and returns how long the spender has to wait until that is earned.
func (a *allowance) spend(now int64, n int, rate float64, burst time.Duration) time.Duration {
	if rate == 0 {
		return 0
	}
	for {
		old := a.paid.Load()
		paid := max(old, now-int64(burst)) + int64(float64(n)/rate*float64(time.Second))
		paid = min(paid, now+int64(maxDebt))
		if a.paid.CompareAndSwap(old, paid) {
			return time.Duration(max(paid-now, 0))
		}
	}
}

// account is what a device or a tenant may send.
type account struct{ messages, bytes allowance }

// full reports whether nothing is spent: then a new account is as good.
func (a *account) full(now time.Time, burst time.Duration) bool {
	return max(a.messages.paid.Load(), a.bytes.paid.Load()) <= now.Add(-burst).UnixNano()
}

// meter counts what one connection sends. It looks into the accounts, and at the clock, once every chunk of packets: what was
// sent is charged afterwards, so that a device that says little never waits for a noisy one of its tenant, and the ordinary
// packet costs two additions. A connection in debt pauses before each packet, for a slice of a second at most: a few packets
// get through whatever happens, so that a keep-alive packet among them is answered and no limit looks like a dead server.
type meter struct {
	device, tenant *account
	chunk, slab    int // settle at so many packets or bytes
	slice          time.Duration
	messages       int // since the last look
	bytes          int
	owed           int64 // unix nanoseconds until which the connection is to be slow; 0: it is not
	by             limit
	timer          *time.Timer
}

func (g *Gateway) newMeter(device, tenant *account, pause time.Duration) meter {
	m := meter{device: device, tenant: tenant, chunk: math.MaxInt, slab: math.MaxInt, slice: min(maxSlice, pause/2)}
	for i, rate := range g.cfg.Limits.rates() {
		part := max(int(rate/50), 1)
		switch l := limit(i); {
		case rate == 0:
		case l == deviceMessages || l == tenantMessages:
			m.chunk = min(m.chunk, maxChunk, part)
		default:
			m.slab = min(m.slab, maxByteSlab, part)
		}
	}
	return m
}

// pass counts a packet whose remaining length is n, and pauses the connection if it has to be slow: false when it ended
// meanwhile.
func (m *meter) pass(s *session, n int) bool {
	m.messages++
	m.bytes += n + 2
	if m.messages < m.chunk && m.bytes < m.slab && m.owed == 0 {
		return true
	}
	return m.settle(s)
}

func (m *meter) settle(s *session) bool {
	now := time.Now().UnixNano()
	if m.messages >= m.chunk || m.bytes >= m.slab {
		m.charge(now, &s.g.cfg.Limits)
	}
	wait := time.Duration(m.owed - now)
	if m.owed == 0 || wait < minPause {
		m.owed = 0
		return true
	}
	if wait <= m.slice {
		m.owed = 0
	}
	return m.sleep(s, min(wait, m.slice))
}

func (m *meter) charge(now int64, l *Limits) {
	for i, wait := range [limits]time.Duration{
		m.device.messages.spend(now, m.messages, l.DeviceMessages, l.Burst),
		m.device.bytes.spend(now, m.bytes, l.DeviceBytes, l.Burst),
		m.tenant.messages.spend(now, m.messages, l.TenantMessages, l.Burst),
		m.tenant.bytes.spend(now, m.bytes, l.TenantBytes, l.Burst),
	} {
		if until := now + int64(wait); wait > 0 && until > m.owed {
			m.owed, m.by = until, limit(i)
		}
	}
	m.messages, m.bytes = 0, 0
}

func (m *meter) sleep(s *session, d time.Duration) bool {
	if m.timer == nil {
		m.timer = time.NewTimer(d)
	} else {
		m.timer.Reset(d)
	}
	s.g.m.limited[m.by].Add(d.Seconds())
	select {
	case <-m.timer.C:
		return true
	case <-s.ctx.Done():
		m.timer.Stop()
		return false
	}
}

// accountOf finds what a device may send: that of its other connections, or of one that ended in debt. Under Gateway.mu.
func (g *Gateway) accountOf(s *session) *account {
	if s.first != nil {
		return new(account) // who knows the model's secret must not use up what the device may send
	}
	for _, other := range g.devices[s.key] {
		if other.first == nil {
			return other.meter.device
		}
	}
	if a := g.owing[s.key]; a != nil {
		delete(g.owing, s.key)
		return a
	}
	return new(account)
}

// tenantAccount is made at a tenant's first log-in and kept: there are as many as the registry has tenants. Under Gateway.mu.
func (g *Gateway) tenantAccount(tenant string) *account {
	a := g.tenants[tenant]
	if a == nil {
		a = new(account)
		g.tenants[tenant] = a
	}
	return a
}

// keepAccount remembers what a device that is gone has spent, so that connecting again wins nothing. Under Gateway.mu.
func (g *Gateway) keepAccount(s *session) {
	if a := s.meter.device; s.first == nil && a != nil && len(g.devices[s.key]) == 0 && !a.full(time.Now(), g.cfg.Limits.Burst) {
		g.owing[s.key] = a
	}
}

func (g *Gateway) forgetAccounts(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, a := range g.owing {
		if a.full(now, g.cfg.Limits.Burst) {
			delete(g.owing, key)
		}
	}
}
