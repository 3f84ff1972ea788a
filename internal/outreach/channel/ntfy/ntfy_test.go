package ntfy

import (
	"encoding/json"
	"mime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"aftercare/internal/egress"
	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channeltest"
)

func channel(t *testing.T, c Config, w channeltest.World) *Channel {
	e := egress.DefaultConfig()
	e.Allow, e.CAFile, e.Timeout = w.Allow, w.CAFile, w.Timeout
	client := egress.New(e)
	t.Cleanup(client.CloseIdleConnections)
	return New(c, client, w.Now)
}

func TestContract(t *testing.T) {
	channeltest.Run(t, channeltest.Suite{
		Name: "ntfy",
		New: func(t *testing.T, w channeltest.World) (channeltest.Sender, fleet.Endpoint) {
			return channel(t, Config{Full: true}, w), fleet.Endpoint{Channel: "ntfy", Address: w.URL + "/s3cret-topic", Secret: "tk_s3cret"}
		},
		Classes: map[int]string{200: "", 201: "", 202: "", 204: "", 301: "never", 302: "never", 307: "never", 400: "never", 401: "again", 403: "again", 404: "again",
			405: "never", 408: "again", 410: "gone", 413: "never", 422: "never", 429: "again", 500: "again", 502: "again", 503: "again", 504: "again"},
		Key: func(_ *testing.T, c channeltest.Call) string { return c.Header["X-Sequence-Id"][0] },
		Arrived: func(t *testing.T, c channeltest.Call, m fleet.Message) {
			t.Helper()
			title, err := new(mime.WordDecoder).DecodeHeader(c.Header["Title"][0])
			if err != nil || strings.ContainsAny(title, "\r\n") || utf8.RuneCountInString(title) > maxTitle || m.Title == channeltest.Message().Title && title != m.Title {
				t.Errorf("title %q, %v", title, err)
			}
			if len(c.Body) == 0 || len(c.Body) > maxBody || !utf8.Valid(c.Body) || m.Body == channeltest.Message().Body && string(c.Body) != m.Body {
				t.Errorf("body %q", c.Body)
			}
			var actions []action
			if err := json.Unmarshal([]byte(c.Header["Actions"][0]), &actions); err != nil || len(actions) == 0 || len(actions) > maxActions {
				t.Errorf("actions %q, %v", c.Header["Actions"], err)
			}
			for _, a := range actions {
				if a.Action != "view" || !strings.HasPrefix(a.URL, "https://care.example/m/") {
					t.Errorf("action %+v", a)
				}
			}
		},
		Secrets: []string{"s3cret-topic"},
	})
}

// posted sends through a receiver and returns what it got.
func posted(t *testing.T, c Config, send func(*Channel, fleet.Endpoint) error) channeltest.Call {
	t.Helper()
	r := channeltest.StartHTTP(t, nil)
	ch := channel(t, c, channeltest.World{Allow: []string{r.Host()}, Timeout: time.Minute, Now: time.Now})
	if err := send(ch, fleet.Endpoint{Channel: "ntfy", Address: r.URL() + "/topic", Secret: "tk_abc"}); err != nil {
		t.Fatal(err)
	}
	return r.Calls()[0]
}

func TestWhatIsPosted(t *testing.T) {
	m := channeltest.Message()
	send := func(c Config, m fleet.Message) channeltest.Call {
		return posted(t, c, func(ch *Channel, to fleet.Endpoint) error { return ch.Send(t.Context(), m, to) })
	}
	got := send(Config{}, m)
	for k, want := range map[string]string{"Priority": "3", "Tags": "severity-due,kind-maintenance", "Authorization": "Bearer tk_abc", "Click": m.URL,
		"X-Sequence-Id": m.Collapse} {
		if got.Header[k][0] != want {
			t.Errorf("%s: %q, want %q", k, got.Header[k], want)
		}
	}
	var actions []action
	if err := json.Unmarshal([]byte(got.Header["Actions"][0]), &actions); err != nil || len(actions) != 3 || actions[1] != (action{"view", "Termin vereinbaren", m.Actions[1].URL, true}) {
		t.Errorf("actions %+v, %v", actions, err)
	}
	if strings.Contains(string(got.Body), "94") || len(got.Body) == 0 {
		t.Errorf("SEC-17: the body %q leaves the house though it should not", got.Body)
	}
	m.Kind, m.Severity, m.Subject, m.Collapse = fleet.KindSafety, fleet.Danger, fleet.TopicSafety, ""
	if got := send(Config{}, m); string(got.Body) != m.Body || got.Header["Priority"][0] != "5" || got.Header["X-Sequence-Id"][0] != m.ID {
		t.Errorf("safety: %v, body %q", got.Header, got.Body)
	}
	m.URL, m.Actions = "", nil
	if got := send(Config{}, m); got.Header["Click"] != nil || got.Header["Actions"] != nil {
		t.Errorf("without a public address: %v", got.Header)
	}
}

func TestPriority(t *testing.T) {
	for _, c := range []struct {
		m    fleet.Message
		want int
	}{
		{fleet.Message{Subject: fleet.TopicSafety, Severity: fleet.Watch}, 5},
		{fleet.Message{Subject: fleet.TopicFault, Severity: fleet.Due}, 4},
		{fleet.Message{Subject: fleet.TopicWarranty}, 3},
		{fleet.Message{Subject: fleet.TopicMaintenance}, 3},
		{fleet.Message{Subject: fleet.TopicTip, Severity: fleet.Due}, 2},
		{fleet.Message{Subject: fleet.TopicReview}, 2},
		{fleet.Message{Subject: fleet.TopicSafety, Topic: fleet.EventCleared, Severity: fleet.Danger}, 2},
		{fleet.Message{Severity: fleet.Danger}, 5},
	} {
		if got := priority(c.m); got != c.want {
			t.Errorf("%+v: priority %d, want %d", c.m, got, c.want)
		}
	}
}

func TestOperation(t *testing.T) {
	op := fleet.Operation{Name: "incident", Severity: "critical", Summary: "Incident: 12 of 300 washers pump slowly", Detail: "Expected 1.2.", URL: "https://desk.example/i/1", At: time.Now()}
	var _ outreach.Operator = &Channel{}
	operate := func(op fleet.Operation) channeltest.Call {
		return posted(t, Config{}, func(ch *Channel, to fleet.Endpoint) error { return ch.Operate(t.Context(), op, to) })
	}
	got := operate(op)
	if got.Header["Title"][0] != op.Summary || string(got.Body) != op.Detail || got.Header["Priority"][0] != "5" || got.Header["Click"][0] != op.URL {
		t.Errorf("%v %s", got.Header, got.Body)
	}
	op.Ends = op.At.Add(time.Hour)
	if over := operate(op); over.Header["Priority"][0] != "2" || over.Header["X-Sequence-Id"][0] == got.Header["X-Sequence-Id"][0] {
		t.Errorf("over: %v", over.Header)
	}
}

// FuzzHeader: whatever text becomes a header is one line of ASCII, and reads as what it was but for what only looked encoded.
func FuzzHeader(f *testing.F) {
	for _, s := range channeltest.Hostile() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, h := range []string{header(s), ascii(must(json.Marshal(s)))} {
			if strings.ContainsFunc(h, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
				t.Errorf("%q became %q", s, h)
			}
		}
		back, err := new(mime.WordDecoder).DecodeHeader(header(s))
		if want := strings.ReplaceAll(strings.ToValidUTF8(s, ""), "=?", "= ?"); err != nil || back != want {
			t.Errorf("%q reads as %q, %v", s, back, err)
		}
		var same string
		if err := json.Unmarshal([]byte(ascii(must(json.Marshal(s)))), &same); err != nil || same != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Errorf("%q reads as %q, %v", s, same, err)
		}
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
