package registry_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

func person(id string) fleet.Person {
	return fleet.Person{ID: id, Tenant: "demo", Locale: "de-DE", Zone: "Europe/Berlin"}
}

func household(t *testing.T, p process, id string) string {
	t.Helper()
	h, ok := p.Household("demo", id)
	if !ok {
		return "none"
	}
	var ids []string
	for _, m := range h.Members {
		ids = append(ids, m.ID)
	}
	return strings.Join(ids, " ")
}

func TestHouseholdIsInTheOrderInWhichItHears(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	anna, bert, carl := person("anna"), person("bert"), person("carl")
	anna.Household, bert.Household, bert.Rank, anna.Rank = "h1", "h1", 1, 2
	must(t, p.SavePeople(t.Context(), []fleet.Person{anna, bert, carl}))
	for id, want := range map[string]string{"h1": "bert anna", "carl": "carl", "anna": "none", "nobody": "none"} {
		if got := household(t, p, id); got != want {
			t.Errorf("household %s: %s, want %s", id, got, want)
		}
	}
	must(t, p.SetHousehold(t.Context(), "demo", "bert", "h1", 3))
	must(t, p.SetHousehold(t.Context(), "demo", "carl", "h1", 0))
	other := start(t, dir, nil) // read from SQL it is the same
	for _, q := range []process{p, other} {
		if got := household(t, q, "h1"); got != "carl anna bert" {
			t.Errorf("household h1: %s", got)
		}
	}
	must(t, other.SetHousehold(t.Context(), "demo", "anna", "", 0)) // moves out, told by another process
	must(t, p.Refresh(t.Context()))
	if got := household(t, p, "h1"); got != "carl bert" {
		t.Errorf("household h1: %s", got)
	}
	if got := household(t, p, "anna"); got != "anna" {
		t.Errorf("household of anna: %s", got)
	}
	if h, ok := p.HouseholdOf("demo", "bert"); !ok || h.ID != "h1" || len(h.Members) != 2 {
		t.Errorf("household of bert: %+v", h)
	}
	if err := p.SetHousehold(t.Context(), "demo", "bert", "anna", 0); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("a household that is called like somebody who lives elsewhere: %v", err)
	}
}

// TestHouseholdsAreThoseOfTheirMembers: whatever moves, through whichever process, every household in memory has exactly the
// people who say that they live there.
func TestHouseholdsAreThoseOfTheirMembers(t *testing.T) {
	dir := t.TempDir()
	a, b := start(t, dir, nil), start(t, dir, nil)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		tenant := fmt.Sprintf("t%d", n)
		for i := range 4 {
			must(t, a.SavePeople(t.Context(), []fleet.Person{{Tenant: tenant, ID: fmt.Sprintf("p%d", i), Locale: "de", Zone: "UTC"}}))
		}
		for range rapid.IntRange(1, 12).Draw(rt, "moves") {
			q := []process{a, b}[rapid.IntRange(0, 1).Draw(rt, "process")]
			must(t, q.SetHousehold(t.Context(), tenant, fmt.Sprintf("p%d", rapid.IntRange(0, 3).Draw(rt, "who")),
				rapid.SampledFrom([]string{"", "h1", "h2"}).Draw(rt, "where"), rapid.IntRange(0, 3).Draw(rt, "rank")))
		}
		must(t, a.Refresh(t.Context()))
		for _, home := range []string{"h1", "h2"} {
			h, _ := a.Household(tenant, home)
			in := map[string]bool{}
			for i, m := range h.Members {
				in[m.ID] = true
				if i > 0 && m.Rank < h.Members[i-1].Rank {
					rt.Errorf("%s: rank %d behind %d", home, m.Rank, h.Members[i-1].Rank)
				}
			}
			for _, p := range a.PeopleOf(tenant) {
				if in[p.ID] != (p.Household == home) {
					rt.Errorf("%s lives in %q, household %s has %v", p.ID, p.Household, home, in)
				}
			}
		}
	})
}

// SEC-21: who agreed to what, to which text, when, and when she took it back, is kept as rows that are never changed.
func TestConsentsAreKeptAsTheyWereGiven(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := start(t, t.TempDir(), func() time.Time { return now })
	must(t, p.SavePeople(t.Context(), []fleet.Person{person("anna")}))
	give := func(text string) {
		t.Helper()
		must(t, p.GiveConsent(registry.WithActor(t.Context(), "anna"), "demo", "anna", fleet.PurposeTips, text, "owner page"))
		now = now.Add(time.Hour)
	}
	give("tips-1")
	give("tips-1") // holds already
	give("tips-2") // in place of the first
	must(t, p.WithdrawConsent(t.Context(), "demo", "anna", fleet.PurposeTips))
	must(t, p.WithdrawConsent(t.Context(), "demo", "anna", fleet.PurposeTips)) // has none any more
	give("tips-2")
	got, err := p.Consents(t.Context(), "demo", "anna")
	must(t, err)
	t0 := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	want := []fleet.Consent{{Text: "tips-1", GivenAt: t0, WithdrawnAt: t0.Add(2 * time.Hour)},
		{Text: "tips-2", GivenAt: t0.Add(2 * time.Hour), WithdrawnAt: t0.Add(3 * time.Hour)}, {Text: "tips-2", GivenAt: t0.Add(3 * time.Hour)}}
	for i := range want {
		want[i].Tenant, want[i].PersonID, want[i].Purpose, want[i].Source = "demo", "anna", fleet.PurposeTips, "owner page"
		want[i].ID = got[i].ID
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if anna, _ := p.Person("demo", "anna"); len(anna.Consents) != 1 || anna.Consents[0].ID != got[2].ID {
		t.Errorf("holding: %+v", anna.Consents)
	}
	events, err := p.SecurityEvents(t.Context(), fleet.SecurityFilter{Tenant: "demo", Subject: "anna"})
	must(t, err)
	told := make([]string, 0, len(events))
	for _, e := range events {
		told = append(told, e.Actor+" "+e.Action)
	}
	if got := strings.Join(told, ", "); got != "anna consent_given, system consent_withdrawn, anna consent_given, anna consent_given, system person_made" {
		t.Errorf("events: %s", got)
	}
	if err := p.GiveConsent(t.Context(), "demo", "anna", "everything", "x", "y"); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("a purpose that is none: %v", err)
	}
	if err := p.GiveConsent(t.Context(), "demo", "nobody", fleet.PurposeTips, "x", "y"); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("a person who is none: %v", err)
	}
}

func TestAPersonsWishesAndAddresses(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	must(t, p.SavePeople(t.Context(), []fleet.Person{person("anna")}))
	push := func(n int, secret string) fleet.Endpoint {
		return fleet.Endpoint{Channel: "push", Address: fmt.Sprintf("https://push.example/%d", n), Secret: secret, Label: "Firefox"}
	}
	must(t, p.AddEndpoint(t.Context(), "demo", "anna", push(1, "a")))
	must(t, p.AddEndpoint(t.Context(), "demo", "anna", push(2, "b")))
	must(t, p.AddEndpoint(t.Context(), "demo", "anna", push(1, "c"))) // same address: in its place
	must(t, p.RemoveEndpoint(t.Context(), "demo", "anna", "push", "https://push.example/2"))
	must(t, p.RemoveEndpoint(t.Context(), "demo", "anna", "push", "https://push.example/2"))
	must(t, p.SetPreferences(t.Context(), "demo", "anna", fleet.Preference{Topic: fleet.TopicTip, Want: fleet.WantDigest},
		fleet.Preference{Topic: fleet.TopicFault, Channel: "push", Want: fleet.WantNow}))
	must(t, p.SetPreferences(t.Context(), "demo", "anna", fleet.Preference{Topic: fleet.TopicTip, Want: fleet.WantNever},
		fleet.Preference{Topic: fleet.TopicReview, Want: ""}))
	must(t, p.SetProfile(t.Context(), fleet.Person{Tenant: "demo", ID: "anna", Name: "Anna", Locale: "en-GB", Zone: "Europe/London", DigestHour: 18}))
	must(t, p.SavePeople(t.Context(), []fleet.Person{person("anna")})) // a list that is imported again
	got, _ := p.Person("demo", "anna")
	want := person("anna")
	want.Endpoints = []fleet.Endpoint{push(1, "c")}
	want.Preferences = []fleet.Preference{{Topic: fleet.TopicFault, Channel: "push", Want: fleet.WantNow}, {Topic: fleet.TopicTip, Want: fleet.WantNever}}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for _, err := range []error{
		p.SetPreferences(t.Context(), "demo", "anna", fleet.Preference{Topic: "gossip", Want: fleet.WantNow}),
		p.SetPreferences(t.Context(), "demo", "anna", fleet.Preference{Topic: fleet.TopicTip, Want: "perhaps"}),
		p.AddEndpoint(t.Context(), "demo", "anna", fleet.Endpoint{Channel: "push"}),
		p.AddEndpoint(t.Context(), "demo", "anna", fleet.Endpoint{Channel: "email", Address: "a@b\r\nBcc: c@d"}),
		p.SetProfile(t.Context(), fleet.Person{Tenant: "demo", ID: "anna", Locale: "de", Zone: "Berlin"}),
		p.SavePeople(t.Context(), []fleet.Person{{Tenant: "demo", ID: "x y", Locale: "de", Zone: "UTC"}}),
	} {
		if fleet.CodeOf(err) != fleet.CodeInvalid {
			t.Errorf("%v: want %s", err, fleet.CodeInvalid)
		}
	}
}

// TestTwoProcessesLoseNothing: changes of one person that are made at the same time, each of something else, are all there.
func TestTwoProcessesLoseNothing(t *testing.T) {
	dir := t.TempDir()
	a, b := start(t, dir, nil), start(t, dir, nil)
	must(t, a.SavePeople(t.Context(), []fleet.Person{person("anna")}))
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			q := []process{a, b}[n%2]
			if err := q.AddEndpoint(t.Context(), "demo", "anna", fleet.Endpoint{Channel: "push", Address: fmt.Sprintf("https://push.example/%d", n)}); err != nil {
				t.Error(err)
			}
			if err := q.SetPreferences(t.Context(), "demo", "anna", fleet.Preference{Topic: fleet.TopicTip, Channel: fmt.Sprintf("c%d", n), Want: fleet.WantNever}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	must(t, a.Refresh(t.Context()))
	if p, _ := a.Person("demo", "anna"); len(p.Endpoints) != 8 || len(p.Preferences) != 8 {
		t.Errorf("%d endpoints and %d wishes are left of 8", len(p.Endpoints), len(p.Preferences))
	}
}
