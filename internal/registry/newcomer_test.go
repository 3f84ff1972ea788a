package registry_test

import (
	"sync"
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

// TestTwoAtOnceWithOneCodeMakeOneOwner: whoever comes second is not made a person without a thing.
func TestTwoAtOnceWithOneCodeMakeOneOwner(t *testing.T) {
	dir := t.TempDir()
	one, two := start(t, dir, nil), start(t, dir, nil)
	if _, err := one.Import(t.Context(), []fleet.Device{washer("WM-1")}); err != nil {
		t.Fatal(err)
	}
	for round := 1; round <= 5; round++ {
		codes, err := one.TransferCodes(t.Context(), []fleet.DeviceKey{key("WM-1")}, time.Time{})
		must(t, err)
		var wg sync.WaitGroup
		ids, errs := make([]string, 4), make([]error, 4)
		for i := range ids {
			wg.Go(func() {
				ids[i], _, errs[i] = []process{one, two}[i%2].ClaimAs(t.Context(), codes[key("WM-1")], fleet.Person{Tenant: "demo", Locale: "de-DE", Zone: "Europe/Berlin"})
			})
		}
		wg.Wait()
		right := ""
		for i := range ids {
			switch {
			case errs[i] == nil && right == "":
				right = ids[i]
			case fleet.CodeOf(errs[i]) != fleet.CodeNotFound:
				t.Errorf("round %d: %q with %v", round, ids[i], errs[i])
			}
		}
		must(t, one.Refresh(t.Context()))
		if d, _ := one.Device(key("WM-1")); right == "" || d.OwnerID != right || len(one.PeopleOf("demo")) != round {
			t.Errorf("round %d: it belongs to %q, want %q; %d people", round, d.OwnerID, right, len(one.PeopleOf("demo")))
		}
	}
}

// TestABrowserIsOfWhoSignedInLast: messages to one person must not show up with the other.
func TestABrowserIsOfWhoSignedInLast(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	must(t, p.SavePeople(t.Context(), []fleet.Person{person("anna"), person("bert")}))
	must(t, p.SavePeople(t.Context(), []fleet.Person{{ID: "carl", Tenant: "rival", Locale: "de", Zone: "UTC", Endpoints: []fleet.Endpoint{{Channel: "push", Address: "https://push.example/1"}}}}))
	browser, mail := fleet.Endpoint{Channel: "push", Address: "https://push.example/1", Label: "Chrome"}, fleet.Endpoint{Channel: "email", Address: "we@example.org"}
	for _, who := range []string{"anna", "bert"} {
		must(t, p.AddEndpoint(t.Context(), "demo", who, mail))
		must(t, p.AddEndpoint(t.Context(), "demo", who, browser))
	}
	for _, q := range []process{p, start(t, dir, nil)} {
		anna, _ := q.Person("demo", "anna")
		bert, _ := q.Person("demo", "bert")
		carl, _ := q.Person("rival", "carl")
		if len(anna.Endpoints) != 1 || anna.Endpoints[0] != mail || len(bert.Endpoints) != 2 || len(carl.Endpoints) != 1 {
			t.Errorf("anna %v, bert %v, carl %v", anna.Endpoints, bert.Endpoints, carl.Endpoints)
		}
	}
	// Who is made with it, by a list, has it too.
	dora := person("dora")
	dora.Endpoints = []fleet.Endpoint{browser}
	must(t, p.SavePeople(t.Context(), []fleet.Person{dora}))
	bert, _ := p.Person("demo", "bert")
	if got, _ := p.Person("demo", "dora"); len(got.Endpoints) != 1 || len(bert.Endpoints) != 1 {
		t.Errorf("dora %v, bert %v", got.Endpoints, bert.Endpoints)
	}
	events, err := p.SecurityEvents(t.Context(), fleet.SecurityFilter{Tenant: "demo", Subject: "anna"})
	must(t, err)
	for _, e := range events {
		if e.Action == fleet.ActionEndpointEnd && e.Detail == "push is now of bert" {
			return
		}
	}
	t.Errorf("nobody is told that anna lost it: %+v", events)
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
