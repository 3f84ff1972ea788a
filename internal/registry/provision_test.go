package registry_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

// contact logs in with a provisioning secret.
func contact(t *testing.T, p process, serial, secret string) fleet.Login {
	t.Helper()
	l, err := p.Authenticate(t.Context(), "demo/"+serial, secret)
	if err != nil || !l.FirstContact || l.Key != key(serial) {
		t.Fatalf("first contact of %s: %+v, %v", serial, l, err)
	}
	return l
}

func provision(t *testing.T, p process, model string, open bool) (id, secret string) {
	t.Helper()
	id, secret, err := p.CreateProvisioning(t.Context(), "demo", model, open)
	must(t, err)
	if rest, ok := strings.CutPrefix(secret, "prov."); !ok || len(rest) < 26 { // SEC-01: 26 characters of 5 bits each
		t.Fatalf("secret %q", secret)
	}
	return id, secret
}

// SEC-01: a device fetches a credential of its own with the model's secret; once it has used that, the model's secret is worth
// nothing for it, so that who takes one device apart cannot take over the others.
func TestFirstContactEndsWithTheFirstLogIn(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	var cut []fleet.DeviceKey
	p.OnRevoke(func(k fleet.DeviceKey) { cut = append(cut, k) })
	unused, err := p.Register(t.Context(), washer("WM-1"))
	must(t, err)
	_, secret := provision(t, p, "washer-w7", false)

	l := contact(t, p, "WM-1", secret)
	first, err := p.FirstContact(t.Context(), l)
	must(t, err)
	deny(t, p, "demo/WM-1", unused) // replaced
	second, err := p.FirstContact(t.Context(), contact(t, p, "WM-1", secret))
	must(t, err) // the answer was lost
	deny(t, p, "demo/WM-1", first)
	if len(cut) != 0 {
		t.Errorf("sessions ended while the device fetched its credential: %v", cut)
	}
	admit(t, p, "WM-1", second)
	deny(t, p, "demo/WM-1", secret)
	if _, err := p.FirstContact(t.Context(), l); fleet.CodeOf(err) != fleet.CodeDenied {
		t.Errorf("an old first-contact session takes the device over: %v", err)
	}
	admit(t, p, "WM-1", second)

	after := start(t, dir, nil) // what was stored before the door answered is there after a crash
	deny(t, after, "demo/WM-1", secret)
	admit(t, after, "WM-1", second)
	must(t, after.Revoke(t.Context(), key("WM-1")))
	deny(t, after, "demo/WM-1", secret)
}

func TestFirstContactIsForAwaitingDevicesOfTheModel(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	_, err := p.Import(t.Context(), []fleet.Device{washer("WM-1"), {Key: key("B-1"), Model: "base-b4"},
		{Key: key("WM-2"), Model: "washer-w7", Parent: "B-1"}, washer("WM-3")})
	must(t, err)
	must(t, p.Revoke(t.Context(), key("WM-3")))
	id, secret := provision(t, p, "washer-w7", false)
	for _, serial := range []string{"B-1", "WM-2", "WM-3", "WM-9"} { // other model, has a station, revoked, unknown
		deny(t, p, "demo/"+serial, secret)
	}
	deny(t, p, "rival/WM-1", secret)
	deny(t, p, "demo/WM-1", secret[5:]) // without the prefix it is no password
	deny(t, p, "demo/WM-1", "prov.")
	deny(t, p, "demo/WM-1", "prov."+strings.Repeat("A", 26))
	l := contact(t, p, "WM-1", secret)
	if l.Model != "washer-w7" {
		t.Errorf("%+v", l)
	}
	must(t, p.RevokeProvisioning(t.Context(), "demo", id))
	deny(t, p, "demo/WM-1", secret)
	if _, err := p.FirstContact(t.Context(), l); fleet.CodeOf(err) != fleet.CodeDenied {
		t.Errorf("with a revoked key: %v", err)
	}
	if err := p.RevokeProvisioning(t.Context(), "rival", id); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("a tenant revokes another's key: %v", err)
	}
	if _, err := p.FirstContact(t.Context(), fleet.Login{Key: key("WM-1"), Model: "washer-w7"}); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("without first contact: %v", err)
	}
}

func TestAnOpenKeyRegistersDevices(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	id, secret := provision(t, p, "washer-w7", true)
	l := contact(t, p, "NEW-1", secret)
	if _, known := p.Device(key("NEW-1")); known {
		t.Error("registered before it asked for a credential")
	}
	own, err := p.FirstContact(t.Context(), l)
	must(t, err)
	admit(t, p, "NEW-1", own)
	if d, ok := p.Device(key("NEW-1")); !ok || d.Model != "washer-w7" || d.Category != "washing-machine" {
		t.Errorf("device %+v", d)
	}
	keys := p.ProvisioningKeys("demo")
	if len(keys) != 1 || keys[0].ID != id || !keys[0].Open || len(p.ProvisioningKeys("rival")) != 0 {
		t.Errorf("keys %+v", keys)
	}
}

// Of two processes that let a device in, one by its own secret and one by the model's, the store decides.
func TestFirstContactIsDecidedInTheStore(t *testing.T) {
	dir := t.TempDir()
	a, b := start(t, dir, nil), start(t, dir, nil)
	own, err := a.Register(t.Context(), washer("WM-1"))
	must(t, err)
	_, secret := provision(t, a, "washer-w7", false)
	l := contact(t, b, "WM-1", secret) // the miss makes it look
	admit(t, a, "WM-1", own)
	if _, err := b.FirstContact(t.Context(), l); fleet.CodeOf(err) != fleet.CodeDenied {
		t.Errorf("b has not seen the log-in at a and takes the device over: %v", err)
	}

	own, err = a.Register(t.Context(), washer("WM-2"))
	must(t, err)
	must(t, b.Refresh(t.Context()))
	if _, err = b.FirstContact(t.Context(), contact(t, b, "WM-2", secret)); err != nil {
		t.Fatal(err)
	}
	deny(t, a, "demo/WM-2", own) // a still holds it for valid; storing its first use tells
}

func TestManyFirstLogInsShareTransactions(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	devices := make([]fleet.Device, 0, 200)
	for i := range 200 {
		devices = append(devices, washer(fmt.Sprint("WM-", i)))
	}
	secrets, err := p.Import(t.Context(), devices)
	must(t, err)
	var wg sync.WaitGroup
	for _, d := range devices {
		wg.Go(func() {
			for range 2 {
				if _, err := p.Authenticate(context.Background(), d.Key.String(), secrets[d.Key]); err != nil {
					t.Errorf("%s: %v", d.Key, err)
				}
			}
		})
	}
	wg.Wait()
	if n := counter(t, p, "ok"); n != 400 {
		t.Errorf("%v log-ins", n)
	}
}

// SEC-04 (registry): who has a certificate comes in while it is registered and not revoked.
func TestAdmit(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	_, err := p.Import(t.Context(), []fleet.Device{washer("WM-1"), {Key: key("B-1"), Model: "base-b4"}, {Key: key("D-1"), Model: "drill-d18", Parent: "B-1"}})
	must(t, err)
	_, secret := provision(t, p, "washer-w7", false)
	must(t, p.Admit(t.Context(), key("WM-1")))
	must(t, p.Admit(t.Context(), key("WM-1")))
	deny(t, p, "demo/WM-1", secret) // the certificate is its own: first contact is over
	must(t, p.Revoke(t.Context(), key("WM-1")))
	for _, serial := range []string{"WM-1", "D-1", "none"} {
		if err := p.Admit(t.Context(), key(serial)); fleet.CodeOf(err) != fleet.CodeDenied {
			t.Errorf("%s: %v", serial, err)
		}
	}
}

func TestAnOldSecretEndsAfterTheGrace(t *testing.T) {
	dir := t.TempDir()
	clock := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return clock }
	forward := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); clock = clock.Add(d) }
	p := start(t, dir, now)
	first, err := p.Register(t.Context(), washer("WM-1"))
	must(t, err)
	admit(t, p, "WM-1", first)
	forward(time.Hour)
	second, err := p.Rotate(t.Context(), key("WM-1"))
	must(t, err)
	end := func() { must(t, registry.EndRotations(p.Registry, t.Context(), now())) }
	forward(30 * 24 * time.Hour)
	end()
	admit(t, p, "WM-1", first) // the device has not used the new one: the old one stays
	admit(t, p, "WM-1", second)
	forward(7*24*time.Hour - time.Second)
	end()
	admit(t, p, "WM-1", first)
	forward(time.Second)
	end()
	deny(t, p, "demo/WM-1", first)
	admit(t, p, "WM-1", second)
}

func TestObservedFirmwareIsSeenAtOnceAndWrittenByRun(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	_, err := p.Register(t.Context(), washer("WM-1"))
	must(t, err)
	firmware := func(p process) string { d, _ := p.Device(key("WM-1")); return d.Firmware }
	p.Observed(key("WM-1"), "2.0.1")
	for _, bad := range []string{"", "a\nb", "\xff", strings.Repeat("9", 65)} {
		p.Observed(key("WM-1"), bad)
	}
	p.Observed(key("none"), "2.0.1")
	if got := firmware(p); got != "2.0.1" {
		t.Fatalf("firmware %q", got)
	}
	must(t, p.SavePeople(t.Context(), []fleet.Person{{ID: "p1", Tenant: "demo", Locale: "de", Zone: "UTC"}}))
	d, _ := p.Device(key("WM-1"))
	moved := *d
	moved.Firmware, moved.Room = "1.0.0", "cellar"
	_, err = p.Import(t.Context(), []fleet.Device{moved})
	must(t, err)
	if got := firmware(p); got != "2.0.1" {
		t.Errorf("an older row hides what the device said: %q", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	must(t, p.Run(ctx)) // the last thing it does is write
	other := start(t, dir, nil)
	if d, _ := other.Device(key("WM-1")); d.Firmware != "2.0.1" || d.Room != "cellar" {
		t.Errorf("stored %+v", d)
	}
}
