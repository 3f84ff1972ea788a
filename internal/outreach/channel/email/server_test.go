package email_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"aftercare/internal/outreach/channeltest"
)

// server is a scripted mail server on loopback.
type server struct {
	listener net.Listener
	cert     *tls.Certificate
	starttls bool   // it offers STARTTLS instead of speaking TLS from the first byte
	password string // of user "care"; empty: it asks for none

	mu    sync.Mutex
	act   channeltest.Answer
	calls []channeltest.Call
	froms []string
	rcpts []string
	conns int
	live  map[net.Conn]bool
}

func startServer(t *testing.T, cert *tls.Certificate, starttls bool, password string) *server {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{listener: l, cert: cert, starttls: starttls, password: password, live: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			s.live[c] = true
			s.mu.Unlock()
			wg.Go(func() {
				s.serve(c)
				_ = c.Close()
				s.mu.Lock()
				delete(s.live, c)
				s.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		s.Close()
		s.mu.Lock()
		for c := range s.live {
			_ = c.Close()
		}
		s.mu.Unlock()
		wg.Wait()
	})
	return s
}

func (s *server) URL() string {
	if s.cert != nil && !s.starttls {
		return "smtps://" + s.Host()
	}
	return "smtp://" + s.Host()
}

func (s *server) Host() string { return s.listener.Addr().String() }

func (s *server) Act(a channeltest.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.act = a
}

func (s *server) Calls() []channeltest.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]channeltest.Call(nil), s.calls...)
}

func (s *server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

func (s *server) Close() { _ = s.listener.Close() }

// serve speaks SMTP with one client and does as Act said at the step it was said for.
func (s *server) serve(c net.Conn) {
	s.mu.Lock()
	act := s.act
	s.mu.Unlock()
	if s.cert != nil && !s.starttls {
		c = tls.Server(c, s.config())
	}
	r := bufio.NewReader(c)
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(c, format+"\r\n", args...) }
	misbehave := func(step, sent string) (ended bool) { return s.misbehave(c, act, step, sent, say) }
	say("220 mail.example ESMTP")
	var from, rcpt string
	in := s.password == ""
	for {
		text, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(strings.TrimRight(text, "\r\n"))
		switch {
		case strings.HasPrefix(verb, "EHLO"):
			say("250-mail.example")
			if s.starttls {
				if _, secure := c.(*tls.Conn); !secure {
					say("250-STARTTLS")
				}
			}
			if s.password != "" {
				say("250-AUTH PLAIN LOGIN")
			}
			say("250-ENHANCEDSTATUSCODES")
			say("250 8BITMIME")
		case verb == "STARTTLS" && s.starttls:
			say("220 go on")
			c = tls.Server(c, s.config())
			r = bufio.NewReader(c)
		case strings.HasPrefix(verb, "AUTH PLAIN "):
			b, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(text[len("AUTH PLAIN "):]))
			if in = string(b) == "\x00care\x00"+s.password; in {
				say("235 2.7.0 welcome")
			} else {
				say("535 5.7.8 wrong: %q", b)
			}
		case strings.HasPrefix(verb, "MAIL FROM:"):
			if !in {
				say("530 5.7.0 log in first")
				continue
			}
			from = strings.TrimSpace(text[len("MAIL FROM:"):])
			if misbehave("mail", from) {
				return
			}
		case strings.HasPrefix(verb, "RCPT TO:"):
			rcpt = strings.TrimSpace(text[len("RCPT TO:"):])
			if misbehave("rcpt", rcpt) {
				return
			}
		case verb == "DATA":
			say("354 go on")
			if act.How == channeltest.Cut {
				_, _ = io.CopyN(io.Discard, r, 20)
				return
			}
			body, err := textproto.NewReader(r).ReadDotBytes()
			if err != nil {
				return
			}
			s.took(from, rcpt, body)
			if misbehave("data", string(body)) {
				return
			}
		case verb == "QUIT":
			say("221 bye")
			return
		case verb == "RSET", verb == "NOOP":
			say("250 ok")
		default:
			say("502 5.5.1 what is %q", text)
		}
	}
}

func (s *server) config() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{*s.cert}, MinVersion: tls.VersionTLS12}
}

func (s *server) took(from, rcpt string, body []byte) {
	m, err := mail.ReadMessage(bytes.NewReader(body))
	if err != nil {
		m = &mail.Message{Header: mail.Header{"Broken": {err.Error()}}, Body: strings.NewReader("")}
	}
	rest, _ := io.ReadAll(m.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.froms, s.rcpts = append(s.froms, from), append(s.rcpts, rcpt)
	s.calls = append(s.calls, channeltest.Call{Header: m.Header, Body: rest})
}

// misbehave answers a step and says whether the connection is over.
func (s *server) misbehave(c net.Conn, a channeltest.Answer, step, sent string, say func(string, ...any)) bool {
	at := a.Step
	if at == "" {
		at = "data"
	}
	if step != at {
		say("250 2.1.0 ok")
		return false
	}
	switch a.How {
	case channeltest.Hang:
		_, _ = io.Copy(io.Discard, c)
		return true
	case channeltest.Garbage:
		say("HTTP/1.1 200 OK %q", sent)
		return true
	case channeltest.Lie:
		say("250 2.0.0 queued")
		_, _ = io.WriteString(c, "22")
		return true
	case channeltest.Flood:
		piece := bytes.Repeat([]byte("x"), 64<<10)
		_, _ = io.WriteString(c, "250 ")
		for range 200 {
			if _, err := c.Write(piece); err != nil {
				break
			}
		}
		return true
	case channeltest.Slow:
		for _, b := range []byte("250 2.0.0 queued") {
			_, _ = c.Write([]byte{b})
			time.Sleep(time.Millisecond)
		}
		say("")
		return false
	}
	switch text := a.Body; {
	case a.Code == 0 || a.Code == 250:
		say("250 2.0.0 queued")
	case text != "":
		say("%d %s %q", a.Code, text, sent)
	default:
		say("%d no, %q", a.Code, sent)
	}
	return false
}
