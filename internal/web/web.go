// Package web is what people look at: the desk with the fleet at a glance, devices, cases, messages and what did not get in;
// the owners' pages; and the guard that lets in who has the start-up link, for these pages and the API alike. Pages are
// rendered on the server; a little script replaces the parts that changed when the live feed says so, and without
// script everything still works. It decides nothing about cases or messages and keeps no state but a view of a few seconds.
//
// Only app may import it. It imports fleet, words and chart.
package web

import (
	"embed"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// Web is the pages. It is an http.Handler; Close it before the server is shut down, so that live connections end.
type Web struct {
	cfg       Config
	deps      Deps
	log       *slog.Logger
	now       func() time.Time
	zone      *time.Location
	pages     pages
	fleet     *snapshots
	guard     *Guard
	handler   http.Handler
	liveSlots chan struct{}
	closing   chan struct{}
	closeOnce sync.Once
	requests  *prometheus.CounterVec
}

// New builds the pages. cfg must be valid and have a token. Errors: a zone that does not load, templates that do not parse.
func New(cfg Config, deps Deps) (*Web, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Token == "" {
		return nil, fmt.Errorf("web.token is empty: make a random one of at least %d characters", MinToken)
	}
	zone, err := cfg.location()
	if err != nil {
		return nil, fmt.Errorf("web.zone %q: %w", cfg.Zone, err)
	}
	s := &Web{cfg: cfg, deps: deps, log: deps.Log, now: deps.Now, zone: zone,
		liveSlots: make(chan struct{}, cfg.MaxLive), closing: make(chan struct{}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_web_requests_total",
			Help: "Answered page requests by page and status class."}, []string{"page", "class"})}
	if s.now == nil {
		s.now = time.Now
	}
	if deps.Registerer != nil {
		if err := deps.Registerer.Register(s.requests); err != nil {
			return nil, fmt.Errorf("register metrics of web: %w", err)
		}
	}
	if s.pages, err = parsePages(); err != nil {
		return nil, err
	}
	s.fleet = &snapshots{deps: &s.deps, tenant: cfg.Tenant, now: s.now}
	s.guard = NewGuard(cfg, s.denied, deps.Registerer)
	s.handler = s.routes()
	return s, nil
}

// Guard is what app wraps the API and the public endpoints with.
func (s *Web) Guard() *Guard { return s.guard }

// ServeHTTP answers pages, assets and the live feed, guarded.
func (s *Web) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Close ends the live connections at once; pages still answer. Call it when the server begins to shut down.
func (s *Web) Close() { s.closeOnce.Do(func() { close(s.closing) }) }

func (s *Web) routes() http.Handler {
	inner := http.NewServeMux()
	page := func(pattern, name string, h func(http.ResponseWriter, *http.Request) error) {
		inner.Handle(pattern, s.page(name, h))
	}
	page("GET /{$}", "overview", s.overview)
	page("GET /devices", "devices", s.deviceList)
	page("GET /devices/{tenant}/{serial}", "device", s.deviceOne)
	page("GET /cases", "cases", s.caseList)
	page("POST /cases/bulk", "act", s.bulk)
	page("GET /cases/{tenant}/{id}", "case", s.caseOne)
	page("POST /cases/{tenant}/{id}/{verb}", "act", s.act)
	page("POST /cases/{tenant}/{id}/visit", "act", s.bookVisit)
	page("POST /cases/{tenant}/{id}/visit/cancel", "act", s.cancelVisit)
	page("GET /cases/{tenant}/{id}/files/{file}", "file", s.file)
	page("GET /incidents", "incidents", s.incidentList)
	page("GET /incidents/new", "declare", s.declareForm)
	page("POST /incidents", "act", s.declare)
	page("GET /incidents/{tenant}/{id}", "incident", s.incidentOne)
	page("POST /incidents/{tenant}/{id}/{verb}", "act", s.incidentAct)
	page("GET /people/{tenant}/{id}", "person", s.person)
	page("GET /messages", "messages", s.messageList)
	page("POST /messages/retry", "act", s.retryDead)
	page("POST /devices/{tenant}/{serial}/commands", "act", s.sendCommand)
	page("GET /quarantine", "quarantine", s.quarantine)
	page("POST /quarantine/again", "act", s.tryAgain)
	page("/", "notfound", s.notFound)
	inner.HandleFunc("GET /live", s.live)

	outer := http.NewServeMux()
	outer.Handle("GET /assets/", s.guard.Host(http.HandlerFunc(s.asset))) // the sign that says "open the link" is styled too
	outer.Handle("/", s.guard.Pages(inner))
	return outer
}
