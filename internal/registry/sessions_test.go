package registry_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func TestASessionLetsOneInUntilItEnds(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	p := start(t, dir, func() time.Time { return now })
	must(t, p.SavePeople(t.Context(), []fleet.Person{person("anna"), person("bert")}))
	open := func(who, agent string) string {
		t.Helper()
		token, err := p.OpenSession(t.Context(), "demo", who, agent, 30*24*time.Hour)
		must(t, err)
		return token
	}
	first, second, his := open("anna", "Firefox\r\non Android"), open("anna", "Safari"), open("bert", "Edge")
	if first == second || len(first) != 43 {
		t.Fatalf("tokens %q and %q", first, second)
	}
	refused := func(token string) {
		t.Helper()
		if s, err := p.UseSession(t.Context(), token); fleet.CodeOf(err) != fleet.CodeDenied || s != nil {
			t.Errorf("%q: %+v, %v", token, s, err)
		}
	}
	s, err := p.UseSession(t.Context(), first)
	if err != nil || s.PersonID != "anna" || s.Tenant != "demo" || s.Agent != "Firefoxon Android" {
		t.Fatalf("%+v, %v", s, err)
	}
	refused("")
	refused(first[:42] + "A"[:1] + "x")
	refused(second[:42])
	last := func() time.Time {
		t.Helper()
		all, err := p.Sessions(t.Context(), "demo", "anna")
		must(t, err)
		for _, x := range all {
			if x.ID == s.ID {
				return x.UsedAt
			}
		}
		t.Fatal("no such session")
		return time.Time{}
	}
	began := now
	for range 59 { // within the hour nothing is written
		now = now.Add(time.Minute)
		_, err := p.UseSession(t.Context(), first)
		must(t, err)
	}
	if !last().Equal(began) {
		t.Errorf("used at %s", last())
	}
	now = now.Add(time.Minute)
	_, err = p.UseSession(t.Context(), first)
	must(t, err)
	if !last().Equal(now) {
		t.Errorf("used at %s, want %s", last(), now)
	}
	must(t, p.RevokeSession(t.Context(), "demo", "bert", s.ID)) // hers: he ends nothing
	if _, err := p.UseSession(t.Context(), first); err != nil {
		t.Error(err)
	}
	must(t, p.RevokeSession(t.Context(), "demo", "anna", s.ID))
	refused(first)
	if _, err := p.UseSession(t.Context(), second); err != nil {
		t.Error(err)
	}
	must(t, p.RevokeSession(t.Context(), "demo", "anna", ""))
	refused(second)
	now = now.Add(30 * 24 * time.Hour)
	refused(his)
	text, err := os.ReadFile(filepath.Join(dir, "x.db"))
	must(t, err)
	if wal, err := os.ReadFile(filepath.Join(dir, "x.db-wal")); err == nil {
		text = append(text, wal...)
	}
	if bytes.Contains(text, []byte(first)) {
		t.Error("a token is on disk")
	}
	events, err := p.SecurityEvents(t.Context(), fleet.SecurityFilter{Tenant: "demo", Subject: "anna"})
	must(t, err)
	n := map[string]int{}
	for _, e := range events {
		n[e.Action]++
	}
	if n[fleet.ActionSignedIn] != 2 || n[fleet.ActionSignedOut] != 2 {
		t.Errorf("events %v", n)
	}
}

// A link works once, also when two processes see it at the same moment.
func TestALinkWorksOnce(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	clock := func() time.Time { return now }
	a, b := start(t, dir, clock), start(t, dir, clock)
	must(t, a.SavePeople(t.Context(), []fleet.Person{person("anna")}))
	must(t, b.Refresh(t.Context()))
	var in, denied atomic.Int32
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			_, err := []process{a, b}[n%2].OpenSessionByLink(t.Context(), "demo", "anna", "x", time.Hour, "link-1", now.Add(time.Hour))
			switch fleet.CodeOf(err) {
			case "":
				in.Add(1)
			case fleet.CodeDenied:
				denied.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 || denied.Load() != 5 {
		t.Errorf("%d got in, %d were refused", in.Load(), denied.Load())
	}
	if _, err := a.OpenSessionByLink(t.Context(), "demo", "anna", "x", time.Hour, "link-2", now.Add(-time.Second)); fleet.CodeOf(err) != fleet.CodeDenied {
		t.Errorf("an old link: %v", err)
	}
	if _, err := a.OpenSessionByLink(t.Context(), "demo", "nobody", "x", time.Hour, "link-3", now.Add(time.Hour)); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("a link of nobody's: %v", err)
	}
}
