package web

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Guard lets in who opened the start-up link, and nobody whom a foreign page sent. It wraps the pages and the API; what is
// public (metrics, health) is wrapped with Host alone, against DNS rebinding.
type Guard struct {
	token   [sha256.Size]byte // hashed, so that comparing takes the same time whatever the length
	session string            // the cookie's value: derived, so that a stolen cookie does not reveal the link
	cookie  string
	port    string
	hosts   map[string]bool
	deny    func(w http.ResponseWriter, r *http.Request, d Denial)
	refused *prometheus.CounterVec
}

// Denial is why a request was not let in: the HTTP status and a machine code, which is also the counter's label.
type Denial struct {
	Status int
	Reason string // "host", "origin", "token", "session"
}

// NewGuard builds the guard. cfg must be valid and have a token. deny writes the answer to a person; the API's is JSON and
// built in. reg may be nil.
func NewGuard(cfg Config, deny func(http.ResponseWriter, *http.Request, Denial), reg prometheus.Registerer) *Guard {
	_, port, _ := net.SplitHostPort(cfg.Listen) // Validate has seen it
	g := &Guard{
		token: sha256.Sum256([]byte(cfg.Token)), session: sessionValue(string(cfg.Token)),
		cookie: "aftercare_" + port, // cookies know no ports: two installations must not overwrite each other's
		port:   port, hosts: map[string]bool{}, deny: deny,
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_web_denied_total",
			Help: "Requests that were not let in, by reason."}, []string{"reason"}),
	}
	for _, h := range cfg.Hosts {
		g.hosts[strings.ToLower(h)] = true
	}
	if reg != nil {
		reg.MustRegister(g.refused)
	}
	return g
}

func sessionValue(token string) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte("aftercare session v1"))
	return hex.EncodeToString(m.Sum(nil))
}

// Pages wraps what people look at: host, origin, and the cookie that the start-up link sets.
func (g *Guard) Pages(next http.Handler) http.Handler {
	return g.Host(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token := r.URL.Query().Get("token"); token != "" && r.Method == http.MethodGet {
			g.enter(w, r, token)
			return
		}
		if d, ok := g.check(r); !ok {
			g.refuse(w, r, d, g.deny)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// API wraps what programs call: the same, and an Authorization header serves instead of the cookie.
func (g *Guard) API(next http.Handler) http.Handler {
	return g.host(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d, ok := g.check(r); !ok {
			g.refuse(w, r, d, denyJSON)
			return
		}
		next.ServeHTTP(w, r)
	}), denyJSON)
}

// Host wraps what everybody on this machine may read: only the Host header is checked, and the security headers are set.
func (g *Guard) Host(next http.Handler) http.Handler { return g.host(next, g.deny) }

func (g *Guard) host(next http.Handler, deny func(http.ResponseWriter, *http.Request, Denial)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		if !g.hostAllowed(r) {
			g.refuse(w, r, Denial{http.StatusMisdirectedRequest, "host"}, deny)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, d Denial, deny func(http.ResponseWriter, *http.Request, Denial)) {
	g.refused.WithLabelValues(d.Reason).Inc()
	deny(w, r, d)
}

// secure sets the headers that keep a page to itself. Styles and scripts come from files only, so nothing inline runs.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer, browsers say "Origin: null" of our own forms
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
}

// hostAllowed checks the Host header: a loopback name or address with our port, or one of the configured names. A foreign
// page that rebinds its name to 127.0.0.1 still sends its own name.
func (g *Guard) hostAllowed(r *http.Request) bool {
	hostport := strings.ToLower(r.Host)
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		host, port = hostport, "80"
	}
	if g.hosts[hostport] || g.hosts[host] {
		return true
	}
	return loopback(host) && port == g.ownPort(r.Context())
}

// ownPort is the port the connection came in on; the configured one where a test has no connection.
func (g *Guard) ownPort(ctx context.Context) string {
	if a, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, port, err := net.SplitHostPort(a.String()); err == nil {
			return port
		}
	}
	return g.port
}

// check decides whether a request of the right host may go on.
func (g *Guard) check(r *http.Request) (Denial, bool) {
	byToken := false
	if auth := r.Header.Get("Authorization"); auth != "" {
		token, ok := strings.CutPrefix(auth, "Bearer ")
		if !ok || !g.tokenRight(token) {
			return Denial{http.StatusUnauthorized, "token"}, false
		}
		byToken = true
	}
	if !sameOrigin(r, byToken) {
		return Denial{http.StatusForbidden, "origin"}, false
	}
	if byToken {
		return Denial{}, true
	}
	if c, err := r.Cookie(g.cookie); err != nil || !hmac.Equal([]byte(c.Value), []byte(g.session)) {
		return Denial{http.StatusUnauthorized, "session"}, false
	}
	return Denial{}, true
}

func (g *Guard) tokenRight(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return hmac.Equal(sum[:], g.token[:])
}

// sameOrigin checks that what changes something comes from our own pages. A browser says where a request comes from; one
// that says nothing must show the token itself, which no foreign page has.
func sameOrigin(r *http.Request, byToken bool) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	if site != "" && site != "same-origin" && site != "none" {
		return false
	}
	if origin != "" {
		u, err := url.Parse(origin)
		return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
	}
	return site != "" || byToken
}

// enter takes the token of the start-up link, gives the session cookie for it and sends the browser to the same address
// without the token, so that it stays in no history and no screenshot.
func (g *Guard) enter(w http.ResponseWriter, r *http.Request, token string) {
	if !g.tokenRight(token) {
		g.refuse(w, r, Denial{http.StatusUnauthorized, "token"}, g.deny)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: g.cookie, Value: g.session, Path: "/", HttpOnly: true,
		SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil})
	q := r.URL.Query()
	q.Del("token")
	// Only path and query: a path that begins with two slashes would be another host.
	to := url.URL{Path: "/" + strings.TrimLeft(r.URL.Path, "/\\"), RawQuery: q.Encode()}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
}

func denyJSON(w http.ResponseWriter, _ *http.Request, d Denial) {
	detail := map[string]string{
		"host":    "This name or port is not one the server answers to.",
		"origin":  "The request comes from another page.",
		"token":   "The token is not the one the server printed at its start.",
		"session": "Send the token that the server printed at its start: Authorization: Bearer <token>.",
	}[d.Reason]
	w.Header().Set("Content-Type", "application/problem+json")
	if d.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="aftercare"`)
	}
	w.WriteHeader(d.Status)
	_, _ = w.Write([]byte(`{"title":"` + http.StatusText(d.Status) + `","status":` + itoa(d.Status) + `,"detail":"` + detail + `"}` + "\n"))
}
