// Package owner is the pages that owners open on their phones, from anywhere: getting in with a claim code or a link, their things
// and messages, the page behind a message with its buttons, their wishes, and the service worker that shows push messages. It is
// the only part of the pages that is meant to be reached from outside, so it shares nothing with the desk: a listener, a guard
// and texts of its own. A GET never changes anything, every form works without script, and who has neither a session nor a signed
// link learns nothing about anybody. It decides nothing about cases and messages.
//
// Only app may import it. It imports fleet, words, chart and seal.
package owner

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/seal"
)

// Site is the owners' pages: an http.Handler.
type Site struct {
	cfg      Config
	deps     Deps
	log      *slog.Logger
	now      func() time.Time
	seal     *seal.Seal
	formKey  []byte
	public   *url.URL
	proxies  []netip.Prefix
	pages    pages
	tries    *tries // wrong codes and links
	requests *tries // everything
	answered *prometheus.CounterVec
	refused  *prometheus.CounterVec
	handler  http.Handler
}

// New builds the pages. cfg must be valid; public is what Config.Public says of the open listener. Errors: templates that do not
// parse, metrics that are registered already.
func New(cfg Config, public string, d Deps) (*Site, error) {
	u, err := url.Parse(public)
	if err != nil {
		return nil, fmt.Errorf("owner.url %q: %w", public, err)
	}
	s := &Site{cfg: cfg, deps: d, log: d.Log, now: d.Now, seal: seal.New(d.Key), public: u}
	if s.now == nil {
		s.now = time.Now
	}
	m := hmac.New(sha256.New, d.Key)
	m.Write([]byte("aftercare owner forms v1"))
	s.formKey = m.Sum(nil)
	if s.proxies, err = cfg.proxies(); err != nil {
		return nil, err
	}
	if s.pages, err = parsePages(); err != nil {
		return nil, err
	}
	s.tries = newTries(cfg.Tries, time.Hour/time.Duration(cfg.Tries))
	s.requests = newTries(requestBurst, requestEvery)
	s.answered = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_owner_requests_total",
		Help: "Answered requests of the owners' pages by page and status class."}, []string{"page", "class"})
	s.refused = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_owner_denied_total",
		Help: "Requests of the owners' pages that were not let in, by reason."}, []string{"reason"})
	if d.Registerer != nil {
		for _, c := range []prometheus.Collector{s.answered, s.refused} {
			if err := d.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("register metrics of owner: %w", err)
			}
		}
	}
	s.handler = s.routes()
	return s, nil
}

// requestBurst and requestEvery bound what one address may ask: a page is about five requests, a household shares an address.
const (
	requestBurst = 240
	requestEvery = 250 * time.Millisecond
)

// ServeHTTP answers a request from anywhere.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

func (s *Site) routes() http.Handler {
	mux := http.NewServeMux()
	open := func(pattern, name string, h func(*visit) error) { mux.Handle(pattern, s.page(name, anyone, h)) }
	mine := func(pattern, name string, h func(*visit) error) { mux.Handle(pattern, s.page(name, members, h)) }
	open("GET /{$}", "home", s.home)
	open("GET /claim", "home", s.home)
	open("POST /claim", "claim", s.claim)
	open("GET /login/{seal}", "login", s.loginPage)
	open("POST /login/{seal}", "login", s.login)
	mux.Handle("GET /m/{seal}", s.page("message", holders, s.messagePage))
	mux.Handle("POST /m/{seal}", s.page("message", holders, s.answerForm))
	mux.Handle("POST /m/answer", s.page("answer", programs, s.answerToken))
	mux.Handle("POST /m/receipt", s.page("receipt", programs, s.receipt))
	mux.Handle("GET /stop/{seal}", s.page("stop", holders, s.stopPage))
	mux.Handle("POST /stop/{seal}", s.page("stop", holders, s.stop))
	mux.Handle("GET /address/{seal}", s.page("address", holders, s.addressPage))
	mux.Handle("POST /address/{seal}", s.page("address", holders, s.confirmAddress))
	open("GET /home/{seal}", "join", s.joinPage)
	open("POST /home/{seal}", "join", s.join)
	mine("GET /me", "me", s.me)
	mine("GET /me/things/{serial}", "thing", s.thing)
	mine("POST /me/things/{serial}", "thing", s.nameThing)
	mine("POST /me/things/{serial}/away", "thing", s.putAway)
	mine("POST /me/things/{serial}/transfer", "thing", s.transfer)
	mine("GET /me/settings", "settings", s.settings)
	for name, h := range s.settingsForms() {
		mine("POST /me/settings/"+name, "settings", h)
	}
	mux.Handle("POST /me/push", s.page("push", programs, s.subscribe))
	open("GET /offline", "offline", s.offline)
	open("/", "notfound", s.notFound)
	mux.Handle("/order/{seal}", http.HandlerFunc(s.order))
	mux.HandleFunc("GET /assets/", s.asset)
	mux.HandleFunc("GET /icons/{name}", s.icon)
	mux.HandleFunc("GET /sw.js", s.worker)
	mux.HandleFunc("GET /manifest.webmanifest", s.manifest)
	mux.HandleFunc("GET /robots.txt", robots)
	return s.guard(mux)
}

// order hands a partner's request on: what a work order looks like is not ours.
func (s *Site) order(w http.ResponseWriter, r *http.Request) {
	if s.deps.Orders == nil {
		s.page("notfound", anyone, s.notFound).ServeHTTP(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.deps.Orders.ServeHTTP(w, r)
}

func robots(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("User-agent: *\nDisallow: /\n"))
}
