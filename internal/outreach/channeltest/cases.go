package channeltest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

func name(e Expect) string {
	if e.Name != "" {
		return e.Name
	}
	return fmt.Sprint(e.Answer.Code)
}

// quiet fails when an error tells what people must not read in a log or on the desk.
func (s *Suite) quiet(t *testing.T, err error, m fleet.Message, to fleet.Endpoint) {
	t.Helper()
	if err == nil {
		return
	}
	text := err.Error()
	secrets := append([]string{to.Address, m.Title, m.Body, m.Receipt, m.URL, m.StopURL}, s.Secrets...)
	secrets = append(secrets, strings.FieldsFunc(to.Secret, func(r rune) bool { return r == ' ' || r == '.' })...)
	for _, a := range m.Actions {
		secrets = append(secrets, a.Token)
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(text, secret) {
			t.Errorf("the error tells %q: %s", secret, text)
		}
	}
	if len(text) > 300 || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
		t.Errorf("the error is not fit to be shown: %d bytes, %q", len(text), text[:min(len(text), 400)])
	}
}

// wishes: what a receiver asks for is passed on, in both forms, within bounds.
func (s *Suite) wishes(t *testing.T) {
	date := func(d time.Duration) string { return Now.Add(d).Format(http.TimeFormat) }
	for code, class := range s.Classes {
		if class != "again" || code != http.StatusTooManyRequests && code != http.StatusServiceUnavailable {
			continue
		}
		for header, want := range map[string]time.Duration{"90": 90 * time.Second, date(2 * time.Hour): 2 * time.Hour, "9999999": 24 * time.Hour,
			date(90 * 24 * time.Hour): 24 * time.Hour} {
			s.expect(t, Expect{Name: fmt.Sprintf("%d %s", code, header), Answer: Answer{Code: code, RetryAfter: header}, Class: class, After: want})
		}
		for _, header := range []string{"soon", "-5", date(-time.Hour), "1e9", "\xff", ""} {
			s.expectAny(t, Answer{Code: code, RetryAfter: header}, class)
		}
	}
}

// expectAny is expect where the channel may have a wait of its own.
func (s *Suite) expectAny(t *testing.T, a Answer, class string) {
	t.Run(fmt.Sprintf("%d %q", a.Code, a.RetryAfter), func(t *testing.T) {
		sc := s.stage(t, patient)
		sc.Act(a)
		err := sc.ch.Send(t.Context(), Message(), sc.to)
		if got, after := outreach.ClassOf(err); got != class || after < 0 || after > 10*time.Minute {
			t.Errorf("%v: is %q after %v, want %q, soon", err, got, after, class)
		}
	})
}

// sameKey: the receiver can tell a second try from a second message.
func (s *Suite) sameKey(t *testing.T) {
	sc := s.stage(t, patient)
	for _, a := range []Answer{{}, {How: Lie}, {}} {
		sc.Act(a)
		sc.send(t, Message(), "", 0)
	}
	other := Message()
	other.ID, other.Collapse = "dlv-another", "another"
	sc.send(t, other, "", 0)
	calls := sc.Calls()
	if len(calls) != 4 {
		t.Fatalf("%d calls, want 4", len(calls))
	}
	key := s.Key(t, calls[0])
	if key == "" {
		t.Fatal("no key")
	}
	for i, c := range calls[1:3] {
		if got := s.Key(t, c); got != key {
			t.Errorf("try %d has the key %q, the first one %q", i+2, got, key)
		}
	}
	if got := s.Key(t, calls[3]); got == key {
		t.Errorf("another message has the key %q too", got)
	}
}

// oneTry: neither the channel nor the library below it tries again by itself, not even on a connection used before.
func (s *Suite) oneTry(t *testing.T) {
	sc := s.stage(t, patient)
	fine := Answer{Body: strings.Repeat(" ", 5000)}
	if s.Steps {
		fine.Body = ""
	}
	sc.Act(fine)
	for range 5 {
		sc.send(t, Message(), "", 0)
	}
	if n := sc.Conns(); n != 1 && !s.Steps {
		t.Errorf("%d connections for 5 messages, want 1", n)
	}
	for _, how := range []How{Cut, Garbage} {
		sc.Act(fine)
		sc.send(t, Message(), "", 0)
		calls, conns := len(sc.Calls()), sc.Conns()
		sc.Act(Answer{How: how})
		sc.send(t, Message(), "again", 0)
		if n := len(sc.Calls()) - calls; n > 1 {
			t.Errorf("%s: it was tried %d times", how, n)
		}
		if n := sc.Conns() - conns; n > 1 || n == 1 && !s.Steps {
			t.Errorf("%s: it was tried on %d connections more", how, n)
		}
	}
}

// interrupted: the context ends the call, and the error says so, because a stop of the server is no try.
func (s *Suite) interrupted(t *testing.T) {
	t.Run("cancelled", func(t *testing.T) {
		sc := s.stage(t, time.Minute)
		sc.Act(Answer{How: Hang})
		ctx, cancel := context.WithCancel(t.Context())
		defer time.AfterFunc(brief, cancel).Stop()
		err := sc.ch.Send(ctx, Message(), sc.to)
		if got, _ := outreach.ClassOf(err); got != "again" || !errors.Is(err, context.Canceled) {
			t.Errorf("%v is %q, want again and context.Canceled", err, got)
		}
		s.quiet(t, err, Message(), sc.to)
	})
	t.Run("deadline", func(t *testing.T) {
		sc := s.stage(t, time.Minute)
		sc.Act(Answer{How: Hang})
		ctx, cancel := context.WithTimeout(t.Context(), brief)
		defer cancel()
		err := sc.ch.Send(ctx, Message(), sc.to)
		if got, _ := outreach.ClassOf(err); got != "again" {
			t.Errorf("%v is %q, want again", err, got)
		}
		s.quiet(t, err, Message(), sc.to)
	})
}

// certificates: nothing is said to a receiver that is not who it should be. It may be put right, so it is tried again.
func (s *Suite) certificates(t *testing.T) {
	ca := newAuthority(t)
	for what, c := range map[string]struct {
		host  string
		until time.Time
		ca    *authority
		want  string
	}{
		"good":       {"127.0.0.1", time.Now().Add(time.Hour), ca, ""},
		"expired":    {"127.0.0.1", time.Now().Add(-time.Hour), ca, "again"},
		"other name": {"other.example", time.Now().Add(time.Hour), ca, "again"},
		"untrusted":  {"127.0.0.1", time.Now().Add(time.Hour), newAuthority(t), "again"},
	} {
		t.Run(what, func(t *testing.T) {
			cert := c.ca.issue(t, c.host, c.until)
			sc := &scene{Receiver: s.Start(t, &cert), s: s}
			sc.ch, sc.to = s.New(t, World{URL: sc.URL(), Allow: []string{sc.Host()}, CAFile: ca.file, Timeout: patient, Now: func() time.Time { return Now }})
			sc.send(t, Message(), c.want, 0)
			if n := len(sc.Calls()); (n == 1) != (c.want == "") {
				t.Errorf("%d messages arrived", n)
			}
		})
	}
}

// forbidden: the channel calls through the dialer, which does not let it into our own network.
func (s *Suite) forbidden(t *testing.T) {
	r := s.Start(t, nil)
	ch, to := s.New(t, World{URL: r.URL(), Timeout: patient, Now: func() time.Time { return Now }})
	err := ch.Send(t.Context(), Message(), to)
	if got, _ := outreach.ClassOf(err); got != "never" || r.Conns() != 0 {
		t.Errorf("%v after %d connections, want never", err, r.Conns())
	}
	s.quiet(t, err, Message(), to)
}

// Hostile are strings that break out of where they stand when they are put there as they are.
func Hostile() []string {
	return []string{"a\r\nX-Injected: yes", "a\nBcc: eve@example.org", "a\r\n\r\n<b>x</b>", "\r\n.\r\nMAIL FROM:<eve@example.org>", ".", "a\x00b", "\xff\xfe\xfd",
		`"}],"injected":true,[{"`, `\u0022,"injected":"`, "=?utf-8?q?=0D=0AX-Injected:_yes?=", "\u202egnihsaw\u202c", "<script>alert(1)</script>", "${jndi:ldap://x}",
		"{{.Secret}}", "; action=http, x, https://evil.example, method=DELETE", "a,b;c=d", strings.Repeat("ü", 3000), strings.Repeat("🧺", 3000), strings.Repeat("x ", 3000),
		strings.Repeat("\"\\\n", 1500), "\u2028\u2029", "\x7f\x1b[31m", ""}
}

// hostile: whatever a device or a person is called, the message arrives, whole and as one, with no header that is not ours.
func (s *Suite) hostile(t *testing.T) {
	sc := s.stage(t, patient)
	sc.send(t, Message(), "", 0)
	ours := sc.Calls()[0].Header
	for _, text := range Hostile() {
		for _, put := range []func(*fleet.Message){
			func(m *fleet.Message) { m.Title = text },
			func(m *fleet.Message) { m.Body = text },
			func(m *fleet.Message) { m.Actions[0].Label = text },
			func(m *fleet.Message) { m.Device.Serial = text },
			func(m *fleet.Message) { m.Title, m.Body, m.Actions[0].Label, m.Device.Serial = text, text, text, text },
		} {
			m := Message()
			put(&m)
			before := len(sc.Calls())
			sc.send(t, m, "", 0)
			calls := sc.Calls()[before:]
			if len(calls) != 1 {
				t.Fatalf("%.40q: %d messages arrived, want 1", text, len(calls))
			}
			for k, v := range calls[0].Header {
				if _, ok := ours[k]; !ok || len(v) != len(ours[k]) {
					t.Errorf("%.40q: %d headers %q arrived", text, len(v), k)
				}
			}
			s.Arrived(t, calls[0], m)
		}
	}
}

// many: the channel is safe for concurrent use.
func (s *Suite) many(t *testing.T) {
	const n = 40
	sc := s.stage(t, patient)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			m := Message()
			m.ID, m.Collapse = fmt.Sprintf("dlv-%d", i), fmt.Sprintf("case-%d", i)
			sc.send(t, m, "", 0)
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, c := range sc.Calls() {
		seen[s.Key(t, c)] = true
	}
	if len(sc.Calls()) != n || len(seen) != n {
		t.Errorf("%d calls with %d keys, want %d of each", len(sc.Calls()), len(seen), n)
	}
}
