package fleet

import (
	"errors"
	"fmt"
	"testing"
)

func TestIDIsDeterministicAndSeparatesParts(t *testing.T) {
	if got := ID("f", "a", "b"); got != "f-hys0xxhwxn0mbz1ek0zzwpbx3m" {
		t.Errorf("the id of (a, b) is %s: an id must never change, rows and messages carry it", got)
	}
	if ID("f", "ab", "") == ID("f", "a", "b") {
		t.Error("parts run into each other")
	}
	if got := len(ID("case", "x")); got != len("case-")+26 {
		t.Errorf("length %d", got)
	}
}

func TestValidName(t *testing.T) {
	for _, ok := range []string{"a", "WM-0001", "x.y_z-9"} {
		if !ValidName(ok) {
			t.Errorf("%q refused", ok)
		}
	}
	for _, bad := range []string{"", "-a", ".a", "a b", "a/b", "a+", "a#", "a,b", "a=b", "ä", "a\n", string(make([]byte, 65))} {
		if ValidName(bad) {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestCodeOfLooksThroughWrapping(t *testing.T) {
	cause := errors.New("disk")
	err := fmt.Errorf("open: %w", Errorf(CodeBusy, "store is away: %w", cause))
	if CodeOf(err) != CodeBusy || !errors.Is(err, cause) {
		t.Errorf("code %q, cause kept %v", CodeOf(err), errors.Is(err, cause))
	}
	if CodeOf(cause) != CodeInternal || CodeOf(nil) != "" {
		t.Error("plain or nil error")
	}
}

func TestSeverityWords(t *testing.T) {
	for s := Info; s <= Danger; s++ {
		var back Severity
		b, _ := s.MarshalText()
		if err := back.UnmarshalText(b); err != nil || back != s {
			t.Errorf("%v: %v, %v", s, back, err)
		}
	}
	var s Severity
	if s.UnmarshalText([]byte("critical")) == nil {
		t.Error("unknown word accepted")
	}
}
