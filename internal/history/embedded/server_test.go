//go:build !slim

package embedded

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aftercare/internal/obs"
)

func testConfig(t *testing.T) Config {
	t.Helper()
	c := DefaultConfig()
	c.Dir = filepath.Join(t.TempDir(), "influxdb")
	return c
}

func start(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), c, obs.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends one request and returns status and body.
func ask(t *testing.T, method, u, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, u, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Token "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestKeepsDataAndTokenOverRestarts(t *testing.T) {
	c := testConfig(t)
	s := start(t, c)
	token := s.Token()
	if code, body := ask(t, "POST", s.URL()+"/query?q="+url.QueryEscape(`CREATE DATABASE d`), token, ""); code != 200 {
		t.Fatal(code, body)
	}
	if code, body := ask(t, "POST", s.URL()+"/api/v2/write?bucket=d&precision=ns", token, "m,serial=A v=1.5,n=7i 1700000000000000001\n"); code != 204 {
		t.Fatal(code, body)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal("a second Close:", err)
	}

	s = start(t, c)
	if s.Token() != token {
		t.Error("the token changed over a restart")
	}
	_, body := ask(t, "GET", s.URL()+"/query?db=d&epoch=ns&q="+url.QueryEscape(`SELECT * FROM m`), s.Token(), "")
	if !strings.Contains(body, `[1700000000000000001,7,"A",1.5]`) {
		t.Errorf("after the restart: %s", body)
	}
}

// TestAnAnsweredWriteIsInTheFiles takes a copy of the files of a running server, which is what a killed process leaves.
func TestAnAnsweredWriteIsInTheFiles(t *testing.T) {
	c := testConfig(t)
	s := start(t, c)
	ask(t, "POST", s.URL()+"/query?q="+url.QueryEscape(`CREATE DATABASE d`), s.Token(), "")
	for i := range 3 {
		line := fmt.Sprintf("m,serial=S%d v=%d 170000000000000000%d\n", i, i, i)
		if code, body := ask(t, "POST", s.URL()+"/api/v2/write?bucket=d", s.Token(), line); code != 204 {
			t.Fatal(code, body)
		}
	}
	left := testConfig(t)
	if err := os.CopyFS(left.Dir, os.DirFS(c.Dir)); err != nil {
		t.Fatal(err)
	}
	after := start(t, left)
	_, body := ask(t, "GET", after.URL()+"/query?db=d&epoch=ns&q="+url.QueryEscape(`SELECT v FROM m WHERE serial =~ /S/`), after.Token(), "")
	if !strings.Contains(body, `[[1700000000000000000,0],[1700000000000000001,1],[1700000000000000002,2]]`) {
		t.Errorf("after the kill: %s", body)
	}
}

func TestNothingAnswersWithoutTheToken(t *testing.T) {
	s := start(t, testConfig(t))
	for _, path := range []string{"/query?q=SHOW+DATABASES", "/ping", "/health", "/metrics", "/debug/vars", "/debug/pprof/cmdline", "/debug/requests"} {
		if code, body := ask(t, "GET", s.URL()+path, "", ""); code != http.StatusUnauthorized {
			t.Errorf("GET %s without a token: %d %.100s", path, code, body)
		}
		if code, _ := ask(t, "GET", s.URL()+path, userName+":wrong", ""); code != http.StatusUnauthorized {
			t.Errorf("GET %s with a wrong token: %d", path, code)
		}
	}
	if code, _ := ask(t, "POST", s.URL()+"/api/v2/write?bucket=d", "", "m v=1"); code == http.StatusNoContent {
		t.Error("a write without a token was accepted")
	}
	if code, body := ask(t, "GET", s.URL()+"/ping", s.Token(), ""); code != http.StatusNoContent {
		t.Errorf("ping with the token: %d %s", code, body)
	}
}

func TestOwnerAloneCanRead(t *testing.T) {
	c := testConfig(t)
	start(t, c)
	for path, want := range map[string]os.FileMode{c.Dir: 0o700, filepath.Join(c.Dir, "token"): 0o600} {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v", path, fi.Mode().Perm(), want)
		}
	}
}

func TestALostTokenFileIsMadeAnew(t *testing.T) {
	c := testConfig(t)
	s := start(t, c)
	old := s.Token()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(c.Dir, "token")); err != nil {
		t.Fatal(err)
	}
	s = start(t, c)
	if code, _ := ask(t, "GET", s.URL()+"/ping", s.Token(), ""); code != http.StatusNoContent {
		t.Errorf("ping with the new token: %d", code)
	}
	if code, _ := ask(t, "GET", s.URL()+"/ping", old, ""); code != http.StatusUnauthorized {
		t.Errorf("ping with the old token: %d", code)
	}
}

func TestStartFailures(t *testing.T) {
	c := testConfig(t)
	s := start(t, c)
	taken := testConfig(t)
	taken.Listen = strings.TrimPrefix(s.URL(), "http://")
	if _, err := Start(t.Context(), taken, obs.Discard()); err == nil {
		t.Error("started on a port in use")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, testConfig(t), obs.Discard()); err == nil {
		t.Error("started with a context that has ended")
	}
}

func TestValidate(t *testing.T) {
	if err := testConfig(t).Validate(); err != nil {
		t.Error(err)
	}
	wrong := map[string]func(*Config){
		"dir":            func(c *Config) { c.Dir = "" },
		"listen":         func(c *Config) { c.Listen = "0.0.0.0:8086" },
		"snapshot_bytes": func(c *Config) { c.SnapshotBytes = 7 },
		"cache_bytes":    func(c *Config) { c.CacheBytes = 7 },
	}
	for field, spoil := range wrong {
		c := testConfig(t)
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "history.embedded."+field) {
			t.Errorf("wrong %s: %v", field, err)
		}
	}
}

// BenchmarkStart measures opening an empty database, and one with data.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		c := DefaultConfig()
		c.Dir = b.TempDir()
		s, err := Start(b.Context(), c, obs.Discard())
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
