package e2e

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach/channeltest"
)

// pushService takes push requests as a browser maker's does, over TLS with a certificate of its own authority, and reads them with the
// keys that only the browser has.
type pushService struct {
	*httptest.Server
	caFile string
	keys   *channeltest.Browser
	got    chan pushed
}

// pushed is a push request, decrypted by RFC 8291.
type pushed struct {
	header http.Header
	plain  []byte
	ID     string
	Title  string
	Lang   string
}

func newPushService(t testing.TB) *pushService {
	t.Helper()
	keys, err := channeltest.NewBrowser()
	if err != nil {
		t.Fatal(err)
	}
	cert, caFile := channeltest.Certificate(t, "127.0.0.1")
	s := &pushService{caFile: caFile, keys: keys, got: make(chan pushed, 100)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		p := pushed{header: r.Header}
		if err == nil {
			p.plain, err = keys.Decrypt(body)
		}
		if err == nil {
			err = json.Unmarshal(p.plain, &p)
		}
		if err != nil || r.Header.Get("Content-Encoding") != "aes128gcm" || r.Header.Get("TTL") == "" || !strings.HasPrefix(r.Header.Get("Authorization"), "vapid ") {
			t.Errorf("no push request: %v, %v", err, r.Header)
		}
		s.got <- p
		w.WriteHeader(http.StatusCreated)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *pushService) host() string { return s.Listener.Addr().String() }

// settings let a server push to it.
func (s *pushService) settings() []string {
	return []string{"--egress.ca_file", s.caFile, "--push.hosts", s.host(), "--push.contact", "mailto:care@example.org"}
}

// subscription is what the browser's pushManager would say.
func (s *pushService) subscription(t testing.TB) string {
	t.Helper()
	p256dh, auth, _ := strings.Cut(s.keys.Secret(), ".")
	text, err := json.Marshal(map[string]string{"endpoint": s.URL + "/send/1", "p256dh": p256dh, "auth": auth})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// next is the next push request.
func (s *pushService) next(t testing.TB) pushed {
	t.Helper()
	select {
	case p := <-s.got:
		return p
	case <-time.After(30 * time.Second):
		t.Fatal("no push request within 30 s")
		return pushed{}
	}
}

// TestREL10FaultIsPushedShownAndAnswered goes the whole way of a push but for the service of the browser's maker: an owner claims a device
// in a real browser and allows push; the device says what is wrong; the server encrypts and posts; the service of the test decrypts; the
// real service worker shows it; a tap on its button is the answer, in the case and in the record of the rule. Of another fault nobody
// says anything: when it is over, who was told hears so, and nobody else.
func TestREL10FaultIsPushedShownAndAnswered(t *testing.T) {
	t.Parallel()
	service, other := newPushService(t), newHooks(t, nil)
	dir := t.TempDir()
	ben := reached("ben", other.URL)
	settlePeople(t, dir, []fleet.Person{ben}, nil)
	c := newCare(t, dir, []string{service.host(), other.host()}, service.settings()...)
	secret := password(t, c.must(t, "device", "add", "PU-1", "--model", "washer-w7"))
	code := strings.Fields(c.must(t, "device", "claim-code", "PU-1"))[1]

	b := newPhone(t, c.owners)
	b.claims(code, "Ada Test")
	b.installed()
	if status := b.subscribes(service.subscription(t)); status != http.StatusOK {
		t.Fatalf("the subscription was answered with %d", status)
	}
	var d struct{ Owner string }
	if c.api(t, "/devices/demo/PU-1", &d); d.Owner == "" {
		t.Fatal("the device has no owner")
	}
	c.must(t, "owner", "household", d.Owner, "h-ben", "--place", "0") // Ben lives with her, and is told of nothing she hears
	c.must(t, "owner", "household", "ben", "h-ben", "--place", "1")

	c.lines["PU-1"] = connect(t, c.process, "PU-1", secret)
	c.says("PU-1", 150, 0)
	first := service.next(t)
	if u := first.header.Get("Urgency"); u != "normal" || first.Lang == "" {
		t.Errorf("urgency %q, language %q", u, first.Lang)
	}
	b.delivers(first.plain)
	shown := b.shows("the fault", func(l []notification) bool { return len(l) == 1 })[0]
	if !strings.Contains(shown.Title, "has slow") || len(shown.Actions) != 2 || shown.Actions[1].Action != string(fleet.VerdictFixed) {
		t.Errorf("shown is %+v", shown)
	}
	b.taps(string(fleet.VerdictFixed))
	c.answered(first, d.Owner)
	b.shows("that it was heard", func(l []notification) bool { return len(l) == 1 && l[0].Title != shown.Title })

	c.says("PU-1", 20, 0)
	c.says("PU-1", 20, 9)
	second := service.next(t)
	if !strings.Contains(second.Title, "has shakes") {
		t.Errorf("pushed was %s", second.plain)
	}
	k := c.caseOf("PU-1", "shakes", "new")
	c.says("PU-1", 20, 1)
	if third := service.next(t); !strings.Contains(third.Title, "is fine") || third.header.Get("Urgency") != "low" || third.header.Get("Topic") != second.header.Get("Topic") {
		t.Errorf("at its end came %s, %v; before it %v", third.plain, third.header, second.header)
	}
	st := c.store()
	eventually(t, 10*time.Second, func() error {
		// Ben was to hear of it if nobody had looked for two hours.
		want := []string{"opened inbox sent", "opened push sent", "opened ben inbox skipped", "cleared inbox sent", "cleared push sent"}
		got := deliveries(t, st, k.ID)
		for i := range got {
			got[i] = strings.Replace(got[i], " "+d.Owner, "", 1)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("deliveries %q, want %q", got, want)
		}
		return nil
	})
	if got := other.got(); len(got) != 0 {
		t.Errorf("who was told of nothing heard %+v", got)
	}
	c.conserved(t)
}

// answered waits until the owner's "fixed" is everywhere where it belongs.
func (c *care) answered(p pushed, owner string) {
	t := c.t
	t.Helper()
	k := c.caseOf("PU-1", "slow", "watching")
	if k.Outcome != string(fleet.OutcomeOwnerFixed) {
		t.Errorf("the outcome is %q", k.Outcome)
	}
	if n := len(k.Audit); n == 0 || k.Audit[n-1].Actor != "owner:"+owner || k.Audit[n-1].Action != "answered" {
		t.Errorf("the case's history: %+v", k.Audit)
	}
	st := c.store()
	answers, err := st.CaseAnswers(t.Context(), tenant, k.ID)
	if err != nil || len(answers) != 1 || answers[0].Verdict != fleet.VerdictFixed || answers[0].PersonID != owner || answers[0].Rule != "slow" || answers[0].RuleHash == "" {
		t.Errorf("the answers are %+v, %v", answers, err)
	}
	records, err := st.RuleRecords(t.Context(), tenant, "slow")
	if err != nil || !slices.ContainsFunc(records, func(r fleet.RuleRecord) bool {
		return r.What == "fixed" && r.N == 1 && r.RuleHash == answers[0].RuleHash
	}) {
		t.Errorf("the rule's record is %+v, %v", records, err)
	}
	eventually(t, 10*time.Second, func() error { // the receipt is of the push, the answer of the message
		ds, err := st.CaseDeliveries(t.Context(), tenant, k.ID)
		arrived := slices.ContainsFunc(ds, func(d fleet.Delivery) bool {
			return d.OutboxID == p.ID && d.Channel == "push" && !d.DeliveredAt.IsZero()
		})
		acted := slices.ContainsFunc(ds, func(d fleet.Delivery) bool {
			return d.OutboxID == answers[0].MessageID && d.Acted == fleet.VerdictFixed
		})
		if err != nil || !arrived || !acted {
			return fmt.Errorf("arrived %v, answered %v, of %+v: %w", arrived, acted, ds, cmp.Or(err, errNotYet))
		}
		return nil
	})
}
