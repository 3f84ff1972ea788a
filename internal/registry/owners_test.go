package registry_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

func serials(p process, who string) string {
	devices := p.DevicesOf("demo", who)
	out := make([]string, 0, len(devices))
	for _, d := range devices {
		out = append(out, d.Key.Serial)
	}
	return strings.Join(out, " ")
}

// TestASecondOwnerHasASecondTime: a device that changes hands begins anew for who gets it.
func TestASecondOwnerHasASecondTime(t *testing.T) {
	clock := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	p := start(t, dir, func() time.Time { return clock })
	must(t, p.SavePeople(t.Context(), []fleet.Person{person("anna"), person("bert")}))
	_, err := p.Import(t.Context(), []fleet.Device{washer("W-1"), washer("W-2")})
	must(t, err)
	claim := func(code, who string, want fleet.Code) {
		t.Helper()
		if _, err := p.Claim(t.Context(), "demo", code, who); fleet.CodeOf(err) != want {
			t.Fatalf("%s claims: %v, want %q", who, err, want)
		}
	}
	codes, err := p.ClaimCodes(t.Context(), []fleet.DeviceKey{key("W-1")}, time.Time{})
	must(t, err)
	claim(codes[key("W-1")], "anna", "")
	clock = clock.Add(24 * time.Hour)
	codes, err = p.ClaimCodes(t.Context(), []fleet.DeviceKey{key("W-1")}, time.Time{})
	must(t, err)
	claim(codes[key("W-1")], "bert", fleet.CodeConflict)
	code, err := p.TransferCode(t.Context(), key("W-1"), clock.Add(registry.TransferExpiry))
	must(t, err)
	claim(codes[key("W-1")], "bert", fleet.CodeNotFound) // replaced
	claim(code, "bert", "")
	claim(code, "anna", fleet.CodeNotFound) // one use
	d, _ := p.Device(key("W-1"))
	if d.OwnerID != "bert" || !d.OwnedSince.Equal(clock) {
		t.Errorf("owner %s since %s", d.OwnerID, d.OwnedSince)
	}
	sold := clock
	clock = clock.Add(time.Hour)
	must(t, p.SetOwner(t.Context(), key("W-1"), ""))
	must(t, p.SetOwner(t.Context(), key("W-1"), ""))
	clock = clock.Add(time.Hour)
	_, err = p.Import(t.Context(), []fleet.Device{{Key: key("W-1"), Model: "washer-w7", OwnerID: "anna"}, washer("W-2")})
	must(t, err)
	want := []fleet.Ownership{{Device: key("W-1"), PersonID: "anna", To: sold}, {Device: key("W-1"), PersonID: "bert", From: sold, To: sold.Add(time.Hour)},
		{Device: key("W-1"), PersonID: "anna", From: clock}}
	got, err := p.Owned(t.Context(), key("W-1"), "")
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got, err := p.Owned(t.Context(), key("W-1"), "bert"); err != nil || len(got) != 1 || !got[0].To.Equal(want[1].To) {
		t.Errorf("bert's: %+v, %v", got, err)
	}
	other := start(t, dir, nil)
	for _, q := range []process{p, other} {
		if serials(q, "anna") != "W-1" || serials(q, "bert") != "" {
			t.Errorf("anna has %q, bert %q", serials(q, "anna"), serials(q, "bert"))
		}
	}
	events, err := p.SecurityEvents(t.Context(), fleet.SecurityFilter{Tenant: "demo", Subject: "W-1"})
	must(t, err)
	told := make([]string, 0, len(events))
	for _, e := range events {
		if e.Action == fleet.ActionOwner || e.Action == fleet.ActionClaimed {
			told = append(told, strings.TrimSpace(e.Action+" "+e.Detail))
		}
	}
	if got := strings.Join(told, ", "); got != "owner_changed from bert to nobody, claimed from anna, claimed" {
		t.Errorf("events: %s", got)
	}
}

// TestAListChangesNoOwnerItDoesNotName: a device that was claimed meanwhile, by another process, stays hers when a list without
// owners is imported again.
func TestAListChangesNoOwnerItDoesNotName(t *testing.T) {
	dir := t.TempDir()
	a, b := start(t, dir, nil), start(t, dir, nil)
	must(t, a.SavePeople(t.Context(), []fleet.Person{person("anna"), person("bert")}))
	_, err := a.Import(t.Context(), []fleet.Device{washer("W-1")})
	must(t, err)
	must(t, b.Refresh(t.Context()))
	must(t, b.SetOwner(t.Context(), key("W-1"), "anna"))
	_, err = a.ImportCSV(t.Context(), "demo", strings.NewReader("serial,model,room,contract,contract_until\nW-1,washer-w7,cellar,Hausrat Plus,2030-01-01\n"), registry.ImportOptions{})
	must(t, err)
	if d, _ := a.Device(key("W-1")); d.OwnerID != "anna" || d.Room != "cellar" || d.Contract != "Hausrat Plus" || d.ContractUntil.IsZero() {
		t.Errorf("%+v", d)
	}
	rep, err := a.ImportCSV(t.Context(), "demo", strings.NewReader("serial,model,owner\nW-1,washer-w7,bert\n"), registry.ImportOptions{})
	if err != nil || len(rep.Bad) > 0 {
		t.Fatal(rep.Bad, err)
	}
	if d, _ := a.Device(key("W-1")); d.OwnerID != "bert" || d.OwnedSince.IsZero() {
		t.Errorf("%+v", d)
	}
	must(t, a.Revoke(t.Context(), key("W-1")))
	_, err = a.Register(t.Context(), washer("W-1")) // taken back, for somebody else
	must(t, err)
	if d, _ := a.Device(key("W-1")); d.OwnerID != "" {
		t.Errorf("%+v", d)
	}
}

// TestOwnershipsNeverOverlap: whatever happens to a device, through whichever process and whatever the clock does, its ownerships
// follow one another, the last is the one in memory, and the index of devices agrees.
func TestOwnershipsNeverOverlap(t *testing.T) {
	people := []fleet.Person{person("p0"), person("p1"), person("p2")}
	clock, n := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), 0
	p := start(t, t.TempDir(), func() time.Time { return clock })
	must(t, p.SavePeople(t.Context(), people))
	rapid.Check(t, func(rt *rapid.T) {
		n++
		serial := fmt.Sprintf("W-%d", n)
		k := key(serial)
		_, err := p.Import(t.Context(), []fleet.Device{washer(serial)})
		must(t, err)
		for range rapid.IntRange(1, 10).Draw(rt, "steps") {
			clock = clock.Add(time.Duration(rapid.Int64Range(-5, 20).Draw(rt, "ms")) * time.Millisecond)
			who := fmt.Sprintf("p%d", rapid.IntRange(0, 2).Draw(rt, "who"))
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				must(t, p.SetOwner(t.Context(), k, who))
			case 1:
				must(t, p.SetOwner(t.Context(), k, ""))
			case 2:
				d := washer(serial)
				d.OwnerID = who
				_, err := p.Import(t.Context(), []fleet.Device{d})
				must(t, err)
			case 3:
				code, err := p.TransferCode(t.Context(), k, time.Time{})
				must(t, err)
				_, err = p.Claim(t.Context(), "demo", code, who)
				must(t, err)
			}
		}
		spans, err := p.Owned(t.Context(), k, "")
		must(t, err)
		d, _ := p.Device(k)
		now := ""
		for i, o := range spans {
			if i > 0 && (o.From.Before(spans[i-1].To) || spans[i-1].To.IsZero()) || !o.To.IsZero() && !o.From.Before(o.To) {
				rt.Fatalf("%+v", spans)
			}
			if o.To.IsZero() {
				now = o.PersonID
				if !o.From.Equal(d.OwnedSince) {
					rt.Fatalf("owned since %s, in memory %s", o.From, d.OwnedSince)
				}
			}
		}
		if now != d.OwnerID {
			rt.Fatalf("belongs to %q, in memory to %q", now, d.OwnerID)
		}
		for _, who := range people {
			has := slices.Contains(strings.Fields(serials(p, who.ID)), serial)
			if has != (who.ID == now) {
				rt.Fatalf("%s has it: %v, the owner is %q", who.ID, has, now)
			}
		}
	})
}

func TestNewOwner(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	a, err := p.NewOwner(t.Context(), "demo", fleet.Person{ID: "ignored", Tenant: "other", Locale: "de-DE", Zone: "Europe/Berlin", Household: "ignored"})
	must(t, err)
	b, err := p.NewOwner(t.Context(), "demo", fleet.Person{Locale: "en", Zone: "UTC", Name: "Eve"})
	must(t, err)
	if have, ok := p.Person("demo", a.ID); !ok || have.Household != "" || a.ID == b.ID || !fleet.ValidName(a.ID) {
		t.Errorf("%+v, %+v", have, b)
	}
	if _, err := p.NewOwner(t.Context(), "demo", fleet.Person{Locale: "en", Zone: "Mars"}); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Error(err)
	}
}
