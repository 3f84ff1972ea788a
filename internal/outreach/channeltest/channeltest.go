// Package channeltest is the one contract of all channels, as a suite of tests against a scripted receiver: what each channel
// must make of a receiver that is slow, hangs, breaks off, lies, answers garbage, refuses, or has a bad certificate, and of
// messages that are made to break out of where they stand. It is REL-11, and SEC-17 as far as channels can see to it.
//
// Tests of channels may import it. It imports fleet and outreach, never a channel.
package channeltest

import (
	"context"
	"crypto/tls"
	"maps"
	"slices"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

// Sender is what the suite calls: an outreach.Channel, or one that sends operations made to look like one.
type Sender interface {
	Name() string
	Send(ctx context.Context, m fleet.Message, to fleet.Endpoint) error
}

// Suite says what Run must know of a channel.
type Suite struct {
	Name string // of the channel
	// New builds the channel and an endpoint at the world's receiver. It is called for each test.
	New func(t *testing.T, w World) (Sender, fleet.Endpoint)
	// Start starts a receiver, with TLS if cert is not nil; nil: StartHTTP.
	Start func(t *testing.T, cert *tls.Certificate) Receiver
	// Classes is what each answer's code means: "" (sent), "again", "never" or "gone". Of HTTP all of HTTPCodes must be in it.
	Classes map[int]string
	// More are answers that only this channel knows.
	More []Expect
	// Key is the idempotency key that a call carried.
	Key func(t *testing.T, c Call) string
	// Arrived fails when what arrived does not say the message, in the form of the protocol. Titles and bodies may be cleaned and
	// shortened; m is as it was sent.
	Arrived func(t *testing.T, c Call, m fleet.Message)
	// Secrets must be in no error, besides the endpoint's address and secret, and what the message says.
	Secrets []string
	// Steps is set for a protocol of several steps (SMTP): a connection that is broken off or a garbled answer may then come
	// after the message was taken, and connections need not be used again.
	Steps bool
}

// World is where a channel under test lives.
type World struct {
	URL     string        // of the receiver, "https://127.0.0.1:4711"; the scheme is the receiver's
	Allow   []string      // for egress.Config.Allow: the receiver, or nothing when it must not be reached
	CAFile  string        // for egress.Config.CAFile; empty without TLS
	Timeout time.Duration // for egress.Config.Timeout
	Now     func() time.Time
}

// Receiver is the other side. It does for every message what it was last told.
type Receiver interface {
	URL() string
	Host() string // host:port
	Act(a Answer)
	Calls() []Call // what arrived whole, oldest first, whatever the answer was
	Conns() int    // connections accepted so far
	Close()
}

// Call is one message that a receiver got.
type Call struct {
	Path   string              // HTTP: of the request
	Header map[string][]string // HTTP: of the request; e-mail: of the message
	Body   []byte
}

// How a receiver answers.
type How string

// The ways to answer.
const (
	Reply   How = "replies"
	Slow    How = "replies slowly, in small pieces" // but in time
	Hang    How = "hangs"                           // until the other side goes
	Cut     How = "closes in the middle of the message"
	Garbage How = "answers garbage that repeats what was sent"
	Lie     How = "accepts, and breaks off in the middle of its answer"
	Flood   How = "accepts, with an endless answer"
)

// Answer is what a receiver does. Code 0 is the protocol's "accepted" (200, 250).
type Answer struct {
	How        How // empty: Reply
	Code       int
	RetryAfter string
	Header     map[string]string // HTTP
	Body       string            // of the answer
	Step       string            // SMTP: which step answers so ("mail", "rcpt", "data"); empty: the last
}

// Expect is an answer and the class it must have.
type Expect struct {
	Name   string
	Answer Answer
	Class  string
	After  time.Duration // for "again": what the receiver wished
}

// HTTPCodes are the answers whose meaning each channel over HTTP must know.
var HTTPCodes = []int{200, 201, 202, 204, 301, 302, 307, 400, 401, 403, 404, 405, 408, 410, 413, 422, 429, 500, 502, 503, 504}

// Now is the time of the suite's clocks.
var Now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// Message is a message with everything in it.
func Message() fleet.Message {
	return fleet.Message{ID: "dlv-7f3k2m9q4r6s8t0v1w3x5y7z9a", Tenant: "demo", CaseID: "case-1", Ref: "inc-1", Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"},
		PersonID: "anna", Topic: fleet.EventOpened, Subject: fleet.TopicMaintenance, Kind: fleet.KindMaintenance, Severity: fleet.Due, Locale: "de",
		Title: "Die Waschmaschine in der Küche pumpt langsam ab.", Body: "Das Abpumpen dauerte 94 s statt 40 s.\n\nReinigen Sie das Flusensieb (10 Minuten).",
		URL: "https://care.example/m/sealed-page", StopURL: "https://care.example/stop/sealed-stop", Receipt: "sealed-receipt",
		Actions: []fleet.Action{
			{Verdict: fleet.VerdictFixed, Label: "Erledigt", URL: "https://care.example/m/sealed-page?a=fixed", Token: "sealed-fixed"},
			{Verdict: fleet.VerdictBook, Label: "Termin vereinbaren", URL: "https://care.example/m/sealed-page?a=book", Token: "sealed-book"},
			{Verdict: fleet.VerdictNotTrue, Label: "Stimmt nicht", URL: "https://care.example/m/sealed-page?a=not_true", Token: "sealed-untrue"},
			{Verdict: fleet.VerdictStop, Label: "Nicht mehr melden", URL: "https://care.example/m/sealed-page?a=stop", Token: "sealed-stopping"},
		},
		TTL: 26 * time.Hour, Collapse: "Y2FzZS0xLW9wZW5lZA", Rule: "washer-drain", RuleHash: "abc", At: Now.Add(-time.Minute)}
}

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	if s.Start == nil {
		s.Start = func(t *testing.T, cert *tls.Certificate) Receiver { return StartHTTP(t, cert) }
		for _, code := range HTTPCodes {
			if _, ok := s.Classes[code]; !ok {
				t.Errorf("the suite does not say what HTTP %d means", code)
			}
		}
	}
	t.Run("REL-11 answers", func(t *testing.T) { s.answers(t) })
	t.Run("REL-11 faults", func(t *testing.T) { s.faults(t) })
	t.Run("REL-11 wishes to wait", func(t *testing.T) { s.wishes(t) })
	t.Run("REL-10 same key on each try", func(t *testing.T) { s.sameKey(t) })
	t.Run("REL-11 one try", func(t *testing.T) { s.oneTry(t) })
	t.Run("REL-11 interrupted", func(t *testing.T) { s.interrupted(t) })
	t.Run("REL-11 certificates", func(t *testing.T) { s.certificates(t) })
	t.Run("SEC-15 forbidden address", func(t *testing.T) { s.forbidden(t) })
	t.Run("SEC-17 hostile messages", func(t *testing.T) { s.hostile(t) })
	t.Run("many at once", func(t *testing.T) { s.many(t) })
}

// scene is one receiver with the channel that is pointed at it.
type scene struct {
	Receiver
	ch Sender
	to fleet.Endpoint
	s  *Suite
}

// stage starts a receiver and points the channel at it. A call may take timeout.
func (s *Suite) stage(t *testing.T, timeout time.Duration) *scene {
	t.Helper()
	r := s.Start(t, nil)
	sc := &scene{Receiver: r, s: s}
	sc.ch, sc.to = s.New(t, World{URL: r.URL(), Allow: []string{r.Host()}, Timeout: timeout, Now: func() time.Time { return Now }})
	if sc.ch.Name() != s.Name {
		t.Errorf("the channel's name is %q, want %q", sc.ch.Name(), s.Name)
	}
	return sc
}

// send sends once and checks the class of what comes of it, and what the error tells.
func (sc *scene) send(t *testing.T, m fleet.Message, want string, after time.Duration) {
	t.Helper()
	err := sc.ch.Send(t.Context(), m, sc.to)
	if got, wish := outreach.ClassOf(err); got != want || wish != after {
		t.Errorf("%v: is %q after %v, want %q after %v", err, got, wish, want, after)
	}
	sc.s.quiet(t, err, m, sc.to)
}

// patient is a time that no local receiver needs; brief is one in which a receiver that hangs is given up.
const (
	patient = 20 * time.Second
	brief   = 150 * time.Millisecond
)

func (s *Suite) answers(t *testing.T) {
	for _, code := range slices.Sorted(maps.Keys(s.Classes)) {
		e := Expect{Answer: Answer{Code: code}, Class: s.Classes[code]}
		if code >= 300 && code < 400 {
			e.Answer.Header = map[string]string{"Location": "/elsewhere"}
		}
		s.expect(t, e)
	}
	for _, e := range s.More {
		s.expect(t, e)
	}
}

func (s *Suite) expect(t *testing.T, e Expect) {
	t.Run(name(e), func(t *testing.T) {
		sc := s.stage(t, patient)
		sc.Act(e.Answer)
		sc.send(t, Message(), e.Class, e.After)
		if n := len(sc.Calls()); n > 1 || n == 0 && !s.Steps {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

func (s *Suite) faults(t *testing.T) {
	for how, want := range map[How]string{Reply: "", Slow: "", Hang: "again", Cut: "again", Garbage: "again", Lie: "", Flood: ""} {
		if s.Steps && how == Flood {
			want = "again" // an endless line is no answer
		}
		t.Run(string(how), func(t *testing.T) {
			timeout := patient
			if how == Hang {
				timeout = brief
			}
			sc := s.stage(t, timeout)
			sc.Act(Answer{How: how})
			sc.send(t, Message(), want, 0)
			calls := sc.Calls()
			if len(calls) > 1 || want == "" && len(calls) != 1 {
				t.Fatalf("%d calls", len(calls))
			}
			if want == "" {
				s.Arrived(t, calls[0], Message())
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		sc := s.stage(t, patient)
		sc.Close()
		sc.send(t, Message(), "again", 0)
	})
	t.Run("no address", func(t *testing.T) {
		sc := s.stage(t, patient)
		for _, address := range []string{"", "\x00", "://", "ht tp://x", "x@y\r\nRCPT TO:<z@y>", "\xff\xfe"} {
			sc.to.Address = address
			err := sc.ch.Send(t.Context(), Message(), sc.to)
			if got, _ := outreach.ClassOf(err); got != "never" {
				t.Errorf("address %q: %v is %q, want never", address, err, got)
			}
		}
		if n := len(sc.Calls()); n != 0 {
			t.Errorf("%d calls without an address", n)
		}
	})
}
