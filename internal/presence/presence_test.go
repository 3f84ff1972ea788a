package presence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
)

// registry is the devices and models of a test.
type registry struct {
	mu      sync.Mutex
	devices map[fleet.DeviceKey]*fleet.Device
}

func (r *registry) Device(key fleet.DeviceKey) (*fleet.Device, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.devices[key]
	return d, ok
}

func (r *registry) Model(id string) (*fleet.Model, bool) {
	switch id {
	case "minute":
		return &fleet.Model{ID: id, Interval: time.Minute}, true
	case "second":
		return &fleet.Model{ID: id, Interval: time.Second}, true
	case "never":
		return &fleet.Model{ID: id}, true
	}
	return nil, false
}

func (r *registry) add(serial, model, parent string) *fleet.Device {
	d := &fleet.Device{Key: key(serial), Model: model, Parent: parent}
	r.put(d)
	return d
}

func (r *registry) put(d *fleet.Device) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.devices[d.Key] = d
}

func key(serial string) fleet.DeviceKey { return fleet.DeviceKey{Tenant: "t", Serial: serial} }

// shelf keeps snapshots.
type shelf struct {
	mu     sync.Mutex
	bodies map[string][]byte
	saves  int
}

func (s *shelf) Save(_ context.Context, key string, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(body) > 1<<20 {
		return errors.New("larger than 1 MiB")
	}
	s.bodies[key] = slices.Clone(body)
	s.saves++
	return nil
}

func (s *shelf) Load(_ context.Context, key string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.bodies[key]
	return b, ok, nil
}

// bed is a tracker with all around it.
type bed struct {
	t     *testing.T
	reg   *registry
	shelf *shelf
	tr    *Tracker
	stop  func()
	mu    sync.Mutex
	said  []string // "serial online|offline cause" in the order of Record
	full  []fleet.Reading
	err   error
	ahead time.Duration // our clock, of the time that passes
	away  bool          // the doors wait
}

func (b *bed) set(fn func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn()
}

func (b *bed) now() (now time.Time) {
	b.set(func() { now = time.Now().Add(b.ahead) })
	return now
}

func (b *bed) stalled() (away bool) {
	b.set(func() { away = b.away })
	return away
}

func newBed(t *testing.T) *bed {
	return &bed{t: t, reg: &registry{devices: map[fleet.DeviceKey]*fleet.Device{}}, shelf: &shelf{bodies: map[string][]byte{}}}
}

func (b *bed) Record(_ context.Context, rs []fleet.Reading) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	for _, r := range rs {
		if r.Device.Serial == "bad" {
			return fleet.Errorf(fleet.CodeInvalid, "not to be recorded")
		}
	}
	for _, r := range rs {
		word := "offline"
		if r.Fields[0].Value.Int == 1 {
			word = "online"
		}
		b.said = append(b.said, fmt.Sprintf("%s %s %s", r.Device.Serial, word, r.Fields[1].Value.Str))
		b.full = append(b.full, r)
	}
	return nil
}

func (b *bed) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *bed) start() {
	b.tr = New(DefaultConfig(), Deps{Devices: b.reg, Models: b.reg, Record: b.Record, Snapshots: b.shelf, Log: obs.Discard(),
		Metrics: prometheus.NewRegistry(), Now: b.now, Stalled: b.stalled})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.tr.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	}
	synctest.Wait()
}

// want waits and compares what was recorded since the last call, in the order of each device.
func (b *bed) want(after time.Duration, want ...string) {
	b.t.Helper()
	time.Sleep(after)
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	got := slices.Clone(b.said)
	b.said = nil
	slices.SortStableFunc(got, cmpSerial)
	slices.SortStableFunc(want, cmpSerial)
	if !slices.Equal(got, want) {
		b.t.Errorf("recorded %q\n    want %q", got, want)
	}
}

func cmpSerial(x, y string) int {
	var a, b string
	fmt.Sscan(x, &a)
	fmt.Sscan(y, &b)
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

func run(t *testing.T, fn func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.start()
		fn(b)
		b.stop()
	})
}

func TestConnectionAndSilence(t *testing.T) {
	run(t, func(b *bed) {
		d := b.reg.add("a", "minute", "")
		b.reg.add("b", "minute", "") // never heard: not known, nothing is said of it
		b.tr.Connected(d.Key, time.Now())
		b.want(2*time.Second, "a online connected")
		time.Sleep(time.Minute)
		b.tr.Heard(d, time.Now())
		b.want(3*time.Minute-time.Second, []string{}...)
		b.want(3*time.Second, "a offline silent")
		if l, ok := b.tr.State(d.Key); !ok || l.Online || !l.Connected || l.Cause != fleet.CauseSilent || time.Since(l.Heard) < 3*time.Minute {
			t.Errorf("connected and silent: %+v, %v", l, ok)
		}
		b.tr.Heard(d, time.Now())
		b.want(2*time.Second, "a online heard")
		b.tr.Disconnected(d.Key, fleet.CauseLost, time.Now())
		b.want(time.Hour, "a offline lost")
		if _, ok := b.tr.State(key("b")); ok {
			t.Error("a device that was never heard has a state")
		}
		last := b.full[len(b.full)-1]
		if last.Class != fleet.Presence || last.Model != "minute" || time.Since(last.Time) < time.Hour || len(last.Fields) != 2 {
			t.Errorf("%+v", last)
		}
	})
}

func TestShortIntervalsHaveAFloorAndNoIntervalNoSilence(t *testing.T) {
	run(t, func(b *bed) {
		b.tr.Heard(b.reg.add("a", "second", ""), time.Now())
		b.tr.Heard(b.reg.add("b", "never", ""), time.Now())
		b.tr.Heard(b.reg.add("c", "no such model", ""), time.Now())
		b.want(59*time.Second, "a online heard", "b online heard", "c online heard")
		b.want(10*time.Hour, "a offline silent")
	})
}

func TestAMessageFromBeforeTheGoodbyeIsNoReturn(t *testing.T) {
	run(t, func(b *bed) {
		d := b.reg.add("a", "minute", "")
		b.tr.Connected(d.Key, time.Now())
		time.Sleep(time.Second)
		b.tr.Disconnected(d.Key, fleet.CauseDisconnected, time.Now())
		b.tr.Heard(d, time.Now().Add(-time.Millisecond)) // it waited in ingest
		b.want(2*time.Second, "a online connected", "a offline disconnected")
	})
}

func TestWhatIsReported(t *testing.T) {
	run(t, func(b *bed) {
		d := b.reg.add("a", "minute", "")
		b.tr.Reported(d, true, "", time.Now())
		time.Sleep(time.Second)
		b.tr.Reported(d, false, fleet.CauseWill, time.Now())
		b.tr.Disconnected(d.Key, fleet.CauseLost, time.Now())
		b.want(time.Hour, "a online heard", "a offline will")
		b.tr.Reported(b.reg.add("b", "minute", ""), false, "", time.Now())
		b.want(2*time.Second, "b offline disconnected")
	})
}

func TestOldReportsAreNoNews(t *testing.T) {
	run(t, func(b *bed) {
		a, c := b.reg.add("a", "minute", ""), b.reg.add("c", "minute", "")
		b.tr.Reported(a, true, "", time.Now().Add(-time.Hour)) // retained by a broker
		b.tr.Heard(c, time.Now())
		b.tr.Reported(c, false, "", time.Now().Add(-time.Hour)) // uploaded with its past
		b.tr.Reported(c, true, "", time.Now().Add(1000*time.Hour))
		b.want(2*time.Second, "c online heard")
		b.tr.Reported(c, false, "", time.Now().Add(-10*time.Second)) // its clock is behind
		b.want(2*time.Second, "c offline disconnected")
	})
}

func TestOneReadingThatCannotBeRecordedStopsNoOther(t *testing.T) {
	run(t, func(b *bed) {
		for _, s := range []string{"a", "bad", "c"} {
			b.tr.Heard(b.reg.add(s, "minute", ""), time.Now())
		}
		b.want(2*time.Second, "a online heard", "c online heard")
		b.tr.Disconnected(key("a"), fleet.CauseLost, time.Now())
		b.want(2*time.Second, "a offline lost")
	})
}

func TestRecordIsTriedAgainInOrder(t *testing.T) {
	run(t, func(b *bed) {
		d := b.reg.add("a", "minute", "")
		b.fail(errors.New("journal is away"))
		for range 2 {
			b.tr.Connected(d.Key, time.Now())
			b.tr.Disconnected(d.Key, fleet.CauseLost, time.Now())
			time.Sleep(10 * time.Second)
		}
		b.fail(nil)
		b.want(2*time.Second, "a online connected", "a offline lost", "a online connected", "a offline lost")
		for i := 1; i < len(b.full); i++ {
			if !b.full[i].Time.After(b.full[i-1].Time) {
				t.Errorf("the times of two changes do not rise: %v, %v", b.full[i-1].Time, b.full[i].Time)
			}
		}
	})
}

func TestAFlappingDeviceIsSummarised(t *testing.T) {
	run(t, func(b *bed) {
		d := b.reg.add("a", "minute", "")
		for range 50 {
			b.tr.Connected(d.Key, time.Now())
			b.tr.Disconnected(d.Key, fleet.CauseLost, time.Now())
		}
		b.tr.Connected(d.Key, time.Now())
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		b.mu.Lock()
		n := len(b.full)
		last := b.full[n-1]
		b.mu.Unlock()
		if n != DefaultConfig().FlapLimit+1 {
			t.Fatalf("%d readings", n)
		}
		if last.Fields[0].Value.Int != 1 || last.Fields[2].Name != "summarised" || last.Fields[2].Value.Int != int64(101-DefaultConfig().FlapLimit) {
			t.Errorf("the summary says %+v", last.Fields)
		}
		b.tr.Heard(d, time.Now())
		b.said = nil
	})
}

func TestLossOfAStationIsToldApartFromLossOfItsChildren(t *testing.T) {
	run(t, func(b *bed) {
		st := b.reg.add("st", "never", "")
		kids := []*fleet.Device{b.reg.add("k1", "minute", "st"), b.reg.add("k2", "minute", "st")}
		own := b.reg.add("own", "minute", "st") // it has a session of its own
		b.tr.Connected(st.Key, time.Now())
		b.tr.Connected(own.Key, time.Now())
		for _, k := range kids {
			b.tr.Heard(k, time.Now())
		}
		b.want(2*time.Second, "st online connected", "k1 online heard", "k2 online heard", "own online connected")
		b.tr.Disconnected(st.Key, fleet.CauseLost, time.Now())
		b.want(2*time.Second, "st offline lost", "k1 offline station_lost", "k2 offline station_lost")
		b.tr.Heard(own, time.Now())
		b.want(2*time.Minute, []string{}...)
		b.tr.Heard(own, time.Now())
		b.want(2*time.Minute, []string{}...) // their own silence is not said
		b.tr.Heard(own, time.Now())
		b.tr.Connected(st.Key, time.Now())
		b.want(time.Minute, "st online connected")
		b.tr.Heard(kids[0], time.Now())
		b.tr.Heard(own, time.Now())
		b.want(2*time.Minute+2*time.Second, "k1 online heard", "k2 offline silent")
		// While the station is up a child is lost alone.
		b.tr.Heard(own, time.Now())
		b.want(time.Minute, "k1 offline silent")
		names := map[string]string{}
		b.tr.Children(st.Key, func(d *fleet.Device, l fleet.Link) bool { names[d.Key.Serial] = l.Cause; return true })
		if want := map[string]string{"k1": "silent", "k2": "silent", "own": "connected"}; !maps.Equal(names, want) {
			t.Errorf("children %v, want %v", names, want)
		}
	})
}

func TestASilentStationAndItsChildrenAreOneLoss(t *testing.T) {
	run(t, func(b *bed) {
		st, kid := b.reg.add("st", "minute", ""), b.reg.add("kid", "minute", "st")
		b.tr.Heard(st, time.Now())
		b.tr.Heard(kid, time.Now())
		b.want(2*time.Second, "st online heard", "kid online heard")
		b.want(4*time.Minute, "st offline silent", "kid offline station_lost")
		b.tr.Heard(st, time.Now())
		b.tr.Heard(kid, time.Now())
		b.want(2*time.Second, "st online heard", "kid online heard")
		for range 10 { // a station that only speaks for its child is there
			time.Sleep(time.Minute)
			b.tr.Heard(kid, time.Now())
		}
		b.want(time.Second, []string{}...)
	})
}

func TestRevokedAndRemovedDevicesDropOut(t *testing.T) {
	run(t, func(b *bed) {
		a, c, r := b.reg.add("a", "minute", ""), b.reg.add("c", "minute", ""), b.reg.add("r", "never", "")
		for _, d := range []*fleet.Device{a, c, r} {
			b.tr.Connected(d.Key, time.Now())
		}
		b.want(2*time.Second, "a online connected", "c online connected", "r online connected")
		b.reg.put(&fleet.Device{Key: a.Key, Model: "minute", Revoked: true})
		b.tr.Disconnected(a.Key, fleet.CauseRevoked, time.Now())
		b.tr.Disconnected(r.Key, fleet.CauseRevoked, time.Now()) // only its old secret
		b.reg.mu.Lock()
		delete(b.reg.devices, c.Key)
		b.reg.mu.Unlock()
		b.want(10*time.Minute, "a offline revoked", "r offline revoked", "c offline revoked")
		for _, d := range []*fleet.Device{a, c} {
			if l, ok := b.tr.State(d.Key); ok {
				t.Errorf("%v is still known: %+v", d.Key, l)
			}
		}
		b.tr.Heard(&fleet.Device{Key: a.Key, Model: "minute", Revoked: true}, time.Now())
		b.tr.Connected(r.Key, time.Now())
		b.want(time.Minute, "r online connected")
	})
}

func TestRestart(t *testing.T) {
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprintf("clean=%v", clean), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t)
				b.start()
				conn, gone := b.reg.add("conn", "never", ""), b.reg.add("gone", "minute", "")
				back, quiet := b.reg.add("back", "minute", ""), b.reg.add("quiet", "minute", "")
				st, kid := b.reg.add("st", "never", ""), b.reg.add("kid", "minute", "st")
				b.tr.Connected(conn.Key, time.Now())
				b.tr.Connected(gone.Key, time.Now())
				b.tr.Disconnected(gone.Key, fleet.CauseWill, time.Now())
				b.tr.Connected(st.Key, time.Now())
				for _, d := range []*fleet.Device{back, quiet, kid} {
					b.tr.Heard(d, time.Now())
				}
				b.want(90*time.Second, "conn online connected", "gone online connected", "gone offline will", "st online connected",
					"back online heard", "quiet online heard", "kid online heard")
				b.stop()
				b.want(0, []string{}...)
				if !clean {
					b.shelf.bodies[keyManifest] = []byte{snapVersion, 0}
				}
				time.Sleep(24 * time.Hour) // our absence is not theirs
				b.start()
				if l, ok := b.tr.State(gone.Key); !ok || l.Online || l.Cause != fleet.CauseWill || l.Connected {
					t.Errorf("%+v, %v", l, ok)
				}
				b.tr.Heard(back, time.Now())
				if clean {
					b.want(2*time.Minute, []string{}...)
				} else {
					b.want(2*time.Minute, "back online heard") // the journal may have said something else since the snapshot
				}
				b.tr.Heard(back, time.Now())
				// quiet's grace ends; that of kid waits for what becomes of its station, which had a session before.
				b.want(61*time.Second+2*time.Second, "quiet offline silent")
				b.tr.Heard(back, time.Now())
				b.want(2*time.Minute, []string{}...)
				b.tr.Heard(back, time.Now())
				b.want(2*time.Minute, []string{}...)
				b.tr.Heard(back, time.Now())
				b.want(2*time.Minute, []string{}...)
				b.tr.Heard(back, time.Now())
				b.want(time.Minute+2*time.Second, "conn offline lost", "st offline lost", "kid offline station_lost")
				b.stop()
			})
		})
	}
}

func TestOnlyChangedChunksAreKept(t *testing.T) {
	run(t, func(b *bed) {
		ds := make([]*fleet.Device, 0, 2000)
		for i := range 2000 {
			ds = append(ds, b.reg.add(fmt.Sprint("d", i), "never", ""))
			b.tr.Heard(ds[i], time.Now())
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		before := b.shelf.saves
		for _, d := range ds {
			b.tr.Heard(d, time.Now())
		}
		b.tr.Disconnected(ds[7].Key, fleet.CauseLost, time.Now())
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := b.shelf.saves - before; n != 1 {
			t.Errorf("%d chunks kept for one change", n)
		}
	})
}

func TestDamagedSnapshotCostsNoOtherDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.start()
		for i := range 2000 {
			b.tr.Heard(b.reg.add(fmt.Sprint("d", i), "never", ""), time.Now())
		}
		b.stop()
		body := b.shelf.bodies[bodyKey(3, 0)]
		body[len(body)/2] ^= 1
		b.start()
		known := 0
		for i := range 2000 {
			if _, ok := b.tr.State(key(fmt.Sprint("d", i))); ok {
				known++
			}
		}
		if known < 1950 || known == 2000 {
			t.Errorf("%d of 2000 are known", known)
		}
		b.stop()
	})
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{}).Validate(); err == nil {
		t.Error("an empty configuration is accepted")
	}
}
