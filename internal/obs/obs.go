// Package obs is how the process is watched: the logger, the health of its parts, and helpers for metrics. It holds values,
// no globals: loggers and registerers are passed to whoever needs them.
//
// Anyone may import it. It imports none of our packages.
package obs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sort"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Config says how the process speaks of itself.
type Config struct {
	Level  string `mapstructure:"level" help:"least severe log lines that are written: debug, info, warn or error"`
	Format string `mapstructure:"format" help:"of log lines: text or json"`
	Admin  string `mapstructure:"admin" help:"loopback host:port of the profiling pages, such as 127.0.0.1:6060; empty: off"`
}

// DefaultConfig logs text from info upwards and opens no admin address.
func DefaultConfig() Config { return Config{Level: "info", Format: "text"} }

// Validate names the field and the value of what is wrong.
func (c Config) Validate() error {
	var errs []error
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Level)); err != nil {
		errs = append(errs, fmt.Errorf("log.level %q: want debug, info, warn or error", c.Level))
	}
	if c.Format != "text" && c.Format != "json" {
		errs = append(errs, fmt.Errorf("log.format %q: want text or json", c.Format))
	}
	if c.Admin != "" {
		host, _, err := net.SplitHostPort(c.Admin)
		if ip, perr := netip.ParseAddr(host); err != nil || perr != nil || !ip.IsLoopback() {
			errs = append(errs, fmt.Errorf("log.admin %q: want a loopback address with port, as 127.0.0.1:6060, or nothing", c.Admin))
		}
	}
	return errors.Join(errs...)
}

// Logger builds the process's logger on w. The configuration must be valid.
func Logger(c Config, w io.Writer) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.Level)) // Validate has seen it
	opts := &slog.HandlerOptions{Level: l}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// Discard is a logger for tests and tools that say nothing.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Registry returns a fresh metrics registry with Go's and the process's own metrics.
func Registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Check reports whether a part is able to do its work; the error is a sentence for the operator.
type Check func(ctx context.Context) error

// Health collects the checks of all parts. It is safe for concurrent use.
type Health struct {
	mu     sync.Mutex
	checks map[string]Check
}

// NewHealth returns a Health without checks: ready.
func NewHealth() *Health { return &Health{checks: map[string]Check{}} }

// Add registers the check of a part under its name.
func (h *Health) Add(name string, c Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks[name] = c
}

// Failing runs all checks and returns those that failed, sorted, as "name: reason". Empty means ready.
func (h *Health) Failing(ctx context.Context) []string {
	h.mu.Lock()
	checks := make(map[string]Check, len(h.checks))
	for n, c := range h.checks {
		checks[n] = c
	}
	h.mu.Unlock()
	var out []string
	for n, c := range checks {
		if err := c(ctx); err != nil {
			out = append(out, n+": "+err.Error())
		}
	}
	sort.Strings(out)
	return out
}

// Live answers 200 as long as the process serves requests.
func Live(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }

// Ready answers 200 when every check passes, else 503 with one line per failing part.
func (h *Health) Ready(w http.ResponseWriter, r *http.Request) {
	if bad := h.Failing(r.Context()); len(bad) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, strings.Join(bad, "\n")+"\n")
		return
	}
	_, _ = io.WriteString(w, "ready\n")
}

// Pprof returns the profiling pages; they belong on a loopback address of their own.
func Pprof() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
