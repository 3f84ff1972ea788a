package seal

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestSealed(t *testing.T) {
	s := New([]byte(strings.Repeat("k", 32)))
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringMatching(`[a-zA-Z0-9 äß/_.-]{0,40}`)
		c := Claim{Purpose: rapid.SampledFrom([]string{Message, Answer, Stop}).Draw(t, "purpose"), Tenant: part.Draw(t, "tenant"),
			Subject: part.Draw(t, "subject"), Person: part.Draw(t, "person")}
		if rapid.Bool().Draw(t, "expires") {
			c.Expires = now.Add(time.Duration(rapid.Int64Range(0, 1e6).Draw(t, "in")) * time.Second)
		}
		text := s.Sign(c)
		got, err := s.Open(c.Purpose, text, now)
		if err != nil || got != c {
			t.Fatalf("%+v came back as %+v, %v", c, got, err)
		}
		i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		if bad := text[:i] + "~" + text[i+1:]; bad != text {
			if _, err := s.Open(c.Purpose, bad, now); !errors.Is(err, ErrBad) {
				t.Fatalf("%q was taken: %v", bad, err)
			}
		}
	})
}

func TestASealIsForOnePurposeOneKeyAndItsTime(t *testing.T) {
	s := New([]byte(strings.Repeat("k", 32)))
	text := s.Sign(Claim{Purpose: Message, Tenant: "demo", Subject: "m-1", Person: "p-1", Expires: now})
	if _, err := s.Open(Answer, text, now); !errors.Is(err, ErrBad) {
		t.Errorf("taken for another purpose: %v", err)
	}
	if _, err := New([]byte(strings.Repeat("x", 32))).Open(Message, text, now); !errors.Is(err, ErrBad) {
		t.Errorf("taken with another key: %v", err)
	}
	c, err := s.Open(Message, text, now.Add(time.Second))
	if !errors.Is(err, ErrExpired) || c.Subject != "m-1" {
		t.Errorf("%+v, %v after its time", c, err)
	}
	for _, bad := range []string{"", ".", "a.b", text + "A", strings.ToUpper(text), strings.Repeat("a", 2000) + ".b"} {
		if _, err := s.Open(Message, bad, now); !errors.Is(err, ErrBad) {
			t.Errorf("%.20q was taken: %v", bad, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := New([]byte(strings.Repeat("k", 32)))
	good := s.Sign(Claim{Purpose: Message, Tenant: "demo", Subject: "m-1", Person: "p-1"})
	f.Add(good)
	f.Add("a.b")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := s.Open(Message, text, now); err == nil && s.Sign(c) != text {
			t.Errorf("%q is not what was sealed", text)
		}
	})
}
