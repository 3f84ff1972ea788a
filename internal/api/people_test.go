package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/registry"
	"aftercare/internal/store"
)

// peopleDesk is the registry, as app hands it over.
type peopleDesk struct{ *registry.Registry }

func (d peopleDesk) PutPerson(ctx context.Context, p fleet.Person) error {
	return d.SavePeople(ctx, []fleet.Person{p})
}

func withRegistry(t *testing.T) (http.Handler, *registry.Registry) {
	t.Helper()
	dir := t.TempDir()
	scfg, rcfg := store.DefaultConfig(), registry.DefaultConfig()
	scfg.Path, rcfg.KeyFile = filepath.Join(dir, "x.db"), filepath.Join(dir, "registry.key")
	s, err := store.Open(t.Context(), scfg, obs.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := registry.New(t.Context(), rcfg, registry.Deps{Store: s, Models: []fleet.Model{{ID: "washer-w7", Category: "washing-machine"}}, Log: obs.Discard(),
		Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Register(t.Context(), fleet.Device{Key: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, Model: "washer-w7"}); err != nil {
		t.Fatal(err)
	}
	return New(Config{Tenant: "demo"}, Deps{People: r, Wishes: peopleDesk{r}, Belongings: r, Partners: r, Log: obs.Discard()}), r
}

func TestPeopleAndPartnersByTheAPI(t *testing.T) {
	h, r := withRegistry(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"PUT", "/people/anna", `{"name":"Anna","locale":"de-DE","zone":"Europe/Berlin"}`, 204, ""},
		{"PUT", "/people/bert", `{"locale":"de-DE","zone":"Mars"}`, 400, "Mars"},
		{"PUT", "/people/bert", `{"locale":"de-DE","zone":"Europe/Berlin"}`, 204, ""},
		{"GET", "/people/nobody", "", 404, "nobody"},
		{"PUT", "/people/anna/household", `{"household":"h1","place":2}`, 204, ""},
		{"PUT", "/people/bert/household", `{"household":"h1"}`, 204, ""},
		{"GET", "/people/anna/household", "", 200, `"id":"h1","members":[{"id":"bert"`},
		{"POST", "/people/anna/preferences", `{"preferences":[{"topic":"tip","want":"never"},{"topic":"fault","channel":"push","want":"now"}]}`, 204, ""},
		{"POST", "/people/anna/preferences", `{"preferences":[{"topic":"fault","channel":"push","want":"default"}]}`, 204, ""},
		{"POST", "/people/anna/preferences", `{"preferences":[{"topic":"gossip","want":"now"}]}`, 422, "topic"},
		{"GET", "/people/anna", "", 200, `"household":"h1","place":2,"channels":[],"preferences":[{"topic":"tip","want":"never"}]`},
		{"POST", "/people/anna/consents", `{"purpose":"tips","text":"tips-1","source":"form"}`, 204, ""},
		{"POST", "/people/anna/consents/tips/withdraw", "", 204, ""},
		{"GET", "/people/anna/consents", "", 200, `"text":"tips-1","source":"form","given_at":`},
		{"GET", "/people/anna/consents", "", 200, `"withdrawn_at":`},
		{"POST", "/people/nobody/consents", `{"purpose":"tips","text":"tips-1","source":"form"}`, 404, ""},
		{"GET", "/people", "", 200, `{"people":[{"id":"anna"`},
		{"POST", "/devices/demo/WM-1/transfer", `{"person":"anna"}`, 204, ""},
		{"POST", "/devices/demo/WM-1/transfer", `{"person":"nobody"}`, 404, ""},
		{"POST", "/devices/rival/WM-1/transfer", `{"person":"anna"}`, 404, ""},
		{"GET", "/devices/demo/WM-1/cover", "", 200, `"kind":"none","days":0,"text":{"de":`},
		{"GET", "/devices/demo/none/cover", "", 404, ""},
		{"PUT", "/partners/nord", `{"name":"Nord","locale":"de-DE","zone":"Europe/Berlin","webhook":"https://example.org/o","secret":"whsec_aGlkZGVu","categories":["washing-machine"]}`, 204, ""},
		{"PUT", "/partners/sued", `{"name":"Süd","locale":"de-DE","zone":"Europe/Berlin"}`, 400, "e-mail"},
		{"POST", "/partners/nord/pause", `{"paused":true}`, 204, ""},
		{"POST", "/partners/west/pause", `{"paused":true}`, 404, ""},
		{"GET", "/partners", "", 200, `"id":"nord","name":"Nord","locale":"de-DE","zone":"Europe/Berlin","webhook":"https://example.org/o","regions":[],"categories":["washing-machine"],"models":[],"paused":true`},
	} {
		req := httptest.NewRequest(c.method, Prefix+c.path, strings.NewReader(c.body))
		if c.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if body := w.Body.String(); w.Code != c.status || !strings.Contains(body, c.want) || strings.Contains(body, "whsec_") {
			t.Errorf("%s %s: %d, want %d with %q\n%s", c.method, c.path, w.Code, c.status, c.want, body)
		}
	}
	if d, _ := r.Device(fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}); d.OwnerID != "anna" {
		t.Errorf("%+v", d)
	}
}
