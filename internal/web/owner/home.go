package owner

import (
	"net/http"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
)

type homeData struct {
	*visit
	Code, Name string // as typed
	Zones      []zoneOption
	Zone       string
	Trouble    string // what was wrong with the form, in words
}

// home says whose pages these are and takes a claim code. Who is signed in gets here to claim one more thing.
func (s *Site) home(v *visit) error {
	if v.person != nil && v.r.URL.Path == "/" {
		return v.redirect("/me")
	}
	v.Title = v.Brand
	if v.person != nil {
		v.Title = v.T("claim.more")
	}
	return s.render(v, http.StatusOK, "home", s.homeData(v, v.r.URL.Query().Get("code"), ""))
}

func (s *Site) homeData(v *visit, code, trouble string) homeData {
	if len(code) > maxCode {
		code = ""
	}
	return homeData{visit: v, Code: code, Trouble: trouble, Zones: zonesIn(v.Lang), Zone: usualZone(v.r.Header.Get("Accept-Language"))}
}

const (
	maxCode = 40
	maxName = 80
)

// claim makes who typed a code the device's owner, and whoever is nobody yet a person. Every try counts, by address and by person,
// until it was right (SEC-10).
func (s *Site) claim(v *visit) error {
	f := v.r.PostForm
	code := f.Get("code")
	keys := []string{s.from(v.r)}
	who := fleet.Person{Tenant: s.deps.Tenant, Name: oneLine(f.Get("name"), maxName), Locale: preferredLocale(v.r.Header.Get("Accept-Language"), v.Lang),
		Zone: zoneOr(f.Get("zone"), f.Get("country"), v.r.Header.Get("Accept-Language"))}
	if v.person != nil {
		who = *v.person
		keys = append(keys, "person:"+who.Tenant+"/"+who.ID)
	}
	wait, ok := s.tries.take(v.Now, keys...)
	if !ok {
		s.refused.WithLabelValues("tries").Inc()
		v.w.Header().Set("Retry-After", seconds(wait))
		return s.claimAgain(v, http.StatusTooManyRequests, v.F("claim.wait", v.Loc.Span(roundUp(wait))))
	}
	if code == "" || len(code) > maxCode {
		s.tries.back(v.Now, keys...) // nothing was guessed
		return s.claimAgain(v, http.StatusUnprocessableEntity, v.T("claim.empty"))
	}
	id, device, err := s.deps.Claims.ClaimAs(v.r.Context(), code, who)
	switch fleet.CodeOf(err) {
	case "":
	case fleet.CodeInvalid:
		return s.claimAgain(v, http.StatusUnprocessableEntity, v.T("claim.typo"))
	case fleet.CodeNotFound:
		return s.claimAgain(v, http.StatusUnprocessableEntity, v.T("claim.unknown"))
	case fleet.CodeConflict:
		return s.claimAgain(v, http.StatusUnprocessableEntity, v.T("claim.taken"))
	default:
		s.tries.back(v.Now, keys...)
		return err
	}
	s.tries.back(v.Now, keys...)
	if v.person == nil {
		if err := s.signIn(v, s.deps.Tenant, id, seal.Claim{}); err != nil {
			return err
		}
	}
	return v.redirect("/me/things/" + device.Serial + "?new=1")
}

func (s *Site) claimAgain(v *visit, status int, trouble string) error {
	d := s.homeData(v, v.r.PostForm.Get("code"), trouble)
	d.Name = oneLine(v.r.PostForm.Get("name"), maxName)
	if z := v.r.PostForm.Get("country"); z != "" {
		d.Zone = z
	}
	v.Title = v.T("claim.title")
	return s.render(v, status, "home", d)
}

// roundUp keeps a wait from being said too short.
func roundUp(d time.Duration) time.Duration { return d.Truncate(time.Minute) + time.Minute }

// oneLine is what somebody typed into a field: one line, no control characters, at most so many bytes, cut between letters.
func oneLine(typed string, limit int) string {
	s := strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == '\uFFFD' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(typed, " "))), " ")
	for i := range s {
		if i > limit {
			return strings.TrimSpace(s[:last(s, i)])
		}
	}
	if len(s) > limit {
		return strings.TrimSpace(s[:last(s, len(s))])
	}
	return s
}

// last is where the letter before i begins.
func last(s string, i int) int {
	for i--; i > 0 && s[i]&0xc0 == 0x80; i-- {
	}
	return i
}
