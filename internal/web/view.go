package web

import (
	"html/template"
	"net/http"
	"strings"
	"time"

	"aftercare/internal/chart"
	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

// view is what every page and every row in it knows: language, zone and the moment it shows. Templates call its methods; all
// of what they return is escaped by the template unless it is made here of fixed parts.
type view struct {
	L       lang
	Loc     words.Locale
	Now     time.Time
	Title   string
	Nav     string // which entry of the navigation is current
	Path    string
	Query   string // without lang, for the language links
	LiveURL string
	Bare    bool // an owner's page or a locked door: no desk around it
	Version string
}

// T is a text of the page in its language.
func (v *view) T(key string) string { return textOf(key, v.L) }

// N is a text with one number in it, singular or plural.
func (v *view) N(key string, n int) string {
	if n == 1 {
		return strings.ReplaceAll(v.T(key+".1"), "#", "1")
	}
	return strings.ReplaceAll(v.T(key), "#", v.Loc.Number(float64(n), 3))
}

// When is a moment as seen from now.
func (v *view) When(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return v.Loc.When(v.Now, t)
}

// Stamp is a moment for machines.
func (v *view) Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Time is a moment as an element that both people and machines read.
func (v *view) Time(t time.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	at := t.In(v.Loc.Zone).Format("2006-01-02 15:04:05 MST")
	return template.HTML(`<time datetime="` + v.Stamp(t) + `" title="` + template.HTMLEscapeString(at) + `">` + //nolint:gosec // escaped
		template.HTMLEscapeString(v.When(t)) + `</time>`)
}

// Age is how long ago, short.
func (v *view) Age(t time.Time) string { return age(v.Now.Sub(t), v.L) }

// Date is a day.
func (v *view) Date(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return v.Loc.Date(v.Now, t)
}

// Value is a number with its unit, three digits: at the desk 12.4 V and 12.7 V are not the same.
func (v *view) Value(f float64, unit string) string { return v.digits(f, unit, 3) }

func (v *view) digits(f float64, unit string, digits int) string {
	s := v.Loc.Quantity(f, unit, digits)
	if s == "" {
		return "–"
	}
	return strings.ReplaceAll(s, "-", "−")
}

// Sym draws a state's shape; its word stands beside it, so readers that speak skip it.
func (v *view) Sym(s state) template.HTML {
	class := "good"
	for _, known := range append(stateOrder, chart.Info) {
		if s == known {
			class = string(known)
		}
	}
	return template.HTML(`<svg class="sym s-` + class + `" viewBox="0 0 12 12" aria-hidden="true">` + s.Shape() + `</svg>`) //nolint:gosec // fixed parts
}

// Word is a state's word.
func (v *view) Word(s state) string {
	switch s {
	case chart.Good:
		return v.Loc.Good().Word
	case chart.Silent:
		return v.Loc.Silent().Word
	}
	for sev := fleet.Info; sev <= fleet.Danger; sev++ {
		if severityState(sev) == s {
			return v.Loc.Severity(sev).Word
		}
	}
	return string(s)
}

// KindWord and StateWord are the words for what a case is about and where it stands.
func (v *view) KindWord(k fleet.Kind) string { return v.Loc.Kind(k) }

// StateWord is where a case stands.
func (v *view) StateWord(s fleet.CaseState) string { return v.Loc.State(s) }

// view starts a page: language by ?lang=, by the cookie it leaves, by configuration, by what the browser asks for.
func (s *Web) view(w http.ResponseWriter, r *http.Request, nav string) *view {
	l := s.language(w, r)
	q := r.URL.Query()
	q.Del("lang")
	q.Del("fragment")
	v := &view{L: l, Now: s.now(), Nav: nav, Path: r.URL.Path, Query: q.Encode(), LiveURL: "/live", Version: assetVersion}
	v.Loc = s.locale(l, "")
	return v
}

const langCookie = "aftercare_lang"

func (s *Web) language(w http.ResponseWriter, r *http.Request) lang {
	if q := r.URL.Query().Get("lang"); q == string(en) || q == string(de) {
		http.SetCookie(w, &http.Cookie{Name: langCookie, Value: q, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true,
			SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil})
		return lang(q)
	}
	if c, err := r.Cookie(langCookie); err == nil && (c.Value == string(en) || c.Value == string(de)) {
		return lang(c.Value)
	}
	if s.cfg.Locale != "auto" {
		return lang(s.cfg.Locale)
	}
	for _, want := range strings.Split(r.Header.Get("Accept-Language"), ",") {
		switch want = strings.ToLower(strings.TrimSpace(want)); {
		case strings.HasPrefix(want, "de"):
			return de
		case strings.HasPrefix(want, "en"):
			return en
		}
	}
	return en
}

// locale writes numbers and times for a page language in the desk's zone. English without a region keeps °C and litres.
func (s *Web) locale(l lang, zone string) words.Locale {
	loc := words.For(readerTags[string(l)], zone, "")
	if zone == "" {
		loc.Zone = s.zone
	}
	return loc
}
