package owner

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"math"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// access is who may come to a page, and by what its forms are known to be ours.
type access int

const (
	anyone   access = iota // forms carry a token bound to a cookie
	members                // a session; forms carry a token bound to it
	holders                // a sealed link: whoever knows it may act, so forms carry a token bound to the link and want no cookie
	programs               // the service worker: same origin, and the body says what it may
)

const maxBody = 16 << 10 // bytes of a request

// guard sets the headers that keep a page to itself, answers to our own name only and slows down who asks too much.
func (s *Site) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.secure(w.Header(), r)
		if !s.ourName(r) {
			s.refused.WithLabelValues("host").Inc()
			http.Error(w, "This name is not one these pages answer to.", http.StatusMisdirectedRequest)
			return
		}
		if wait, ok := s.requests.take(s.now(), s.from(r)); !ok {
			s.refused.WithLabelValues("rate").Inc()
			w.Header().Set("Retry-After", seconds(wait))
			http.Error(w, "Too many requests at once. Please wait a moment.", http.StatusTooManyRequests)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// secure sets the headers. Styles and scripts come from files only, so nothing inline runs.
func (s *Site) secure(h http.Header, r *http.Request) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer, browsers say "Origin: null" of our own forms
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	if s.https(r) {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// ourName checks the Host header: the public name, and on a listener of this machine its own names.
func (s *Site) ourName(r *http.Request) bool {
	if strings.EqualFold(r.Host, s.public.Host) {
		return true
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	peer, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return localName(host) && (!ok || peer.IP.IsLoopback())
}

// trusted reports whether the request comes from the proxy in front.
func (s *Site) trusted(a netip.Addr) bool {
	for _, p := range s.proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// https reports whether the person's browser speaks https: with us, or with the proxy.
func (s *Site) https(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	return s.trusted(peer(r)) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

func peer(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// from names where a request comes from, for limits: an address, of IPv6 the network that one household has. Behind the proxy
// it is the last address in X-Forwarded-For that is not a proxy's: those before it are what the sender wrote himself.
func (s *Site) from(r *http.Request) string {
	a := peer(r)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusted(a); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		a = hop.Unmap()
	}
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return "ip:" + p.String()
		}
	}
	return "ip:" + a.String()
}

// sameOrigin checks that what changes something comes from our own pages: a browser says where a request comes from.
func sameOrigin(r *http.Request) bool {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	if site != "" && site != "same-origin" && site != "none" {
		return false
	}
	if origin != "" {
		u, err := url.Parse(origin)
		return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
	}
	return site != ""
}

// permit checks a POST before its page sees it.
func (s *Site) permit(v *visit, who access) error {
	if v.r.Method == http.MethodGet || v.r.Method == http.MethodHead {
		return nil
	}
	kind, _, _ := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	oneClick := false
	if kind != "application/json" {
		if err := v.r.ParseForm(); err != nil {
			return fleet.Errorf(fleet.CodeInvalid, "the form cannot be read: %w", err)
		}
		oneClick = v.r.PostForm.Get("List-Unsubscribe") == "One-Click"
	}
	var right bool
	switch who {
	case programs: // a foreign page cannot send JSON here without asking first, which is not answered
		right = sameOrigin(v.r) || v.r.Header.Get("Origin") == "" && v.r.Header.Get("Sec-Fetch-Site") == ""
	case holders: // the link in the address is what no foreign page has; a mail service that unsubscribes somebody has nothing else
		right = oneClick || sameOriginOrSilent(v.r) && s.formRight(v)
	default:
		right = sameOrigin(v.r) && s.formRight(v)
	}
	if !right {
		s.refused.WithLabelValues("origin").Inc()
		return fleet.Errorf(fleet.CodeDenied, "the request does not come from our own form")
	}
	return nil
}

// sameOriginOrSilent is for links whose holder may act: a browser that says nothing about itself is let in, a foreign page not.
func sameOriginOrSilent(r *http.Request) bool {
	return sameOrigin(r) || r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == ""
}

// formToken is what a form of this visit carries: bound to the session, to the link in the address, or to a cookie that is set
// for it.
func (s *Site) formToken(v *visit) string {
	switch {
	case v.access == holders:
		return s.mac("link", v.r.PathValue("seal"))
	case v.session != nil:
		return s.mac("session", v.session.ID)
	}
	c, err := v.r.Cookie(s.formCookie(v.r))
	if err != nil || len(c.Value) < 20 {
		if v.visitor == "" {
			v.visitor = rand.Text()
			http.SetCookie(v.w, &http.Cookie{Name: s.formCookie(v.r), Value: v.visitor, Path: "/", HttpOnly: true, Secure: s.https(v.r), SameSite: http.SameSiteStrictMode})
		}
		return s.mac("visitor", v.visitor)
	}
	return s.mac("visitor", c.Value)
}

func (s *Site) formRight(v *visit) bool {
	if v.access != holders && v.session == nil {
		if c, err := v.r.Cookie(s.formCookie(v.r)); err != nil || len(c.Value) < 20 {
			return false
		}
	}
	return hmac.Equal([]byte(v.r.PostForm.Get("form")), []byte(s.formToken(v)))
}

func (s *Site) mac(of, what string) string {
	m := hmac.New(sha256.New, s.formKey)
	m.Write([]byte(of + "\n" + what))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:18])
}

// formCookie and sessionCookie name the cookies. With https they have the prefix that keeps other hosts of the domain from setting
// them.
func (s *Site) formCookie(r *http.Request) string { return s.cookie(r, "aftercare_form") }

func (s *Site) sessionCookie(r *http.Request) string { return s.cookie(r, "aftercare_me") }

func (s *Site) cookie(r *http.Request, name string) string {
	if s.https(r) {
		return "__Host-" + name
	}
	return name
}

func seconds(d time.Duration) string { return itoa(int(math.Ceil(max(1, d.Seconds())))) }
