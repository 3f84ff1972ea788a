package push

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/egress"
	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channeltest"
)

// browser is the receiver of every test.
var browser = must(channeltest.NewBrowser())

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// channel returns one that may call the world's receiver as if it were a push service.
func channel(t *testing.T, w channeltest.World) *Channel {
	t.Helper()
	e := egress.DefaultConfig()
	e.Allow, e.CAFile, e.Timeout = w.Allow, w.CAFile, w.Timeout
	client := egress.New(e)
	t.Cleanup(client.CloseIdleConnections)
	return New(Config{Contact: "mailto:care@example.org", Hosts: []string{must(url.Parse(w.URL)).Host}},
		Deps{Key: must(NewKey()), Client: client, Now: w.Now, Registerer: prometheus.NewRegistry()})
}

func read(t *testing.T, c channeltest.Call) (p payload) {
	t.Helper()
	text, err := browser.Decrypt(c.Body)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		t.Errorf("what arrived: %v", err)
	}
	return p
}

func TestContract(t *testing.T) {
	channeltest.Run(t, channeltest.Suite{
		Name: "push",
		New: func(t *testing.T, w channeltest.World) (channeltest.Sender, fleet.Endpoint) {
			return channel(t, w), fleet.Endpoint{Channel: "push", Address: w.URL + "/wpush/s3cret-id", Secret: browser.Secret()}
		},
		Classes: map[int]string{200: "", 201: "", 202: "", 204: "", 301: "never", 302: "never", 307: "never", 400: "never", 401: "again", 403: "again", 404: "gone",
			405: "never", 408: "again", 410: "gone", 413: "never", 422: "never", 429: "again", 500: "again", 502: "again", 503: "again", 504: "again"},
		Key: func(t *testing.T, c channeltest.Call) string { return read(t, c).ID },
		Arrived: func(t *testing.T, c channeltest.Call, m fleet.Message) {
			t.Helper()
			p := read(t, c)
			if p.ID != m.ID || utf8.RuneCountInString(p.Title) > maxTitle || m.Title == channeltest.Message().Title && p.Title != m.Title || p.URL != m.URL {
				t.Errorf("%+v", p)
			}
			if len(c.Body) > 4096 {
				t.Errorf("SEC-16: %d bytes", len(c.Body))
			}
		},
		Secrets: []string{"s3cret-id"},
	})
}

func TestWhatIsPosted(t *testing.T) {
	r := channeltest.StartHTTP(t, nil)
	ch := channel(t, channeltest.World{URL: r.URL(), Allow: []string{r.Host()}, Timeout: time.Minute, Now: func() time.Time { return channeltest.Now }})
	send := func(m fleet.Message) channeltest.Call {
		t.Helper()
		if err := ch.Send(t.Context(), m, fleet.Endpoint{Channel: "push", Address: r.URL() + "/x", Secret: browser.Secret()}); err != nil {
			t.Fatal(err)
		}
		calls := r.Calls()
		return calls[len(calls)-1]
	}
	m := channeltest.Message()
	c := send(m)
	for k, want := range map[string]string{"Ttl": "93600", "Urgency": "normal", "Topic": m.Collapse, "Content-Encoding": "aes128gcm"} {
		if got := c.Header[k]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	p := read(t, c)
	if p.Title != m.Title || p.Body != m.Body || p.URL != m.URL || p.Tag != m.Collapse || p.Receipt != m.Receipt || p.Urgent || p.Lang != "de" || len(p.Actions) != 4 ||
		p.Actions[1] != (button{fleet.VerdictBook, "Termin vereinbaren", "sealed-book"}) {
		t.Errorf("payload %+v", p)
	}
	if again := send(m); again.Header["Authorization"][0] != c.Header["Authorization"][0] || string(again.Body[:16]) == string(c.Body[:16]) {
		t.Error("the second try has another token, or the same salt")
	}
	m.Subject, m.Collapse, m.TTL = fleet.TopicSafety, "not / a topic", 0
	if c := send(m); c.Header["Urgency"][0] != "high" || c.Header["Topic"] != nil || c.Header["Ttl"][0] != "86400" || !read(t, c).Urgent {
		t.Errorf("safety: %v", c.Header)
	}
	m.Body = strings.Repeat("Reinigen Sie das Flusensieb. ", 300)
	if p := read(t, send(m)); len(p.Actions) != 4 || !strings.HasSuffix(p.Body, "…") || len(p.Body) < 1000 {
		t.Errorf("a long body: %+v", p)
	}
	r.Act(channeltest.Answer{Code: 413})
	if err := ch.Send(t.Context(), m, fleet.Endpoint{Channel: "push", Address: r.URL() + "/x", Secret: browser.Secret()}); err == nil {
		t.Error("413 is no success")
	}
	for what, want := range map[string]float64{"shortened": 2, "refused": 1} {
		if got := testutil.ToFloat64(ch.shortened.WithLabelValues(what)); got != want {
			t.Errorf("counted %v %s, want %v", got, what, want)
		}
	}
}

// SEC-16: only push services that are known are called, whatever a browser hands in.
func TestAccepts(t *testing.T) {
	c := New(Config{Hosts: []string{"push.example.org", "*.up.example.org", "127.0.0.1:4711"}}, Deps{Key: must(NewKey())})
	for _, good := range []string{"https://fcm.googleapis.com/fcm/send/abc:def", "https://updates.push.services.mozilla.com/wpush/v2/x", "https://eu.push.services.mozilla.com/x",
		"https://web.push.apple.com/QA", "https://wns2-par02p.notify.windows.com/w/?token=x", "https://FCM.googleapis.com:443/x", "https://push.example.org/x",
		"https://a.b.up.example.org/x", "http://127.0.0.1:4711/x"} {
		if err := c.Accepts(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "x", "https://", "https://example.org/", "http://fcm.googleapis.com/x", "https://fcm.googleapis.com:8443/x", "https://fcm.googleapis.com.evil.example/x",
		"https://evilfcm.googleapis.com/x", "https://push.apple.com/x", "https://evilpush.apple.com/x", "https://user@fcm.googleapis.com/x", "https://fcm.googleapis.com@evil.example/x",
		"https://evil.example/fcm.googleapis.com", "https://evil.example#.push.apple.com", "https://evil.example?.push.apple.com", "https://evil.example/\\.push.apple.com",
		"https://127.0.0.1:4712/x", "https://127.0.0.1/x", "https://up.example.org/x", "ftp://fcm.googleapis.com/x", "https://fcm.googleapis.com./x", "https://169.254.169.254/",
		"https://fcm.googleapis.com/" + strings.Repeat("x", maxEndpoint)} {
		if err := c.Accepts(bad); fleet.CodeOf(err) != fleet.CodeInvalid {
			t.Errorf("%s: %v, want it refused", bad, err)
		}
		err := c.Send(t.Context(), channeltest.Message(), fleet.Endpoint{Channel: "push", Address: bad, Secret: browser.Secret()}) // no client: calling would panic
		if class, _ := outreach.ClassOf(err); class != "never" {
			t.Errorf("%s: %v is %q", bad, err, class)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	good := Config{Contact: "mailto:care@example.org", Hosts: []string{"push.example.org", "*.example.org", "127.0.0.1:4711", "localhost:1"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	err := Config{Contact: "care@example.org", Hosts: []string{"*", "https://x.example"}}.Validate()
	for _, want := range []string{`push.contact "care@example.org"`, `push.hosts[0] "*"`, "push.hosts[1]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to name %s", err, want)
		}
	}
}
