package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// mailServer takes e-mails on loopback.
type mailServer struct {
	net.Listener
	mu   sync.Mutex
	mail []*mail.Message
}

func newMailServer(t testing.TB) *mailServer {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &mailServer{Listener: ln}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				s.talk(t, c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return s
}

// talk speaks SMTP with one client.
func (s *mailServer) talk(t testing.TB, c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	say := func(text string) { _, _ = fmt.Fprintf(c, "%s\r\n", text) }
	say("220 mail.example ESMTP")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		switch verb {
		case "EHLO":
			say("250-mail.example")
			say("250 8BITMIME")
		case "DATA":
			say("354 go on")
			m, err := mail.ReadMessage(textproto.NewReader(r).DotReader())
			if err == nil {
				var body []byte
				body, err = io.ReadAll(m.Body)
				m.Body = strings.NewReader(string(body))
			}
			if err != nil {
				t.Errorf("no e-mail: %v", err)
				return
			}
			s.mu.Lock()
			s.mail = append(s.mail, m)
			s.mu.Unlock()
			say("250 2.0.0 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// arrived waits until n e-mails came, and returns them.
func (s *mailServer) arrived(t testing.TB, n int) []*mail.Message {
	t.Helper()
	var out []*mail.Message
	eventually(t, 30*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if out = slices.Clone(s.mail); len(out) < n {
			return fmt.Errorf("%d of %d e-mails came", len(out), n)
		}
		return nil
	})
	return out
}

// parts are the texts of an e-mail by media type.
func parts(t testing.TB, kind string, body io.Reader, out map[string]string) map[string]string {
	t.Helper()
	media, params, err := mime.ParseMediaType(kind)
	if err != nil {
		t.Fatalf("%q: %v", kind, err)
	}
	if !strings.HasPrefix(media, "multipart/") {
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		out[media] = string(text)
		return out
	}
	for r := multipart.NewReader(body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		var in io.Reader = p
		if strings.EqualFold(p.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
			in = quotedprintable.NewReader(p)
		}
		parts(t, p.Header.Get("Content-Type"), in, out)
	}
}

// TestSEC16EmailIsStoppedByOneClick: an owner's e-mail has text, a page and the header by which a mail service stops them with one POST, without a
// session and without a page; what comes next goes to her list of messages, and no e-mail. A GET of the same link stops nothing.
func TestSEC16EmailIsStoppedByOneClick(t *testing.T) {
	t.Parallel()
	dir, s := t.TempDir(), newMailServer(t)
	ada := fleet.Person{ID: ownerID, Tenant: tenant, Name: "Ada Test", Locale: "en-GB", Zone: "Europe/London",
		Endpoints: []fleet.Endpoint{{Channel: "email", Address: "ada@example.org"}}}
	house := settlePeople(t, dir, []fleet.Person{ada}, []fleet.Device{washer("EM-1", ownerID)})
	const public = "https://care.example.org"
	_, port, _ := net.SplitHostPort(s.Addr().String())
	c := newCare(t, dir, []string{s.Addr().String()}, "--email.host", "127.0.0.1", "--email.port", port, "--email.tls", "none", "--email.from", "Aftercare <care@example.org>",
		"--owner.url", public, "--owner.proxy", "127.0.0.1") // a proxy in front speaks https: no mail service clicks on anything else
	c.connects(house)
	c.says("EM-1", 150, 0)
	m := s.arrived(t, 1)[0]
	text := parts(t, m.Header.Get("Content-Type"), m.Body, map[string]string{})
	if to := m.Header.Get("To"); !strings.Contains(to, "ada@example.org") || !strings.Contains(m.Header.Get("Subject"), "slow") {
		t.Errorf("to %q: %q", to, m.Header.Get("Subject"))
	}
	if !strings.Contains(text["text/html"], "has slow") || !strings.Contains(text["text/html"], public+"/m/") || !strings.Contains(text["text/plain"], "It says so.") {
		t.Errorf("its parts are %q", text)
	}
	stop, err := url.Parse(strings.Trim(m.Header.Get("List-Unsubscribe"), "<> "))
	if err != nil || m.Header.Get("List-Unsubscribe-Post") != "List-Unsubscribe=One-Click" || "https://"+stop.Host != public {
		t.Fatalf("it is stopped by %q, %q", m.Header.Get("List-Unsubscribe"), m.Header.Get("List-Unsubscribe-Post"))
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		c.visit(method, stop, "")
	}
	c.says("EM-1", 20, 0)
	if end := s.arrived(t, 2)[1]; !strings.Contains(end.Header.Get("Subject"), "fine") {
		t.Errorf("at the end came %q", end.Header.Get("Subject"))
	}
	if code := c.visit(http.MethodPost, stop, "List-Unsubscribe=One-Click"); code != http.StatusOK {
		t.Errorf("one click: %d", code)
	}
	c.says("EM-1", 20, 9)
	k := c.caseOf("EM-1", "shakes", "new")
	st := c.store()
	eventually(t, 10*time.Second, func() error {
		got := deliveries(t, st, k.ID)
		if !slices.Contains(got, "opened owner-1 inbox sent") || slices.Contains(got, "opened owner-1 email sent") {
			return fmt.Errorf("deliveries %q", got)
		}
		if ps := c.wishes(); !slices.Contains(ps, "fault email never") {
			return fmt.Errorf("her wishes are %q", ps)
		}
		return nil
	})
	c.says("EM-1", 20, 1)
	c.caseOf("EM-1", "shakes", "resolved")
	if got := s.arrived(t, 2); len(got) != 2 {
		t.Errorf("%d e-mails came, the last after they were stopped: %q", len(got), got[2].Header.Get("Subject"))
	}
	c.conserved(t)
}

// visit asks the owners' pages as a mail service does, through the proxy in front of them.
func (c *care) visit(method string, address *url.URL, body string) int {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.owners+address.Path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Host = address.Host
	req.Header.Set("X-Forwarded-Proto", "https")
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := noRedirect.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// wishes are the owner's preferences: "topic channel want".
func (c *care) wishes() (out []string) {
	c.t.Helper()
	var p struct {
		Preferences []struct{ Topic, Channel, Want string }
	}
	c.api(c.t, "/people/"+ownerID, &p)
	for _, w := range p.Preferences {
		out = append(out, strings.Join([]string{w.Topic, w.Channel, w.Want}, " "))
	}
	return out
}
