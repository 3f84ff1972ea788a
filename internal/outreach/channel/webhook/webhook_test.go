package webhook

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"aftercare/internal/egress"
	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channeltest"
)

// secret builds a signing secret of so many bytes.
func secret(n int) string {
	return prefix + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("0123456789abcdef", 5)[:n]))
}

func channel(t *testing.T, w channeltest.World) *Channel {
	e := egress.DefaultConfig()
	e.Allow, e.CAFile, e.Timeout = w.Allow, w.CAFile, w.Timeout
	client := egress.New(e)
	t.Cleanup(client.CloseIdleConnections)
	return New(client, w.Now)
}

// sent is what a receiver reads.
type sent struct {
	Type      string
	Timestamp time.Time
	Data      map[string]any
}

func read(t *testing.T, c channeltest.Call) (s sent) {
	t.Helper()
	if err := json.Unmarshal(c.Body, &s); err != nil {
		t.Errorf("%q: %v", c.Body, err)
	}
	return s
}

func TestContract(t *testing.T) {
	channeltest.Run(t, channeltest.Suite{
		Name: "webhook",
		New: func(t *testing.T, w channeltest.World) (channeltest.Sender, fleet.Endpoint) {
			return channel(t, w), fleet.Endpoint{Channel: "webhook", Address: w.URL + "/s3cret-path?token=s3cret", Secret: secret(32) + " " + secret(24)}
		},
		Classes: map[int]string{200: "", 201: "", 202: "", 204: "", 301: "never", 302: "never", 307: "never", 400: "never", 401: "again", 403: "again", 404: "again",
			405: "never", 408: "again", 410: "gone", 413: "never", 422: "never", 429: "again", 500: "again", 502: "again", 503: "again", 504: "again"},
		Key: func(_ *testing.T, c channeltest.Call) string { return c.Header["Webhook-Id"][0] },
		Arrived: func(t *testing.T, c channeltest.Call, m fleet.Message) {
			t.Helper()
			d := read(t, c).Data
			valid := func(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
			want := strings.ReplaceAll(valid(m.Title), "\ufffd\ufffd\ufffd", "\ufffd")
			if got, _ := d["title"].(string); strings.ReplaceAll(got, "\ufffd\ufffd\ufffd", "\ufffd") != want || d["injected"] != nil || d["message_id"] != m.ID {
				t.Errorf("title %q arrived as %q", m.Title, got)
			}
		},
		Secrets: []string{"s3cret"},
	})
}

// posted sends through a receiver and returns what it got.
func posted(t *testing.T, keys string, send func(*Channel, fleet.Endpoint) error) channeltest.Call {
	t.Helper()
	r := channeltest.StartHTTP(t, nil)
	ch := channel(t, channeltest.World{Allow: []string{r.Host()}, Timeout: time.Minute, Now: time.Now})
	if err := send(ch, fleet.Endpoint{Channel: "webhook", Address: r.URL(), Secret: keys}); err != nil {
		t.Fatal(err)
	}
	return r.Calls()[0]
}

// SEC-14: the example of the Standard Webhooks specification and its libraries.
func TestSpecificationVector(t *testing.T) {
	keys, err := Keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature %q, want %q", got, want)
	}
}

// SEC-14: the specification's own library accepts what is sent, with each of two secrets while one replaces the other.
func TestVerifiedByTheStandardsLibrary(t *testing.T) {
	send := func(ch *Channel, to fleet.Endpoint) error { return ch.Send(t.Context(), channeltest.Message(), to) }
	verify := func(c channeltest.Call, key string) error {
		wh, err := standardwebhooks.NewWebhook(key)
		if err != nil {
			t.Fatal(err)
		}
		return wh.Verify(c.Body, http.Header(c.Header))
	}
	one, both := posted(t, secret(32), send), posted(t, secret(32)+" "+secret(24), send)
	if err := verify(one, secret(32)); err != nil {
		t.Error(err)
	}
	if verify(one, secret(24)) == nil {
		t.Error("verified with a secret it was not signed with")
	}
	for _, key := range []string{secret(32), secret(24)} {
		if err := verify(both, key); err != nil {
			t.Errorf("while secrets rotate: %v", err)
		}
	}
	if both.Body[0]++; verify(both, secret(32)) == nil {
		t.Error("verified though it was changed")
	}
}

func TestWhatIsPosted(t *testing.T) {
	m := channeltest.Message()
	m.Evidence = []fleet.Evidence{{Name: "drain_s", Value: 94, Unit: "s", At: m.At}, {Name: "load", Value: math.NaN()}}
	c := posted(t, secret(24), func(ch *Channel, to fleet.Endpoint) error { return ch.Send(t.Context(), m, to) })
	got := read(t, c)
	if got.Type != "case.opened" || !got.Timestamp.Equal(m.At) || got.Data["subject"] != "maintenance" || got.Data["url"] != m.URL || got.Data["severity"] != "due" {
		t.Errorf("%s", c.Body)
	}
	if ev, _ := got.Data["evidence"].([]any); len(ev) != 1 || ev[0].(map[string]any)["value"] != 94.0 {
		t.Errorf("evidence %v", got.Data["evidence"])
	}
	if acts, _ := got.Data["actions"].([]any); len(acts) != 4 || acts[1].(map[string]any)["url"] != m.Actions[1].URL {
		t.Errorf("actions %v", got.Data["actions"])
	}
	if strings.Contains(string(c.Body), "sealed-book\"") || strings.Contains(string(c.Body), m.Receipt) {
		t.Errorf("a token that answers left the house: %s", c.Body)
	}
	if got.Data["expires"] != m.At.Add(m.TTL).Format(time.RFC3339) {
		t.Errorf("expires %v", got.Data["expires"])
	}
}

func TestOperation(t *testing.T) {
	var _ outreach.Operator = &Channel{}
	op := fleet.Operation{Name: "dead_letter", Severity: "warning", Summary: "3 messages died", Labels: map[string]string{"tenant": "demo"}, URL: "https://desk.example/dead", At: channeltest.Now}
	c := posted(t, secret(24), func(ch *Channel, to fleet.Endpoint) error { return ch.Operate(t.Context(), op, to) })
	got := read(t, c)
	if got.Type != "operation.dead_letter" || got.Data["summary"] != op.Summary || got.Data["ends"] != nil || c.Header["Webhook-Id"][0] != outreach.OperationKey(op) {
		t.Errorf("%v %s", c.Header, c.Body)
	}
}

func TestKeys(t *testing.T) {
	for _, good := range []string{secret(24), secret(64), secret(32) + " " + secret(24)} {
		if _, err := Keys(good); err != nil {
			t.Errorf("Keys(%q): %v", good, err)
		}
	}
	for _, bad := range []string{"", "   ", secret(23), secret(65), "whsec_%%", strings.TrimPrefix(secret(32), prefix), secret(24) + " " + secret(24) + " " + secret(24), secret(24) + " x"} {
		_, err := Keys(bad)
		if err == nil {
			t.Errorf("Keys(%q) passed", bad)
		} else if len(bad) > 10 && strings.Contains(err.Error(), strings.TrimPrefix(bad, prefix)) {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

func FuzzKeys(f *testing.F) {
	f.Add(secret(24) + " " + secret(64))
	f.Fuzz(func(t *testing.T, s string) {
		keys, err := Keys(s)
		if err == nil && (len(keys) != len(strings.Fields(s)) || len(keys) > 2) {
			t.Errorf("%q gave %d keys", s, len(keys))
		}
		for _, k := range keys {
			if len(k) < 24 || len(k) > 64 {
				t.Errorf("%q gave a key of %d bytes", s, len(k))
			}
		}
	})
}

func TestWithoutSecretNothingIsSent(t *testing.T) {
	// No client: reaching for it would panic.
	err := New(nil, time.Now).Send(t.Context(), fleet.Message{}, fleet.Endpoint{Channel: "webhook", Address: "https://hook.example/"})
	if class, _ := outreach.ClassOf(err); class != "never" || !strings.Contains(err.Error(), "signing secret") {
		t.Errorf("%v", err)
	}
}
