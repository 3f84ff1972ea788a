package outreach_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"aftercare/internal/egress"
)

var secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

// call is one request that a receiver got.
type call struct {
	header http.Header
	body   string
}

// receiver is somebody's server: it answers by the script, the last answer for ever, and remembers what it got.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	script []http.HandlerFunc
	calls  []call
	got    chan call
}

func receive(t *testing.T, script ...http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{script: script, got: make(chan call, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		c := call{req.Header.Clone(), string(b)}
		r.mu.Lock()
		answer := r.script[min(len(r.calls), len(r.script)-1)]
		r.calls = append(r.calls, c)
		r.mu.Unlock()
		r.got <- c
		answer(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) received() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]call(nil), r.calls...)
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

// hang answers when the caller has gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// client may call the receivers, though they are on loopback.
func client(t *testing.T, timeout time.Duration, rs ...*receiver) *http.Client {
	t.Helper()
	c := egress.DefaultConfig()
	c.Timeout = timeout
	for _, r := range rs {
		c.Allow = append(c.Allow, r.Listener.Addr().String())
	}
	h := egress.New(c)
	t.Cleanup(h.CloseIdleConnections)
	return h
}
