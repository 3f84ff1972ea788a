package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func openAt(t *testing.T, path string) *Store {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Path = path
	s, err := Open(t.Context(), cfg, obs.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func open(t *testing.T) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "data", "a b?%#.db"))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code fleet.Code) {
	t.Helper()
	if fleet.CodeOf(err) != code {
		t.Fatalf("code %q (%v), want %q", fleet.CodeOf(err), err, code)
	}
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("-want +got\n%s", d)
	}
}

func TestOpenSetsWhatDurabilityNeeds(t *testing.T) {
	s := open(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		must(t, s.w.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("%s = %s, want %s", pragma, got, want)
		}
	}
	must(t, s.Ready(t.Context()))
	if _, err := s.r.ExecContext(t.Context(), "DELETE FROM cases"); err == nil {
		t.Error("a reader may write")
	}
}

func TestOpenMakesFilesThatOnlyTheirOwnerReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	openAt(t, path)
	for _, f := range []string{path, path + "-wal"} {
		st, err := os.Stat(f)
		must(t, err)
		if st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f, st.Mode().Perm())
		}
	}
}

func TestOpenByTwoAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			cfg := DefaultConfig()
			cfg.Path = path
			s, err := Open(t.Context(), cfg, obs.Discard())
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestConfigNamesEveryMistake(t *testing.T) {
	err := Config{Driver: "oracle", Path: "", Readers: 0, BusyTimeout: 0, KeepDone: 0}.Validate()
	if err == nil || len(err.(interface{ Unwrap() []error }).Unwrap()) != 5 {
		t.Fatal(err)
	}
	must(t, DefaultConfig().Validate())
}

func device(serial string) fleet.Device {
	return fleet.Device{Key: fleet.DeviceKey{Tenant: "demo", Serial: serial}, Model: "washer-w7", Category: "washing-machine",
		Name: "Washing machine in the cellar", Room: "cellar", Region: "DE", Firmware: "1.4.2", Hardware: "b", Batch: "2025-11",
		Parent: "", OwnerID: "p1", InstalledAt: t0, WarrantyUntil: t0.AddDate(2, 0, 0), Seller: "shop"}
}

type loaded struct {
	Devices     map[string]fleet.Device
	Credentials []fleet.Credential
	People      []fleet.Person
	Keys        []fleet.ProvisioningKey
}

func load(t *testing.T, s *Store, since int64) (loaded, int64) {
	t.Helper()
	l := loaded{Devices: map[string]fleet.Device{}}
	rev, err := s.LoadRegistry(t.Context(), since, func(d fleet.Device) { l.Devices[d.Key.Serial] = d },
		func(c fleet.Credential) { l.Credentials = append(l.Credentials, c) },
		func(p fleet.Person) { l.People = append(l.People, p) }, func(k fleet.ProvisioningKey) { l.Keys = append(l.Keys, k) })
	must(t, err)
	return l, rev
}

func TestRegistryIsReadBackAsWritten(t *testing.T) {
	s := open(t)
	d := device("WM-0001")
	d.Name = `it's "quoted" \ and ?0 — ü`
	c := fleet.Credential{Device: d.Key, ID: "c1", Hash: []byte{1, 2, 255}, CreatedAt: t0}
	p := fleet.Person{ID: "p1", Tenant: "demo", Name: "Ada", Locale: "de-DE", Zone: "Europe/Berlin", Household: "h1",
		Endpoints: []fleet.Endpoint{{Channel: "ntfy", Address: "http://x/y"}, {Channel: "webhook", Address: "http://z", Secret: "whsec_a"}},
		Rank:      1, DigestDay: time.Friday, DigestHour: 18, Preferences: []fleet.Preference{{Topic: fleet.TopicTip, Want: fleet.WantNever}},
		Consents: []fleet.Consent{{ID: "c", Tenant: "demo", PersonID: "p1", Purpose: fleet.PurposeTips, Text: "tips-1", Source: "import", GivenAt: t0}}}
	must(t, s.SaveRegistry(t.Context(), []fleet.Device{d}, []fleet.Credential{c}, []fleet.Person{p}))
	got, rev := load(t, s, 0)
	same(t, got, loaded{Devices: map[string]fleet.Device{"WM-0001": d}, Credentials: []fleet.Credential{c}, People: []fleet.Person{p}})

	// Only what changed since comes the next time.
	changed := p
	changed.Name, changed.Rank, changed.Endpoints, changed.Preferences, changed.Consents = "Ada L.", 2, nil, nil, nil
	must(t, s.SaveRegistry(t.Context(), nil, nil, []fleet.Person{changed}))
	p.Name, p.Rank = changed.Name, changed.Rank // a person who exists keeps what she told us herself
	got, rev2 := load(t, s, rev)
	same(t, got, loaded{Devices: map[string]fleet.Device{}, People: []fleet.Person{p}})
	got, rev3 := load(t, s, rev2)
	same(t, got, loaded{Devices: map[string]fleet.Device{}})
	if rev3 != rev2 {
		t.Errorf("revision went from %d to %d without a change", rev2, rev3)
	}
}

func TestRevokeCredentials(t *testing.T) {
	s := open(t)
	d := device("WM-0001")
	creds := []fleet.Credential{{Device: d.Key, ID: "old", Hash: []byte{1}, CreatedAt: t0}, {Device: d.Key, ID: "new", Hash: []byte{2}, CreatedAt: t0}}
	must(t, s.SaveRegistry(t.Context(), []fleet.Device{d}, creds, nil))
	_, rev := load(t, s, 0)
	must(t, s.RevokeCredentials(t.Context(), d.Key, "new", t0.Add(time.Hour)))
	got, rev := load(t, s, rev)
	if len(got.Credentials) != 1 || got.Credentials[0].ID != "old" || got.Credentials[0].RevokedAt.IsZero() || got.Devices["WM-0001"].Revoked {
		t.Fatalf("after revoking the old one: %+v", got)
	}
	must(t, s.RevokeCredentials(t.Context(), d.Key, "", t0.Add(2*time.Hour)))
	got, _ = load(t, s, rev)
	if len(got.Credentials) != 1 || got.Credentials[0].ID != "new" || !got.Devices["WM-0001"].Revoked {
		t.Fatalf("after revoking all: %+v", got)
	}
	wantCode(t, s.RevokeCredentials(t.Context(), fleet.DeviceKey{Tenant: "other", Serial: "WM-0001"}, "", t0), fleet.CodeNotFound)
}

func TestSaveRegistryIsAllOrNothing(t *testing.T) {
	s := open(t)
	err := s.SaveRegistry(t.Context(), []fleet.Device{device("A")},
		[]fleet.Credential{{Device: fleet.DeviceKey{Tenant: "demo", Serial: "unknown"}, ID: "x", Hash: []byte{1}}}, nil)
	if err == nil {
		t.Fatal("a credential without its device was kept")
	}
	if got, _ := load(t, s, 0); len(got.Devices) != 0 {
		t.Fatal("half of it was written")
	}
}

func TestTenThousandDevicesInOneTransaction(t *testing.T) {
	s := open(t)
	const n = 10_000
	devices, creds := make([]fleet.Device, n), make([]fleet.Credential, n)
	for i := range n {
		devices[i] = device(fmt.Sprintf("WM-%05d", i))
		creds[i] = fleet.Credential{Device: devices[i].Key, ID: "c", Hash: make([]byte, 32), CreatedAt: t0}
	}
	start := time.Now()
	must(t, s.SaveRegistry(t.Context(), devices, creds, nil))
	t.Logf("written in %v", time.Since(start))
	start = time.Now()
	got, _ := load(t, s, 0)
	t.Logf("read in %v", time.Since(start))
	if len(got.Devices) != n || len(got.Credentials) != n {
		t.Fatalf("%d devices, %d credentials", len(got.Devices), len(got.Credentials))
	}
}

func TestDevicesFilter(t *testing.T) {
	s := open(t)
	other, mower := device("WM-0002"), device("RM_1")
	other.OwnerID, other.Name = "p2", "100% washer"
	mower.Category, mower.Model = "mower", "mower-m1"
	foreign := device("WM-0009")
	foreign.Key.Tenant = "rival"
	must(t, s.SaveRegistry(t.Context(), []fleet.Device{device("WM-0001"), other, mower, foreign}, nil, nil))
	for _, c := range []struct {
		f     fleet.DeviceFilter
		want  []string
		total int
	}{
		{fleet.DeviceFilter{}, []string{"RM_1", "WM-0001", "WM-0002"}, 3},
		{fleet.DeviceFilter{Limit: 1, Offset: 1}, []string{"WM-0001"}, 3},
		{fleet.DeviceFilter{Category: "mower"}, []string{"RM_1"}, 1},
		{fleet.DeviceFilter{OwnerID: "p2"}, []string{"WM-0002"}, 1},
		{fleet.DeviceFilter{Query: "wm-"}, []string{"WM-0001", "WM-0002"}, 2},
		{fleet.DeviceFilter{Query: "0% W"}, []string{"WM-0002"}, 1},
		{fleet.DeviceFilter{Query: "m_1"}, []string{"RM_1"}, 1},
		{fleet.DeviceFilter{Query: "' OR 1=1 --"}, nil, 0},
	} {
		c.f.Tenant = "demo"
		ds, total, err := s.Devices(t.Context(), c.f)
		must(t, err)
		var got []string
		for _, d := range ds {
			got = append(got, d.Key.Serial)
		}
		if d := cmp.Diff(c.want, got); d != "" || total != c.total {
			t.Errorf("%+v: total %d, -want +got\n%s", c.f, total, d)
		}
	}
	counts, err := s.CategoryCounts(t.Context(), "demo")
	must(t, err)
	same(t, counts, map[string]int{"washing-machine": 2, "mower": 1})
}

func TestErrorsAreClassified(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := open(t)
	if err := s.AddOutbox(ctx, []fleet.OutboxRow{{ID: "x"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
