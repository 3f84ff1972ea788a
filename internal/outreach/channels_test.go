package outreach_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"aftercare/internal/egress"
	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channel/ntfy"
	"aftercare/internal/outreach/channel/webhook"
)

var secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

// call is one request that a receiver got.
type call struct {
	header http.Header
	body   string
}

// receiver is somebody's server: it answers by the script, the last answer for ever, and remembers what it got.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	script []http.HandlerFunc
	calls  []call
	got    chan call
}

func receive(t *testing.T, script ...http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{script: script, got: make(chan call, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		c := call{req.Header.Clone(), string(b)}
		r.mu.Lock()
		answer := r.script[min(len(r.calls), len(r.script)-1)]
		r.calls = append(r.calls, c)
		r.mu.Unlock()
		r.got <- c
		answer(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) received() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]call(nil), r.calls...)
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

// hang answers when the caller has gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// client may call the receivers, though they are on loopback.
func client(t *testing.T, timeout time.Duration, rs ...*receiver) *http.Client {
	t.Helper()
	c := egress.DefaultConfig()
	c.Timeout = timeout
	for _, r := range rs {
		c.Allow = append(c.Allow, r.Listener.Addr().String())
	}
	h := egress.New(c)
	t.Cleanup(h.CloseIdleConnections)
	return h
}

var message = fleet.Message{ID: "dlv-1", Tenant: "demo", CaseID: "case-1", Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, PersonID: "anna",
	Topic: "opened", Kind: fleet.KindMaintenance, Severity: fleet.Due, Locale: "de", Title: "Die Waschmaschine in der Küche pumpt langsam ab.",
	Body: "Das Abpumpen dauerte 94 s.", At: time.Date(2025, 11, 21, 12, 0, 0, 0, time.UTC)}

// TestChannelContract is what every channel to the outside must do.
func TestChannelContract(t *testing.T) {
	channels := map[string]func(*http.Client) outreach.Channel{
		"ntfy":    func(h *http.Client) outreach.Channel { return ntfy.New(ntfy.DefaultConfig(), h, time.Now) },
		"webhook": func(h *http.Client) outreach.Channel { return webhook.New(h, time.Now) },
	}
	for name, build := range channels {
		t.Run(name, func(t *testing.T) { contract(t, name, build) })
	}
}

func contract(t *testing.T, name string, build func(*http.Client) outreach.Channel) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
		wish   time.Duration
	}{
		{"200", status(200), "", 0},
		{"202", status(202), "", 0},
		{"429", status(429, "Retry-After", "90"), "again", 90 * time.Second},
		{"500", status(500), "again", 0},
		{"410", status(410), "gone", 0},
		{"301", status(301, "Location", "/elsewhere"), "never", 0},
		{"timeout", hang, "again", 0},
		{"endless answer", func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				_, _ = w.Write(make100k)
			}
		}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := receive(t, c.answer)
			timeout := 10 * time.Second
			if c.name == "timeout" {
				timeout = 50 * time.Millisecond
			}
			ch := build(client(t, timeout, r))
			if ch.Name() != name {
				t.Errorf("name %q", ch.Name())
			}
			err := ch.Send(t.Context(), message, fleet.Endpoint{Channel: name, Address: r.URL + "/s3cret-path", Secret: secret})
			if outreach.Failed(err) != c.want || outreach.Wish(err) != c.wish {
				t.Errorf("%v is %q after %v, want %q after %v", err, outreach.Failed(err), outreach.Wish(err), c.want, c.wish)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret-path") || strings.Contains(err.Error(), secret)) {
				t.Errorf("the error tells a secret: %v", err)
			}
			if n := len(r.received()); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
		})
	}
	t.Run("forbidden address", func(t *testing.T) {
		r := receive(t, status(200))
		err := build(client(t, time.Second)).Send(t.Context(), message, fleet.Endpoint{Channel: name, Address: r.URL + "/x", Secret: secret})
		if outreach.Failed(err) != "never" || len(r.received()) != 0 {
			t.Errorf("%v after %d calls, want never", err, len(r.received()))
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		r := receive(t, status(200))
		h := client(t, time.Second, r)
		r.Close()
		if err := build(h).Send(t.Context(), message, fleet.Endpoint{Channel: name, Address: r.URL, Secret: secret}); outreach.Failed(err) != "again" {
			t.Errorf("%v, want again", err)
		}
	})
	t.Run("context ends", func(t *testing.T) {
		r := receive(t, hang)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-r.got; cancel() }()
		if err := build(client(t, time.Minute, r)).Send(ctx, message, fleet.Endpoint{Channel: name, Address: r.URL, Secret: secret}); outreach.Failed(err) != "again" {
			t.Errorf("%v, want again", err)
		}
	})
	t.Run("hostile message", func(t *testing.T) {
		r := receive(t, status(200))
		m := message
		m.Title, m.Body = "a\r\nX-Injected: yes", "b\r\n\r\nc"
		_ = build(client(t, time.Second, r)).Send(t.Context(), m, fleet.Endpoint{Channel: name, Address: r.URL, Secret: secret})
		for _, c := range r.received() {
			if c.header.Get("X-Injected") != "" {
				t.Error("a header was injected")
			}
		}
	})
}

var make100k = make([]byte, 100<<10)

func TestNtfyMessage(t *testing.T) {
	r := receive(t, status(200))
	h := client(t, time.Second, r)
	c := ntfy.Config{Link: "https://care.example/m/{message}?case={case}"}
	to := fleet.Endpoint{Channel: "ntfy", Address: r.URL + "/topic", Secret: "tk_abc"}
	send := func(c ntfy.Config, m fleet.Message) call {
		t.Helper()
		if err := ntfy.New(c, h, time.Now).Send(t.Context(), m, to); err != nil {
			t.Fatal(err)
		}
		return <-r.got
	}
	got := send(c, message)
	title, err := new(mime.WordDecoder).DecodeHeader(got.header.Get("Title"))
	if err != nil || title != message.Title {
		t.Errorf("title %q, %v", title, err)
	}
	for k, want := range map[string]string{"Priority": "3", "Tags": "severity-due,kind-maintenance", "Authorization": "Bearer tk_abc",
		"Click": "https://care.example/m/dlv-1?case=case-1", "Idempotency-Key": "dlv-1", "X-Sequence-ID": "dlv-1"} {
		if got.header.Get(k) != want {
			t.Errorf("%s: %q, want %q", k, got.header.Get(k), want)
		}
	}
	if strings.Contains(got.body, "94") || got.body == "" {
		t.Errorf("the body %q leaves the house though it should not", got.body)
	}
	if got := send(ntfy.Config{Full: true}, message); got.body != message.Body {
		t.Errorf("full: body %q", got.body)
	}
	m := message
	m.Kind, m.Severity = fleet.KindSafety, fleet.Danger
	if got := send(c, m); got.body != m.Body || got.header.Get("Priority") != "5" {
		t.Errorf("safety: priority %s, body %q", got.header.Get("Priority"), got.body)
	}
}

func TestWebhookIsVerifiedByTheStandardsLibrary(t *testing.T) {
	r := receive(t, status(200))
	other := "whsec_" + base64.StdEncoding.EncodeToString([]byte("another secret of 24 byte"))
	send := func(secret string) call {
		t.Helper()
		if err := webhook.New(client(t, time.Second, r), time.Now).Send(t.Context(), message, fleet.Endpoint{Channel: "webhook", Address: r.URL, Secret: secret}); err != nil {
			t.Fatal(err)
		}
		return <-r.got
	}
	verify := func(c call, secret string) error {
		wh, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		return wh.Verify([]byte(c.body), c.header)
	}
	one, both := send(secret), send(secret+" "+other)
	if err := verify(one, secret); err != nil {
		t.Error(err)
	}
	if verify(one, other) == nil {
		t.Error("verified with a secret it was not signed with")
	}
	for _, s := range []string{secret, other} {
		if err := verify(both, s); err != nil {
			t.Errorf("while secrets rotate: %v", err)
		}
	}
	if id := one.header.Get("webhook-id"); id != message.ID {
		t.Errorf("webhook-id %q", id)
	}
	var p struct {
		Type      string
		Timestamp time.Time
		Data      map[string]any
	}
	if err := json.Unmarshal([]byte(one.body), &p); err != nil || p.Type != "case.opened" || !p.Timestamp.Equal(message.At) || p.Data["title"] != message.Title {
		t.Errorf("payload %s, %v", one.body, err)
	}
}
