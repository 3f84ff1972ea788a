package owner

import (
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/chart"
	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

func itoa(n int) string { return strconv.Itoa(n) }

// visit is one request with all that its page knows: who it is, in which language and zone, and the moment. Templates call its
// methods; what they return is escaped by the template unless it is made here of fixed parts.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	access  access
	session *fleet.Session // nil: nobody is signed in
	person  *fleet.Person
	visitor string // the form cookie that this answer sets

	site  *Site
	Lang  string // "en" or "de"
	Loc   words.Locale
	Now   time.Time
	Title string
	Nav   string
	Brand string
}

const langCookie = "aftercare_lang"

func (s *Site) visit(w http.ResponseWriter, r *http.Request, who access) *visit {
	v := &visit{w: w, r: r, access: who, site: s, Now: s.now(), Brand: s.cfg.Name}
	v.Lang = s.language(v)
	v.Loc = words.For(map[string]string{"en": "en-GB", "de": "de-DE"}[v.Lang], "", "")
	return v
}

// language is what was asked for with ?lang=, before, or by the browser.
func (s *Site) language(v *visit) string {
	if q := v.r.URL.Query().Get("lang"); q == "en" || q == "de" {
		http.SetCookie(v.w, &http.Cookie{Name: langCookie, Value: q, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, Secure: s.https(v.r), SameSite: http.SameSiteLaxMode})
		return q
	}
	if c, err := v.r.Cookie(langCookie); err == nil && (c.Value == "en" || c.Value == "de") {
		return c.Value
	}
	return asked(v.r.Header.Get("Accept-Language"))
}

// asked is the first language of the browser's that there are words in.
func asked(header string) string {
	for want := range strings.SplitSeq(header, ",") {
		switch want = strings.ToLower(strings.TrimSpace(want)); {
		case strings.HasPrefix(want, "de"):
			return "de"
		case strings.HasPrefix(want, "en"):
			return "en"
		}
	}
	return "en"
}

// read makes the page one for a person: in her language, zone and units.
func (v *visit) read(p *fleet.Person) {
	v.Loc = words.For(p.Locale, p.Zone, "")
	if q := v.r.URL.Query().Get("lang"); q == "en" || q == "de" {
		if q != v.Loc.Lang {
			v.Loc = words.For(q, p.Zone, v.Loc.Region)
		}
	}
	v.Lang = v.Loc.Lang
}

// T is a text of the page in its language.
func (v *visit) T(key string) string { return textOf(key, v.Lang) }

// F is a text with names or numbers in the place of #1, #2 and so on.
func (v *visit) F(key string, with ...string) string {
	pairs := make([]string, 0, 2*len(with))
	for i, w := range with {
		pairs = append(pairs, "#"+itoa(i+1), w)
	}
	return strings.NewReplacer(pairs...).Replace(v.T(key))
}

// N is a text with one number in it, singular or plural.
func (v *visit) N(key string, n int) string {
	if n == 1 {
		return v.F(key+".1", "1")
	}
	return v.F(key, itoa(n))
}

// Form is the hidden field that every form carries.
func (v *visit) Form() template.HTML {
	return template.HTML(`<input type="hidden" name="form" value="` + v.site.formToken(v) + `">`) //nolint:gosec // base64url
}

// SignedIn reports whether there is a session; its templates show the navigation then.
func (v *visit) SignedIn() bool { return v.person != nil }

// Version names the content of the assets.
func (v *visit) Version() string { return assetVersion }

// Contact is how a person is reached.
func (v *visit) Contact() string { return v.site.cfg.Contact }

// PushKey is the server's public key for push; empty: there is none.
func (v *visit) PushKey() string { return v.site.deps.Push.Key() }

// Path is the address of the page for the links to its other language.
func (v *visit) Path() string { return v.r.URL.Path }

// Time is a moment as an element that both people and machines read.
func (v *visit) Time(t time.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `">` + //nolint:gosec // escaped
		template.HTMLEscapeString(v.Loc.When(v.Now, t)) + `</time>`)
}

// Date is a day.
func (v *visit) Date(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return v.Loc.Date(v.Now, t)
}

// Value is a number with its unit in the person's way.
func (v *visit) Value(f float64, unit string) string {
	s := v.Loc.Quantity(f, unit, 2)
	if s == "" {
		return "–"
	}
	return strings.ReplaceAll(s, "-", "−")
}

// sign is a state as pages show it: shape, colour and word.
type sign struct {
	Class string
	Word  string
}

// Sym draws the shape; the word stands beside it, so readers that speak skip it.
func (g sign) Sym() template.HTML {
	return template.HTML(`<svg class="sym" viewBox="0 0 12 12" aria-hidden="true">` + chart.Symbol(g.Class).Shape() + `</svg>`) //nolint:gosec // fixed parts
}

// severitySign is how bad a thing is.
func (v *visit) severitySign(s fleet.Severity) sign {
	class := map[fleet.Severity]chart.Symbol{fleet.Info: chart.Info, fleet.Watch: chart.Watch, fleet.Due: chart.Due, fleet.Fault: chart.Fault, fleet.Danger: chart.Danger}[s]
	return sign{string(class), v.Loc.Severity(s).Word}
}

func (v *visit) goodSign() sign   { return sign{string(chart.Good), v.Loc.Good().Word} }
func (v *visit) silentSign() sign { return sign{string(chart.Silent), v.Loc.Silent().Word} }

// redirect sends the browser to a page of ours after a POST.
func (v *visit) redirect(to string) error {
	v.w.Header().Set("Cache-Control", "no-store")
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

// browserName says a browser in words, for its owner to recognise it: "Chrome on Android". It keeps nothing else of what the
// browser said.
func browserName(agent string) string {
	first := func(pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if strings.Contains(agent, pairs[i]) {
				return pairs[i+1]
			}
		}
		return ""
	}
	app := first("Edg", "Edge", "OPR/", "Opera", "SamsungBrowser", "Samsung Internet", "Firefox", "Firefox", "FxiOS", "Firefox", "CriOS", "Chrome", "Chrome", "Chrome", "Safari", "Safari")
	on := first("iPhone", "iPhone", "iPad", "iPad", "Android", "Android", "Windows", "Windows", "Mac OS X", "Mac", "CrOS", "ChromeOS", "Linux", "Linux")
	switch {
	case app == "" && on == "":
		return ""
	case app == "":
		return on
	case on == "":
		return app
	}
	return app + " · " + on
}
