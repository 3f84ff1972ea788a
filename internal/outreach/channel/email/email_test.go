package email_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"aftercare/internal/egress"
	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channel/email"
	"aftercare/internal/outreach/channeltest"
)

var (
	_ outreach.Channel  = (*email.Channel)(nil)
	_ outreach.Operator = (*email.Channel)(nil)
)

const to = "anna.example@mail.example"

func open(t *testing.T, w channeltest.World, change func(*email.Config), log *slog.Logger) *email.Channel {
	t.Helper()
	scheme, host, _ := strings.Cut(w.URL, "://")
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	c := email.DefaultConfig()
	c.Host, c.From, c.TLS = name, "Aftercare <care@shop.example>", map[string]string{"smtp": email.Plain, "smtps": email.Implicit}[scheme]
	c.Port, _ = strconv.Atoi(port)
	if change != nil {
		change(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	out := egress.DefaultConfig()
	out.Allow, out.CAFile = w.Allow, w.CAFile
	ch, err := email.New(c, email.Deps{Egress: out, Now: w.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// TestContract is REL-10, REL-11 and SEC-17 for e-mail.
func TestContract(t *testing.T) {
	channeltest.Run(t, channeltest.Suite{
		Name: "email", Steps: true,
		Start: func(t *testing.T, cert *tls.Certificate) channeltest.Receiver { return startServer(t, cert, false, "") },
		New: func(t *testing.T, w channeltest.World) (channeltest.Sender, fleet.Endpoint) {
			return withTimeout{open(t, w, nil, nil), w.Timeout}, fleet.Endpoint{Channel: "email", Address: to}
		},
		Classes: map[int]string{250: "", 421: "again", 450: "again", 451: "again", 452: "again", 550: "never", 552: "never", 554: "never"},
		More: []channeltest.Expect{
			{Name: "greylisted", Answer: channeltest.Answer{Code: 451, Step: "rcpt", Body: "4.7.1 come back later"}, Class: "again"},
			{Name: "no such person", Answer: channeltest.Answer{Code: 550, Step: "rcpt", Body: "5.1.1 unknown"}, Class: "gone"},
			{Name: "no such person, said shortly", Answer: channeltest.Answer{Code: 550, Step: "rcpt"}, Class: "gone"},
			{Name: "moved", Answer: channeltest.Answer{Code: 551, Step: "rcpt"}, Class: "gone"},
			{Name: "not a name", Answer: channeltest.Answer{Code: 553, Step: "rcpt"}, Class: "gone"},
			{Name: "policy", Answer: channeltest.Answer{Code: 550, Step: "rcpt", Body: "5.7.1 not from you"}, Class: "never"},
			{Name: "box full", Answer: channeltest.Answer{Code: 552, Step: "rcpt"}, Class: "again"},
			{Name: "box full, RFC 3463", Answer: channeltest.Answer{Code: 550, Step: "rcpt", Body: "5.2.2 full"}, Class: "again"},
			{Name: "sender refused", Answer: channeltest.Answer{Code: 550, Step: "mail"}, Class: "never"},
			{Name: "sender, later", Answer: channeltest.Answer{Code: 451, Step: "mail"}, Class: "again"},
			{Name: "closing", Answer: channeltest.Answer{Code: 421, Step: "mail"}, Class: "again"},
		},
		Key: func(t *testing.T, c channeltest.Call) string {
			t.Helper()
			key := mail.Header(c.Header).Get("Message-Id")
			if !strings.HasPrefix(key, "<") || !strings.HasSuffix(key, "@shop.example>") {
				t.Errorf("Message-ID %q", key)
			}
			return key
		},
		Arrived: arrived,
		Secrets: []string{"anna.example"},
	})
}

// withTimeout gives each call the time that egress gives those over HTTP.
type withTimeout struct {
	*email.Channel
	d time.Duration
}

func (w withTimeout) Send(ctx context.Context, m fleet.Message, to fleet.Endpoint) error {
	ctx, cancel := context.WithTimeout(ctx, w.d)
	defer cancel()
	return w.Channel.Send(ctx, m, to)
}

// arrived fails when subject and text are not those of the message, unseen characters aside.
func arrived(t *testing.T, c channeltest.Call, m fleet.Message) {
	t.Helper()
	h := mail.Header(c.Header)
	subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
	if err != nil || strings.ContainsFunc(subject, unicode.IsControl) || !strings.HasPrefix(letters(m.Title), letters(strings.TrimSuffix(subject, "…"))) && letters(m.Title) != "" {
		t.Errorf("subject %q of %.80q, %v", subject, m.Title, err)
	}
	if rcpt := h.Get("To"); rcpt != "<"+to+">" {
		t.Errorf("to %q", rcpt)
	}
	if text := plain(t, c); letters(m.Body) != "" && letters(text) != letters(m.Body) {
		t.Errorf("the text is %.120q, want %.120q", text, m.Body)
	}
}

// letters are what two texts must have in common.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
}

// plain is the text of a mail that is text alone.
func plain(t *testing.T, c channeltest.Call) string {
	t.Helper()
	h := mail.Header(c.Header)
	if kind := h.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
		t.Fatalf("content type %q", kind)
	}
	b, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(c.Body)))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// part is one leaf of a mail.
type part struct {
	kind, disposition, id string
	body                  []byte
}

func leaves(t *testing.T, kind string, transfer string, body io.Reader) (out []part) {
	t.Helper()
	media, params, err := mime.ParseMediaType(kind)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(media, "multipart/") {
		switch transfer {
		case "quoted-printable":
			body = quotedprintable.NewReader(body)
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, body)
		}
		b, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
		}
		return []part{{kind: kind, body: b}}
	}
	r := multipart.NewReader(body, params["boundary"])
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range leaves(t, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p) {
			if l.id == "" {
				l.id, l.disposition = p.Header.Get("Content-Id"), p.Header.Get("Content-Disposition")
			}
			out = append(out, l)
		}
	}
}

// TestWholeMail: text, HTML, picture and calendar in one mail, with the headers that mail programs and servers look for.
func TestWholeMail(t *testing.T) {
	s := startServer(t, nil, false, "")
	ch := open(t, channeltest.World{URL: s.URL(), Allow: []string{s.Host()}, Now: func() time.Time { return channeltest.Now }}, func(c *email.Config) { c.ReplyTo = "help@shop.example" }, nil)
	m := channeltest.Message()
	m.HTML, m.Chart = `<p>Grüße</p><img src="cid:chart">`, []byte("\x89PNG picture")
	m.Attachments = []fleet.Attachment{{Name: "Termin.ics", Type: "text/calendar; method=REQUEST; charset=utf-8", Body: []byte("BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n")}}
	if err := ch.Send(t.Context(), m, fleet.Endpoint{Address: "Anna <" + to + ">"}); err != nil {
		t.Fatal(err)
	}
	if s.froms[0] != "<care@shop.example> BODY=8BITMIME" && s.froms[0] != "<care@shop.example>" || s.rcpts[0] != "<"+to+">" {
		t.Errorf("from %q to %q", s.froms[0], s.rcpts[0])
	}
	c := s.Calls()[0]
	h := mail.Header(c.Header)
	for k, want := range map[string]string{"List-Unsubscribe": "<" + m.StopURL + ">", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click", "Auto-Submitted": "auto-generated",
		"From": `"Aftercare" <care@shop.example>`, "Reply-To": "<help@shop.example>", "Date": "Sat, 21 Nov 2026 12:00:00 +0000"} {
		if got := h.Get(k); got != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	if refs := h.Get("References"); !strings.HasSuffix(refs, "@shop.example>") {
		t.Errorf("References %q", refs)
	}
	found := map[string]part{}
	for _, p := range leaves(t, h.Get("Content-Type"), h.Get("Content-Transfer-Encoding"), bytes.NewReader(c.Body)) {
		media, _, _ := strings.Cut(p.kind, ";")
		found[media] = p
	}
	for media, want := range map[string]string{"text/plain": m.Body, "text/html": m.HTML, "image/png": string(m.Chart), "text/calendar": string(m.Attachments[0].Body)} {
		if got := string(found[media].body); got != want {
			t.Errorf("%s: %q, want %q", media, got, want)
		}
	}
	if id := found["image/png"].id; id != "<chart>" {
		t.Errorf("the picture's id is %q", id)
	}
	if !strings.Contains(found["text/calendar"].kind, "method=REQUEST") || !strings.Contains(found["text/calendar"].disposition, "Termin.ics") {
		t.Errorf("calendar %q, %q", found["text/calendar"].kind, found["text/calendar"].disposition)
	}
}

// TestUnsubscribe: one click is for https alone, and a link cannot bring a header along.
func TestUnsubscribe(t *testing.T) {
	s := startServer(t, nil, false, "")
	ch := open(t, channeltest.World{URL: s.URL(), Allow: []string{s.Host()}, Now: time.Now}, nil, nil)
	for url, want := range map[string][2]string{"http://localhost/stop/x": {"<http://localhost/stop/x>", ""}, "": {}, "https://x\r\nBcc: y@z": {}, "https://x>, <mailto:y": {}} {
		m := channeltest.Message()
		m.StopURL = url
		if err := ch.Send(t.Context(), m, fleet.Endpoint{Address: to}); err != nil {
			t.Fatal(err)
		}
		calls := s.Calls()
		h := mail.Header(calls[len(calls)-1].Header)
		if h.Get("List-Unsubscribe") != want[0] || h.Get("List-Unsubscribe-Post") != want[1] || h.Get("Bcc") != "" {
			t.Errorf("%q: %q, %q", url, h.Get("List-Unsubscribe"), h.Get("List-Unsubscribe-Post"))
		}
	}
}

// TestLogIn: a wrong password is tried again, since it is put right, and said once; the password goes over TLS only.
func TestLogIn(t *testing.T) {
	cert, ca := channeltest.Certificate(t, "127.0.0.1")
	for _, starttls := range []bool{true, false} {
		t.Run(fmt.Sprintf("starttls %v", starttls), func(t *testing.T) {
			s := startServer(t, &cert, starttls, "correct horse")
			w := channeltest.World{URL: s.URL(), Allow: []string{s.Host()}, CAFile: ca, Now: time.Now}
			var log bytes.Buffer
			password := fleet.Secret("wrong pony")
			ch := open(t, w, func(c *email.Config) {
				c.User, c.Password = "care", password
				if starttls {
					c.TLS = email.StartTLS
				}
			}, slog.New(slog.NewTextHandler(&log, nil)))
			for range 3 {
				err := ch.Send(t.Context(), channeltest.Message(), fleet.Endpoint{Address: to})
				if got, _ := outreach.ClassOf(err); got != "again" || strings.Contains(err.Error(), "pony") {
					t.Errorf("%v is %q", err, got)
				}
			}
			if n := strings.Count(log.String(), "refuses the log-in"); n != 1 || strings.Contains(log.String(), "pony") {
				t.Errorf("said %d times:\n%s", n, log.String())
			}
			right := open(t, w, func(c *email.Config) {
				c.User, c.Password = "care", "correct horse"
				if starttls {
					c.TLS = email.StartTLS
				}
			}, nil)
			if err := right.Send(t.Context(), channeltest.Message(), fleet.Endpoint{Address: to}); err != nil || len(s.Calls()) != 1 {
				t.Errorf("%v, %d mails", err, len(s.Calls()))
			}
		})
	}
}

// TestNoTLSNoMail: a server without STARTTLS gets neither the password nor the message.
func TestNoTLSNoMail(t *testing.T) {
	s := startServer(t, nil, false, "correct horse")
	ch := open(t, channeltest.World{URL: s.URL(), Allow: []string{s.Host()}, Now: time.Now}, func(c *email.Config) {
		c.TLS, c.User, c.Password = email.StartTLS, "care", "correct horse"
	}, nil)
	err := ch.Send(t.Context(), channeltest.Message(), fleet.Endpoint{Address: to})
	if got, _ := outreach.ClassOf(err); got != "again" || len(s.Calls()) != 0 {
		t.Errorf("%v is %q, %d mails", err, got, len(s.Calls()))
	}
}

// TestOperation: operators get their mail too, the same one on a second try.
func TestOperation(t *testing.T) {
	s := startServer(t, nil, false, "")
	ch := open(t, channeltest.World{URL: s.URL(), Allow: []string{s.Host()}, Now: time.Now}, nil, nil)
	op := fleet.Operation{Name: "dead_letter", Severity: "warning", Summary: "3 messages\r\nBcc: x@y.example died", Detail: "See the desk.", At: channeltest.Now}
	for range 2 {
		if err := ch.Operate(t.Context(), op, fleet.Endpoint{Address: to}); err != nil {
			t.Fatal(err)
		}
	}
	calls := s.Calls()
	a, b := mail.Header(calls[0].Header), mail.Header(calls[1].Header)
	if a.Get("Subject") != "3 messages Bcc: x@y.example died" || a.Get("Bcc") != "" || strings.TrimSpace(plain(t, calls[0])) != op.Detail || a.Get("Message-Id") != b.Get("Message-Id") {
		t.Errorf("%v\n%s", a, calls[0].Body)
	}
}

func TestConfig(t *testing.T) {
	good := email.Config{Host: "smtp.example.org", Port: 587, TLS: email.StartTLS, From: "care@example.org"}
	for name, c := range map[string]struct {
		change func(*email.Config)
		want   string
	}{
		"good":        {func(*email.Config) {}, ""},
		"off":         {func(c *email.Config) { *c = email.DefaultConfig() }, ""},
		"on loopback": {func(c *email.Config) { c.Host, c.TLS = "127.0.0.1", email.Plain }, ""},
		"plain":       {func(c *email.Config) { c.TLS = email.Plain }, "email.tls"},
		"tls":         {func(c *email.Config) { c.TLS = "ssl" }, "email.tls"},
		"port":        {func(c *email.Config) { c.Port = 0 }, "email.port"},
		"host":        {func(c *email.Config) { c.Host = "smtp.example.org:587" }, "email.host"},
		"from":        {func(c *email.Config) { c.From = "care" }, "email.from"},
		"from, CR":    {func(c *email.Config) { c.From = "care@example.org\r\nBcc: x@y.z" }, "email.from"},
		"reply to":    {func(c *email.Config) { c.ReplyTo = "@" }, "email.reply_to"},
		"password":    {func(c *email.Config) { c.User = "care" }, "email.user"},
		"hello":       {func(c *email.Config) { c.Hello = "a b" }, "email.hello"},
	} {
		t.Run(name, func(t *testing.T) {
			config := good
			c.change(&config)
			err := config.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
