package web

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"aftercare/internal/fleet"
)

// listen opens the live feed on a real connection and returns its lines; the channel closes when the feed ends.
func (f *fixture) listen(t *testing.T, srv *httptest.Server, query string) (<-chan string, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/live"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testToken)
	resp, err := srv.Client().Do(r) //nolint:bodyclose // closed by the reader below
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("live: %d", resp.StatusCode)
	}
	if resp.Header.Get("X-Accel-Buffering") != "no" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		t.Errorf("headers %v", resp.Header)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		defer func() { _ = resp.Body.Close() }()
		for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
			if sc.Text() != "" {
				lines <- sc.Text()
			}
		}
	}()
	if l := next(t, lines); l != "retry: 2000" {
		t.Errorf("first line %q", l)
	}
	return lines, cancel
}

func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case l := <-lines:
		return l
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		return ""
	}
}

func ended(t *testing.T, lines <-chan string, within time.Duration) {
	t.Helper()
	late := time.After(within)
	for {
		select {
		case _, open := <-lines:
			if !open {
				return
			}
		case <-late:
			t.Fatalf("the live connection did not end within %v", within)
		}
	}
}

func server(t *testing.T, f *fixture) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(f.web)
	t.Cleanup(func() { f.web.Close(); srv.Close() })
	return srv
}

func TestLiveTellsWhatConcernsTheViewer(t *testing.T) {
	f := newFixture(t)
	srv := server(t, f)
	all, cancel := f.listen(t, srv, "")
	defer cancel()
	tom, cancelTom := f.listen(t, srv, "?person=p-hughes")
	defer cancelTom()
	f.hub.Publish(fleet.Notice{ID: "foreign", Type: "case", Device: fleet.DeviceKey{Tenant: "other", Serial: "X"}})
	f.hub.Publish(fleet.Notice{ID: "anna", Type: "message", Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-0001"}, PersonID: "p-berger"})
	f.hub.Publish(fleet.Notice{ID: "tom", Type: "case", Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-0002"}, CaseID: "c1", Action: "opened"})
	if l := next(t, all); !strings.Contains(l, `"id":"anna"`) {
		t.Errorf("first for the desk: %s", l)
	}
	if l := next(t, all); l != `data: {"id":"tom","type":"case","action":"opened","device":"demo/WM-0002","case":"c1"}` {
		t.Errorf("second for the desk: %s", l)
	}
	if l := next(t, tom); !strings.Contains(l, `"id":"tom"`) {
		t.Errorf("first for Tom: %s", l)
	}
}

func TestLiveEndsWithTheServer(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	f := newFixture(t)
	srv := httptest.NewUnstartedServer(f.web)
	srv.Config.RegisterOnShutdown(f.web.Close)
	srv.Start()
	a, cancelA := f.listen(t, srv, "")
	defer cancelA()
	b, cancelB := f.listen(t, srv, "")
	defer cancelB()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := srv.Config.Shutdown(ctx); err != nil {
		t.Errorf("shutdown within a second: %v", err)
	}
	ended(t, a, time.Second)
	ended(t, b, time.Second)
	if f.hub.count() != 0 {
		t.Errorf("%v subscriptions are left", f.hub.count())
	}
	srv.Close()
	srv.Client().CloseIdleConnections()
}

func TestLiveIsBounded(t *testing.T) {
	f := newFixture(t)
	f.web.liveSlots = make(chan struct{}, 1)
	srv := server(t, f)
	first, cancel := f.listen(t, srv, "")
	r := request(http.MethodGet, "/live", nil)
	r.Header.Set("Authorization", "Bearer "+testToken)
	if w := f.do(r); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("one too many: %d", w.Code)
	}
	cancel()
	ended(t, first, 5*time.Second)
}

func TestHubLetsTheSlowGo(t *testing.T) {
	h := NewHub(nil)
	slow, cancelSlow := h.Subscribe()
	quick, cancelQuick := h.Subscribe()
	for range hubBuffer + 1 {
		h.Publish(fleet.Notice{ID: "n"})
		<-quick
	}
	n := 0
	for range slow {
		n++
	}
	if n != hubBuffer {
		t.Errorf("the slow one got %d before it was let go, want %d", n, hubBuffer)
	}
	if h.count() != 1 {
		t.Errorf("%v subscribers, want the quick one", h.count())
	}
	cancelSlow()
	cancelQuick()
	cancelQuick()
	h.Close()
	h.Publish(fleet.Notice{})
	if late, cancel := h.Subscribe(); cancel != nil {
		if _, open := <-late; open {
			t.Error("a closed hub still speaks")
		}
	}
}

func TestLiveOutdatesWhatThePagesKnow(t *testing.T) {
	f := newFixture(t)
	srv := server(t, f)
	lines, cancel := f.listen(t, srv, "")
	defer cancel()
	if !strings.Contains(f.get(t, "/cases"), "drains slowly") || strings.Contains(f.get(t, "/"), "10 open cases") {
		t.Fatal("not the fleet this test is about")
	}
	f.mu.Lock()
	c := f.addCase("FR-0020", "freezer-warm", fleet.KindFault, fleet.Fault, 0)
	f.mu.Unlock()
	f.hub.Publish(fleet.Notice{ID: "n", Type: "case", Device: c.Device, CaseID: c.ID, Action: "opened"})
	next(t, lines)
	f.now = f.now.Add(400 * time.Millisecond) // what the script waits
	if !strings.Contains(f.get(t, "/?fragment=1"), "10 open cases") {
		t.Error("the page does not know of the case it was told about")
	}
}

func TestUsuallyHasAsFewDigitsAsTellItsEndsApart(t *testing.T) {
	v := newFixture(t).web.view(httptest.NewRecorder(), request(http.MethodGet, "/", nil), "")
	for _, c := range []struct {
		low, high float64
		unit      string
		want      string
	}{{6.98, 22.6, "°C", "usually 7 to 23\u00a0°C"}, {-18.6, -18.2, "°C", "usually −19 to −18\u00a0°C"}, {12.41, 12.44, "V", "usually 12.4\u00a0V"}, {12.41, 12.44, "", "usually 12.4"}, {12.4, 12.2, "V", "usually 12.4 to 12.2\u00a0V"}} {
		if got := v.usually(c.low, c.high, c.unit); got != c.want {
			t.Errorf("%v to %v: %q, want %q", c.low, c.high, got, c.want)
		}
	}
}
