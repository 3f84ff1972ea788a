package registry_test

import (
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func TestAWrongCodeMakesNobody(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := start(t, t.TempDir(), func() time.Time { return now })
	if _, err := p.Import(t.Context(), []fleet.Device{washer("WM-1")}); err != nil {
		t.Fatal(err)
	}
	codes, err := p.ClaimCodes(t.Context(), []fleet.DeviceKey{key("WM-1")}, now.Add(time.Hour))
	must(t, err)
	newcomer := fleet.Person{Tenant: "demo", Locale: "de-DE", Zone: "Europe/Berlin", Name: "Anna"}
	for _, bad := range []string{"", "ABC", "00000-00000"} {
		if _, _, err := p.ClaimAs(t.Context(), bad, newcomer); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if n := len(p.PeopleOf("demo")); n != 0 {
		t.Fatalf("%d people were made by wrong codes", n)
	}
	id, device, err := p.ClaimAs(t.Context(), codes[key("WM-1")], newcomer)
	must(t, err)
	if d, _ := p.Device(key("WM-1")); device != key("WM-1") || d.OwnerID != id {
		t.Errorf("%v belongs to %q, not %q", device, d.OwnerID, id)
	}
	if _, _, err := p.ClaimAs(t.Context(), codes[key("WM-1")], newcomer); fleet.CodeOf(err) != fleet.CodeNotFound || len(p.PeopleOf("demo")) != 1 {
		t.Errorf("a used code: %v, %d people", err, len(p.PeopleOf("demo")))
	}
}

func TestWhatAnOwnerSaysOfHerThing(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	if _, err := p.Import(t.Context(), []fleet.Device{washer("WM-1")}); err != nil {
		t.Fatal(err)
	}
	must(t, p.NameDevice(t.Context(), key("WM-1"), "Die Neue", "Keller"))
	if d, _ := start(t, dir, nil).Device(key("WM-1")); d.Name != "Die Neue" || d.Room != "Keller" || d.Model != "washer-w7" {
		t.Errorf("%+v", d)
	}
	if err := p.NameDevice(t.Context(), key("WM-1"), "a\nb", ""); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("two lines: %v", err)
	}
	if err := p.NameDevice(t.Context(), key("none"), "a", ""); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("no device: %v", err)
	}
	for _, away := range []bool{true, true, false, false} {
		must(t, p.SetAway(t.Context(), key("WM-1"), away))
		if _, is, err := p.PutAway(t.Context(), key("WM-1")); err != nil || is != away {
			t.Errorf("put away: %v, want %v, %v", is, away, err)
		}
	}
}

func TestAPersonsFirstAddress(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	anna := person("anna")
	must(t, p.SavePeople(t.Context(), []fleet.Person{anna}))
	for _, a := range []string{"a@x.example", "b@x.example", "c@x.example"} {
		must(t, p.AddEndpoint(t.Context(), "demo", "anna", fleet.Endpoint{Channel: "email", Address: a}))
	}
	must(t, p.PreferEndpoint(t.Context(), "demo", "anna", "email", "c@x.example"))
	must(t, p.PreferEndpoint(t.Context(), "demo", "anna", "email", "c@x.example"))
	got, _ := p.Person("demo", "anna")
	var order string
	for _, e := range got.Endpoints[len(got.Endpoints)-3:] {
		order += e.Address[:1]
	}
	if got.Endpoints[0].Address != "c@x.example" || len(got.Endpoints) == 3 && order != "cab" {
		t.Errorf("%v", got.Endpoints)
	}
	if err := p.PreferEndpoint(t.Context(), "demo", "anna", "email", "x@x.example"); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("an address that is not hers: %v", err)
	}
}
