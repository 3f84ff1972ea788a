package store

import (
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"aftercare/internal/fleet"
)

// Credentials from before used_at was kept count as used: otherwise a model's provisioning secret could take over every device
// that was in use before the update.
func TestOldCredentialsCountAsUsedAfterTheUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s := openAt(t, path)
	d := device("WM-1")
	must(t, s.SaveRegistry(t.Context(), []fleet.Device{d}, []fleet.Credential{{Device: d.Key, ID: "a", Hash: []byte{1}, CreatedAt: t0}}, nil))
	dir, err := fs.Sub(migrations, "migrations")
	must(t, err)
	p, err := goose.NewProvider(goose.DialectSQLite3, s.w.DB, dir)
	must(t, err)
	_, err = p.DownTo(t.Context(), 2)
	must(t, err)
	s = openAt(t, path) // migrates
	must(t, s.SaveProvisioning(t.Context(), fleet.ProvisioningKey{ID: "k", Tenant: d.Key.Tenant, Model: d.Model, Hash: []byte{2}, CreatedAt: t0}))
	l, _ := load(t, s, 0)
	if len(l.Credentials) != 1 || !l.Credentials[0].UsedAt.Equal(t0) || len(l.Keys) != 1 {
		t.Fatalf("%+v", l)
	}
	wantCode(t, s.FirstContact(t.Context(), d, fleet.Credential{Device: d.Key, ID: "b", Hash: []byte{3}, CreatedAt: t0}), fleet.CodeDenied)
}

// Of what is stored together with a security event, all or nothing is stored; the numbers have no gap.
func TestSecurityEventsAreStoredWithWhatTheyTell(t *testing.T) {
	s := open(t)
	d := device("WM-1")
	e := func(action string) fleet.SecurityEvent {
		return fleet.SecurityEvent{At: t0, Tenant: d.Key.Tenant, Actor: "cli", Action: action, Subject: d.Key.Serial}
	}
	must(t, s.SaveRegistry(t.Context(), []fleet.Device{d}, nil, nil, e("one"), e("two")))
	if err := s.SaveRegistry(t.Context(), nil, []fleet.Credential{{Device: fleet.DeviceKey{Tenant: "x", Serial: "none"}, ID: "a"}}, nil, e("never")); err == nil {
		t.Fatal("a credential of no device was stored")
	}
	must(t, s.RevokeCredentials(t.Context(), d.Key, "", t0, e("three")))
	must(t, s.EndCredentials(t.Context(), d.Key, []string{"none"}, t0, e("nothing ended, nothing told")))
	got, err := s.SecurityEvents(t.Context(), fleet.SecurityFilter{Tenant: d.Key.Tenant})
	must(t, err)
	want := []fleet.SecurityEvent{e("three"), e("two"), e("one")}
	for i := range want {
		want[i].N = int64(3 - i)
	}
	same(t, got, want)
}

// A change of the firmware touches nothing else; a credential is first used once.
func TestSmallChangesLeaveTheRestAlone(t *testing.T) {
	s := open(t)
	d := device("WM-1")
	c := fleet.Credential{Device: d.Key, ID: "a", Hash: []byte{1}, CreatedAt: t0}
	must(t, s.SaveRegistry(t.Context(), []fleet.Device{d}, []fleet.Credential{c}, nil))
	must(t, s.SetFirmware(t.Context(), map[fleet.DeviceKey]string{d.Key: "9.9", {Tenant: "x", Serial: "none"}: "1"}))
	c.UsedAt = t0.Add(time.Hour)
	must(t, s.MarkUsed(t.Context(), []fleet.Credential{c}))
	late := c
	late.UsedAt = t0.Add(2 * time.Hour)
	cert := fleet.Credential{Device: d.Key, ID: "certificate", CreatedAt: t0, UsedAt: t0, RevokedAt: t0}
	must(t, s.MarkUsed(t.Context(), []fleet.Credential{late, cert, cert}))
	l, _ := load(t, s, 0)
	d.Firmware = "9.9"
	same(t, l.Devices, map[string]fleet.Device{"WM-1": d})
	cert.Hash = []byte{}
	same(t, l.Credentials, []fleet.Credential{c, cert})
}
