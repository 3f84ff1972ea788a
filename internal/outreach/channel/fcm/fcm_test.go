package fcm

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aftercare/internal/egress"
	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channeltest"
)

var key = func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}()

// accountText is a service account's file whose tokens come from tokenURL.
func accountText(t *testing.T, tokenURL string) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{"type": "service_account", "project_id": "demo-1", "client_email": "sender@demo-1.iam.gserviceaccount.com", "private_key_id": "k1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": tokenURL})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func channel(t *testing.T, w channeltest.World) *Channel {
	t.Helper()
	e := egress.DefaultConfig()
	e.Allow, e.CAFile, e.Timeout = w.Allow, w.CAFile, w.Timeout
	client := egress.New(e)
	t.Cleanup(client.CloseIdleConnections)
	a, err := ParseAccount(accountText(t, w.URL+"/token"))
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{URL: w.URL, Full: true}, a, client, w.Now)
}

// google answers requests for tokens and counts them; everything else is a message.
func google(t *testing.T, cert *tls.Certificate) (*channeltest.HTTP, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	r := channeltest.StartHTTP(t, cert)
	r.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/token" {
			return false
		}
		n := asked.Add(1)
		if err := verify(r.FormValue("assertion"), "http://"+r.Host+"/token"); err != nil && r.TLS == nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return true
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"ya29.s3cret-%d","expires_in":3599,"token_type":"Bearer"}`, n)
		return true
	}
	return r, &asked
}

// verify checks an assertion as Google does.
func verify(jwt, audience string) error {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return fmt.Errorf("%d parts", len(parts))
	}
	sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig); err != nil {
		return err
	}
	var c struct {
		Iss, Scope, Aud string
		Iat, Exp        int64
	}
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if err := json.Unmarshal(body, &c); err != nil {
		return err
	}
	if c.Iss != "sender@demo-1.iam.gserviceaccount.com" || c.Aud != audience || c.Exp-c.Iat != 3600 || !strings.HasSuffix(c.Scope, "/firebase.messaging") {
		return fmt.Errorf("claims %+v", c)
	}
	return nil
}

func fcmError(code int, status, reason string) channeltest.Answer {
	return channeltest.Answer{Code: code, Body: fmt.Sprintf(`{"error":{"code":%d,"message":"s3cret","status":%q,"details":[{"@type":"type.googleapis.com/google.rpc.BadRequest"},
		{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":%q}]}}`, code, status, reason)}
}

func read(t *testing.T, c channeltest.Call) message {
	t.Helper()
	var r request
	if err := json.Unmarshal(c.Body, &r); err != nil {
		t.Errorf("%s: %v", c.Body, err)
	}
	return r.Message
}

const device = "dV0s3cret:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"

func TestContract(t *testing.T) {
	channeltest.Run(t, channeltest.Suite{
		Name:  "fcm",
		Start: func(t *testing.T, cert *tls.Certificate) channeltest.Receiver { r, _ := google(t, cert); return r },
		New: func(t *testing.T, w channeltest.World) (channeltest.Sender, fleet.Endpoint) {
			return channel(t, w), fleet.Endpoint{Channel: "fcm", Address: device}
		},
		Classes: map[int]string{200: "", 201: "", 202: "", 204: "", 301: "never", 302: "never", 307: "never", 400: "never", 403: "again", 404: "again",
			405: "never", 408: "again", 410: "again", 413: "never", 422: "never", 500: "again", 502: "again", 503: "again", 504: "again"},
		More: []channeltest.Expect{
			{Name: "unregistered", Answer: fcmError(404, "NOT_FOUND", "UNREGISTERED"), Class: "gone"},
			{Name: "404 of a wrong project", Answer: fcmError(404, "NOT_FOUND", ""), Class: "again"},
			{Name: "429", Answer: channeltest.Answer{Code: 429}, Class: "again", After: time.Minute},
			{Name: "quota", Answer: fcmError(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), Class: "again", After: time.Minute},
			{Name: "quota with a wish", Answer: channeltest.Answer{Code: 429, RetryAfter: "300"}, Class: "again", After: 5 * time.Minute},
			{Name: "other sender", Answer: fcmError(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), Class: "never"},
			{Name: "no token", Answer: fcmError(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"), Class: "never"},
			{Name: "not permitted yet", Answer: fcmError(403, "PERMISSION_DENIED", ""), Class: "again"},
			{Name: "unavailable", Answer: fcmError(503, "UNAVAILABLE", "UNAVAILABLE"), Class: "again"},
			{Name: "internal", Answer: fcmError(500, "INTERNAL", "INTERNAL"), Class: "again"},
		},
		Key: func(t *testing.T, c channeltest.Call) string { return read(t, c).Data["id"] },
		Arrived: func(t *testing.T, c channeltest.Call, m fleet.Message) {
			t.Helper()
			got := read(t, c)
			if got.Token != device || got.Data["id"] != m.ID || m.Title == channeltest.Message().Title && got.Notification.Title != m.Title {
				t.Errorf("%+v", got)
			}
			var list []map[string]string
			if err := json.Unmarshal([]byte(got.Data["actions"]), &list); err != nil || len(c.Body) > 4096+512 {
				t.Errorf("%d bytes, actions %s, %v", len(c.Body), got.Data["actions"], err)
			}
		},
		Secrets: []string{"s3cret", "ya29", "BEGIN"},
	})
}

func TestRefusedTokenIsRenewedOnce(t *testing.T) {
	r, asked := google(t, nil)
	now := channeltest.Now
	ch := channel(t, channeltest.World{URL: r.URL(), Allow: []string{r.Host()}, Timeout: time.Minute, Now: func() time.Time { return now }})
	to := fleet.Endpoint{Channel: "fcm", Address: device}
	send := func(want string, tokens int32, calls int) {
		t.Helper()
		before := len(r.Calls())
		err := ch.Send(t.Context(), channeltest.Message(), to)
		if class, _ := outreach.ClassOf(err); class != want || asked.Load() != tokens || len(r.Calls())-before != calls {
			t.Errorf("%v is %q after %d tokens and %d calls, want %q after %d and %d", err, class, asked.Load(), len(r.Calls())-before, want, tokens, calls)
		}
	}
	send("", 1, 1)
	send("", 1, 1) // the token is kept
	r.Act(channeltest.Answer{Code: 401})
	send("again", 2, 2)
	if got := r.Calls()[len(r.Calls())-1].Header["Authorization"][0]; got != "Bearer ya29.s3cret-2" {
		t.Errorf("%q", got)
	}
	r.Act(channeltest.Answer{})
	send("", 2, 1)
	now = now.Add(time.Hour)
	send("", 3, 1)
}

func TestNoToken(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"refused": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"error":"invalid_grant s3cret"}`, http.StatusBadRequest)
		},
		"nonsense": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
		"empty":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") },
		"hostile":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"access_token":"a\r\nb"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			r := channeltest.StartHTTP(t, nil)
			r.Before = func(w http.ResponseWriter, r *http.Request) bool { answer(w, r); return true }
			ch := channel(t, channeltest.World{URL: r.URL(), Allow: []string{r.Host()}, Timeout: time.Minute, Now: time.Now})
			err := ch.Send(t.Context(), channeltest.Message(), fleet.Endpoint{Channel: "fcm", Address: device})
			if class, _ := outreach.ClassOf(err); class != "again" || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v is %q", err, class)
			}
		})
	}
}

func TestMessage(t *testing.T) {
	ch := New(Config{}, Account{}, nil, func() time.Time { return channeltest.Now })
	m := channeltest.Message()
	got := ch.message(m, device)
	if got.Notification.Body != "" || got.Android.Priority != "NORMAL" || got.Android.TTL != "93600s" || got.Android.CollapseKey != m.Collapse || got.APNS.Headers["apns-priority"] != "5" {
		t.Errorf("SEC-17: %+v", got)
	}
	m.Subject, m.Severity, m.TTL, m.Collapse = fleet.TopicSafety, fleet.Danger, 1000*time.Hour, ""
	got = ch.message(m, device)
	if got.Notification.Body != m.Body || got.Android.Priority != "HIGH" || got.Android.TTL != "2419200s" || got.Android.Notification.Tag != m.ID {
		t.Errorf("safety: %+v", got)
	}
}

func TestAccount(t *testing.T) {
	file := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(file, accountText(t, "https://oauth2.googleapis.com/token"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.Account = file
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	a, _ := LoadAccount(file)
	if s := fmt.Sprintf("%v %+v %#v", a, a, a); strings.Contains(s, key.D.String()) || !strings.Contains(s, "sender@") {
		t.Errorf("SEC-18: printed as %s", s)
	}
	c.Account, c.URL = filepath.Join(t.TempDir(), "none.json"), "x"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "fcm.url") {
		t.Errorf("%v", err)
	}
	good := string(accountText(t, "https://oauth2.googleapis.com/token"))
	for _, bad := range []string{"", "{}", strings.Replace(good, "service_account", "user", 1), strings.Replace(good, `"project_id":"demo-1"`, `"project_id":""`, 1), strings.Replace(good, "https://", "", 1),
		strings.Replace(good, "BEGIN PRIVATE", "BEGIN", 1)} {
		if _, err := ParseAccount([]byte(bad)); err == nil || strings.Contains(err.Error(), "MII") {
			t.Errorf("%.60q: %v", bad, err)
		}
	}
}

func FuzzReason(f *testing.F) {
	f.Add([]byte(fcmError(404, "NOT_FOUND", "UNREGISTERED").Body))
	f.Add([]byte(`{"error":{"status":"A\nB"}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		if r := reasonOf(answer); r != "" && !reasonPattern.MatchString(r) {
			t.Errorf("%q", r)
		}
	})
}

// FuzzMessage: whatever a message says, it is what FCM takes.
func FuzzMessage(f *testing.F) {
	for _, s := range channeltest.Hostile() {
		f.Add(s, s)
	}
	ch := New(Config{Full: true}, Account{}, nil, time.Now)
	f.Fuzz(func(t *testing.T, title, body string) {
		m := channeltest.Message()
		m.Title, m.Body, m.Actions[0].Label = title, body, title
		text, err := json.Marshal(request{ch.message(m, device)})
		if err != nil || len(text) > 8192 {
			t.Errorf("%d bytes, %v", len(text), err)
		}
	})
}
