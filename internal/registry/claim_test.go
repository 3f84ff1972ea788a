package registry_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// A typing mistake is a mistake, never another device: one wrong character, or two in each other's place.
func TestClaimCodeFindsTypingMistakes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		code := registry.NewClaimCode()
		if got, err := registry.ParseClaimCode(code); err != nil || got != code {
			rt.Fatalf("%q: %q, %v", code, got, err)
		}
		for i := range code {
			for _, c := range alphabet {
				wrong := code[:i] + string(c) + code[i+1:]
				if _, err := registry.ParseClaimCode(wrong); (wrong != code) != (fleet.CodeOf(err) == fleet.CodeInvalid) {
					rt.Fatalf("%q typed as %q: %v", code, wrong, err)
				}
			}
			for j := i + 1; j < len(code); j++ {
				b := []byte(code)
				b[i], b[j] = b[j], b[i]
				if _, err := registry.ParseClaimCode(string(b)); (string(b) != code) != (fleet.CodeOf(err) == fleet.CodeInvalid) {
					rt.Fatalf("%q typed as %q: %v", code, b, err)
				}
			}
		}
	})
}

func TestClaimCodeIsReadAsPeopleTypeIt(t *testing.T) {
	for range 200 {
		code := registry.NewClaimCode()
		typed := strings.NewReplacer("0", "o", "1", "l").Replace(strings.ToLower(" " + code[:3] + " " + code[3:5] + " - " + code[5:] + "\u00a0"))
		if got, err := registry.ParseClaimCode(typed); err != nil || got != code {
			t.Fatalf("%q read as %q: %v", typed, got, err)
		}
	}
	for _, no := range []string{"", "ABCDE", "ABCDE-FGHJU", "ABCDE-FGHJKM", "ÄBCDE-FGHJK", strings.Repeat("A", 10_000)} {
		if _, err := registry.ParseClaimCode(no); fleet.CodeOf(err) != fleet.CodeInvalid {
			t.Errorf("%.20q: %v", no, err)
		}
	}
}

func TestClaim(t *testing.T) {
	clock := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	p := start(t, t.TempDir(), func() time.Time { return clock })
	_, err := p.Import(t.Context(), []fleet.Device{washer("WM-1"), washer("WM-2"), washer("WM-3")})
	must(t, err)
	must(t, p.SavePeople(t.Context(), []fleet.Person{{ID: "ada", Tenant: "demo", Locale: "de", Zone: "UTC"}, {ID: "bob", Tenant: "demo", Locale: "de", Zone: "UTC"},
		{ID: "eve", Tenant: "rival", Locale: "de", Zone: "UTC"}}))
	codes := func(expires time.Time, serials ...string) []string {
		t.Helper()
		keys := make([]fleet.DeviceKey, 0, len(serials))
		for _, s := range serials {
			keys = append(keys, key(s))
		}
		made, err := p.ClaimCodes(t.Context(), keys, expires)
		must(t, err)
		out := make([]string, 0, len(serials))
		for _, k := range keys {
			if c := made[k]; len(c) != 11 || c[5] != '-' {
				t.Fatalf("code %q", c)
			}
			out = append(out, made[k])
		}
		return out
	}
	refuse := func(code, person string, want fleet.Code) {
		t.Helper()
		if k, err := p.Claim(t.Context(), "demo", code, person); fleet.CodeOf(err) != want || k != (fleet.DeviceKey{}) {
			t.Errorf("%s claims with %s: %v, %v; want %s", person, code, k, err, want)
		}
	}

	c := codes(time.Time{}, "WM-1", "WM-2")
	refuse(c[0], "nobody", fleet.CodeNotFound)
	if _, err := p.Claim(t.Context(), "rival", c[0], "eve"); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("another tenant's code: %v", err)
	}
	clock = clock.Add(10 * 365 * 24 * time.Hour) // in the box for years
	k, err := p.Claim(t.Context(), "demo", strings.ToLower(c[0]), "ada")
	if err != nil || k != key("WM-1") {
		t.Fatalf("%v, %v", k, err)
	}
	if d, _ := p.Device(key("WM-1")); d.OwnerID != "ada" {
		t.Errorf("%+v", d)
	}
	refuse(c[0], "bob", fleet.CodeNotFound) // one use
	again := codes(time.Time{}, "WM-1")
	refuse(again[0], "bob", fleet.CodeConflict) // hers already
	if _, err := p.Claim(t.Context(), "demo", again[0], "ada"); err != nil {
		t.Errorf("her own once more: %v", err)
	}

	fresh := codes(clock.Add(time.Hour), "WM-2")
	refuse(c[1], "bob", fleet.CodeNotFound) // replaced
	clock = clock.Add(time.Hour)
	refuse(fresh[0], "bob", fleet.CodeNotFound) // expired
	gone := codes(time.Time{}, "WM-3")
	must(t, p.Revoke(t.Context(), key("WM-3")))
	refuse(gone[0], "bob", fleet.CodeNotFound)
	if _, err := p.ClaimCodes(t.Context(), []fleet.DeviceKey{key("WM-3")}, time.Time{}); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("revoked: %v", err)
	}
	if _, err := p.ClaimCodes(t.Context(), []fleet.DeviceKey{key("none")}, time.Time{}); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("unknown: %v", err)
	}
	events, err := p.SecurityEvents(t.Context(), fleet.SecurityFilter{Tenant: "demo", Subject: "WM-1", Limit: 2})
	must(t, err)
	if len(events) != 2 || events[0].Action != fleet.ActionClaimed || events[0].Actor != "ada" {
		t.Errorf("%+v", events)
	}
}
