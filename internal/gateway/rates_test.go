package gateway

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"aftercare/internal/fleet"
)

// metered is a gateway with limits, and connections of which only the meter is used.
func metered(t *testing.T, l Limits) (*Gateway, func(serial string) *session) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Limits = l
	g, err := New(cfg, Deps{Ingest: newInbox(false), Auth: &keys{}})
	if err != nil {
		t.Fatal(err)
	}
	return g, func(serial string) *session {
		s := &session{g: g, key: fleet.DeviceKey{Tenant: "demo", Serial: serial}, ctx: t.Context(), cancel: func() {}}
		s.meter = g.newMeter(g.accountOf(s), g.tenantAccount("demo"), time.Minute)
		g.devices[s.key] = append(g.devices[s.key], s)
		return s
	}
}

// SEC-06: over a long time a device gets what its limit says, by waiting; another one never waits for it.
func TestSEC06NoisyDeviceWaitsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, connect := metered(t, Limits{DeviceMessages: 1000, DeviceBytes: 1 << 20, TenantMessages: 100_000, TenantBytes: 64 << 20, Burst: time.Second})
		noisy, other, quiet := connect("A1"), connect("A1"), connect("A2")
		begin := time.Now()
		stop := make(chan int)
		run := func(s *session) {
			n := 0
			for time.Since(begin) < 20*time.Second && s.meter.pass(s, 100) {
				n++
			}
			stop <- n
		}
		go run(noisy)
		go run(other) // a second connection of the same device gets no second allowance
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			was := time.Now()
			quiet.meter.pass(quiet, 100)
			if waited := time.Since(was); waited != 0 {
				t.Errorf("a quiet device waited %v", waited)
			}
		}
		n := <-stop + <-stop
		if n < 20_000 || n > 22_500 { // 20 s and the burst
			t.Errorf("%d messages in 20 s, want 21,000", n)
		}
	})
}

// Bytes are limited too, and the largest packet fits.
func TestSEC06BytesPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, connect := metered(t, Limits{DeviceBytes: 64 << 10, Burst: time.Second})
		s := connect("A1")
		begin := time.Now()
		for range 31 {
			was := time.Now()
			s.meter.pass(s, 64<<10-2)
			if waited := time.Since(was); waited > maxSlice {
				t.Errorf("one packet waited %v", waited)
			}
		}
		if took := time.Since(begin); took < 29*time.Second || took > 31*time.Second {
			t.Errorf("31 packets took %v", took)
		}
	})
}

// However many connections a tenant's limit is shared by, each gets a packet through every second, so that a keep-alive is
// answered, and the pause ends with the connection.
func TestSEC06PausesAreSliced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, connect := metered(t, Limits{TenantMessages: 10, Burst: time.Second})
		done := make(chan struct{})
		for range 100 {
			s := connect("A1")
			go func() {
				for range 10 {
					was := time.Now()
					s.meter.pass(s, 0)
					if waited := time.Since(was); waited > maxSlice {
						t.Errorf("one packet waited %v", waited)
					}
				}
				done <- struct{}{}
			}()
		}
		for range 100 {
			<-done
		}
		s := connect("A2")
		ctx, cancel := context.WithCancel(t.Context())
		s.ctx = ctx
		time.AfterFunc(10*time.Millisecond, cancel)
		was := time.Now()
		for s.meter.pass(s, 0) {
		}
		if waited := time.Since(was); waited != 10*time.Millisecond {
			t.Errorf("ended after %v", waited)
		}
	})
}

// A device that connects again still owes what it owed.
func TestSEC06ReconnectWinsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, connect := metered(t, Limits{DeviceMessages: 100, Burst: time.Second})
		s := connect("A1")
		for range 200 {
			s.meter.pass(s, 0)
		}
		delete(g.devices, s.key)
		g.keepAccount(s)
		if again := connect("A1"); again.meter.device != s.meter.device {
			t.Error("a new account")
		}
		delete(g.devices, s.key)
		g.keepAccount(s)
		time.Sleep(time.Minute)
		g.forgetAccounts(time.Now())
		if len(g.owing) != 0 {
			t.Error("kept for ever")
		}
	})
}

func TestMeterAllocatesNothing(t *testing.T) {
	_, connect := metered(t, Limits{DeviceMessages: 1e9, DeviceBytes: 1e12, TenantMessages: 1e9, TenantBytes: 1e12, Burst: time.Second})
	s := connect("A1")
	if n := testing.AllocsPerRun(1000, func() { s.meter.pass(s, 100) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLimitsValidate(t *testing.T) {
	for _, bad := range []Limits{{Burst: 0}, {DeviceMessages: 0.5, Burst: 1}, {DeviceBytes: 1000, Burst: 1}, {TenantMessages: -1, Burst: 1},
		{TenantBytes: math.NaN(), Burst: 1}, {Burst: 2 * time.Hour}} {
		if bad.validate(64<<10) == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if err := (Limits{Burst: time.Second}).validate(64 << 10); err != nil {
		t.Error(err)
	}
}
