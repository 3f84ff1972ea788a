// Package history keeps readings, findings and changes in InfluxDB and answers questions about them. It takes records from
// the journal, hands them on in writes of a few thousand lines, and commits to the journal only what the server accepted: while
// the server is away the journal is the buffer. Writes go through influxdb-client-go's blocking write API; questions are
// InfluxQL on /query, which InfluxDB 1.8, 2.x and 3.x all answer.
//
// Writing twice is harmless everywhere: a point is identified by its series and timestamp, both are derived from the record
// alone, and a second write of it changes nothing.
//
// It is not the journal (nothing is decided by reading it back at run time) and not the database server: that is any
// InfluxDB, or the one in package embedded.
//
// Who may import it: app, cmd. It imports fleet, wire and obs.
package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
	httpapi "github.com/influxdata/influxdb-client-go/v2/api/http"
	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
)

// Config says where the database is and how to speak to it.
type Config struct {
	URL      string       `mapstructure:"url" help:"address of InfluxDB (1.8, 2.x, 3.x), such as https://host:8086; empty: the one in this process"`
	Token    fleet.Secret `mapstructure:"token" help:"its credential: an API token (2.x, 3.x) or user:password (1.8); better AFTERCARE_HISTORY_TOKEN than a flag"`
	Org      string       `mapstructure:"org" help:"its organisation (2.x and Cloud only)"`
	Database string       `mapstructure:"database" help:"its database (1.8, 3.x) or bucket (2.x); made when it is not there"`
	GZip     bool         `mapstructure:"gzip" help:"compress writes: for a database that is far away"`

	BatchLines int `mapstructure:"batch_lines" help:"most points of one write"`
	BatchBytes int `mapstructure:"batch_bytes" help:"most bytes of one write"`
	Fetch      int `mapstructure:"fetch" help:"journal records taken at a time"`
	Writers    int `mapstructure:"writers" help:"writes under way at a time, of one stream"`

	WriteTimeout time.Duration `mapstructure:"write_timeout" help:"longest time of one write"`
	QueryTimeout time.Duration `mapstructure:"query_timeout" help:"longest time of one query"`
	RetryMin     time.Duration `mapstructure:"retry_min" help:"first pause after a failed write; it doubles"`
	RetryMax     time.Duration `mapstructure:"retry_max" help:"longest pause between tries of a write, which are repeated for ever"`

	MaxPoints int `mapstructure:"max_points" help:"most points of one chart or API answer; more is an error, never a cut"`
}

// DefaultConfig is right for the embedded database and for one nearby. URL must be set before New.
func DefaultConfig() Config {
	return Config{
		Database:   "aftercare",
		BatchLines: 5000, BatchBytes: 2 << 20, Fetch: 256, Writers: 2,
		WriteTimeout: 30 * time.Second, QueryTimeout: 20 * time.Second,
		RetryMin: 100 * time.Millisecond, RetryMax: 10 * time.Second,
		MaxPoints: 20_000,
	}
}

// Validate names the fields and the values of what is wrong. An empty URL is not wrong: it means the embedded database.
func (c Config) Validate() error {
	var errs []error
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
			errs = append(errs, fmt.Errorf("history.url %q: want http://host:port or https://host:port, the credential in history.token", withoutUser(u)))
		}
	}
	if c.Database == "" {
		errs = append(errs, errors.New(`history.database "": want a name`))
	}
	if strings.Contains(c.Database, "/") {
		errs = append(errs, fmt.Errorf("history.database %q: want a name without '/': InfluxDB 1.8 reads what follows as a retention policy", c.Database))
	}
	for _, f := range []struct {
		name  string
		value int
	}{
		{"batch_lines", c.BatchLines},
		{"batch_bytes", c.BatchBytes},
		{"fetch", c.Fetch},
		{"writers", c.Writers},
		{"max_points", c.MaxPoints},
	} {
		if f.value < 1 {
			errs = append(errs, fmt.Errorf("history.%s %d: want at least 1", f.name, f.value))
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"write_timeout", c.WriteTimeout},
		{"query_timeout", c.QueryTimeout},
		{"retry_min", c.RetryMin},
	} {
		if f.value <= 0 {
			errs = append(errs, fmt.Errorf("history.%s %v: want more than 0", f.name, f.value))
		}
	}
	if c.RetryMax < c.RetryMin {
		errs = append(errs, fmt.Errorf("history.retry_max %v: want at least retry_min (%v)", c.RetryMax, c.RetryMin))
	}
	return errors.Join(errs...)
}

// withoutUser is a URL fit to be shown: somebody may have put a password into it.
func withoutUser(u *url.URL) string {
	if u == nil {
		return "(not a URL)"
	}
	shown := *u
	if shown.User != nil {
		shown.User = url.User("...")
	}
	return shown.String()
}

// Deps are what History needs from others. Log and Metrics must be set.
type Deps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer
	// Reject takes a line that the database refuses and always will, with the database's reason; app puts it into
	// quarantine. Nil: it is only counted and logged. It may be called concurrently, and twice for one line; nil from it
	// means durable. An error is tried again, and nothing behind the line is committed meanwhile.
	Reject func(ctx context.Context, line []byte, reason string) error
}

// History writes to and reads from one database. Its methods may be called concurrently.
type History struct {
	cfg       Config
	deps      Deps
	m         *metrics
	client    influxdb2.Client
	http      httpapi.Service
	write     api.WriteAPIBlocking
	transport *http.Transport

	preparing sync.Mutex // held while the database is looked for or made

	mu       sync.Mutex
	prepared bool               // the database is known to be there
	deaf     bool               // the last request got no answer
	outages  map[string]*outage // by stream: one may fail while another does not
}

// New returns a History; it does not connect: a server that is away is not a mistake in the configuration.
func New(c Config, d Deps) (*History, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.URL == "" {
		return nil, errors.New(`history.url "": no database to speak to`)
	}
	m, err := newMetrics(d.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register the metrics of history: %w", err)
	}
	tr := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
		WriteBufferSize:     64 << 10,
	}
	opts := influxdb2.DefaultOptions().SetApplicationName("aftercare").SetUseGZip(c.GZip).
		SetPrecision(time.Nanosecond).SetHTTPClient(&http.Client{Transport: tr})
	client := influxdb2.NewClientWithOptions(c.URL, string(c.Token), opts)
	return &History{
		cfg: c, deps: d, m: m, client: client, transport: tr, outages: map[string]*outage{},
		http: client.HTTPService(), write: client.WriteAPIBlocking(c.Org, c.Database),
	}, nil
}

// Close lets go of the connections. The Run methods must have returned.
func (h *History) Close() {
	h.client.Close()
	h.transport.CloseIdleConnections()
}

// Check reports whether the database can be used: obs.Check.
func (h *History) Check(ctx context.Context) error {
	if err := h.failing(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.http.ServerURL()+"ping", nil)
	if err != nil {
		return fmt.Errorf("InfluxDB at %s: %w", h.cfg.URL, err)
	}
	perr := h.http.DoHTTPRequest(req, nil, func(r *http.Response) error { return r.Body.Close() })
	if perr != nil {
		return fmt.Errorf("InfluxDB at %s does not answer: %w", h.cfg.URL, perr)
	}
	return nil
}

// outageOf returns the outage of a stream, made on first use.
func (h *History) outageOf(stream string) *outage {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.outages[stream] == nil {
		h.outages[stream] = &outage{}
	}
	return h.outages[stream]
}

// heard notes whether the database answered at all, be it with a refusal.
func (h *History) heard(answered bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deaf = !answered
}

// deafPatience is how long a question waits for a database that did not answer the last time: who looks at a page wants to see
// the rest of it.
const deafPatience = time.Second

// patience is how long a question may take now.
func (h *History) patience() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deaf {
		return min(h.cfg.QueryTimeout, deafPatience)
	}
	return h.cfg.QueryTimeout
}

func (h *History) failing() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for stream, o := range h.outages {
		if err := o.err(); err != nil {
			errs = append(errs, fmt.Errorf("writes of %s %w", stream, err))
		}
	}
	return errors.Join(errs...)
}

// outage remembers since when the writes of a stream fail, and why.
type outage struct {
	mu    sync.Mutex
	since time.Time
	cause error
}

// begin reports whether this failure is the first one.
func (o *outage) begin(now time.Time, cause error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := o.cause == nil
	if first {
		o.since = now
	}
	o.cause = cause
	return first
}

// end returns since when writes had failed; the zero time when they had not.
func (o *outage) end() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	since := o.since
	o.since, o.cause = time.Time{}, nil
	return since
}

func (o *outage) err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cause == nil {
		return nil
	}
	return fmt.Errorf("fail since %s, the journal keeps them: %w", o.since.Format(time.RFC3339), o.cause)
}
