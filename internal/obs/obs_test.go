package obs

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	err := Config{Level: "loud", Format: "xml", Admin: "0.0.0.0:6060"}.Validate()
	for _, want := range []string{`log.level "loud"`, `log.format "xml"`, `log.admin "0.0.0.0:6060"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	log := Logger(Config{Level: "warn", Format: "json"}, &out)
	log.Info("quiet")
	log.Warn("loud")
	if s := out.String(); strings.Contains(s, "quiet") || !strings.Contains(s, `"msg":"loud"`) {
		t.Errorf("logged %s", s)
	}
}

func TestReadyNamesWhatFails(t *testing.T) {
	h := NewHealth()
	answer := func() (int, string) {
		w := httptest.NewRecorder()
		h.Ready(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
		return w.Code, w.Body.String()
	}
	if code, body := answer(); code != http.StatusOK || body != "ready\n" {
		t.Errorf("without checks: %d %q", code, body)
	}
	var bad error
	h.Add("store", func(context.Context) error { return bad })
	h.Add("journal", func(context.Context) error { return nil })
	if code, _ := answer(); code != http.StatusOK {
		t.Errorf("all well: %d", code)
	}
	bad = errors.New("disk is full")
	if code, body := answer(); code != http.StatusServiceUnavailable || body != "store: disk is full\n" {
		t.Errorf("one fails: %d %q", code, body)
	}
}
