package owner

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"aftercare/internal/fleet"
)

// settingsForms are the forms of the settings page, by the last part of their address. Each ends on the page again, which says
// what was done.
func (s *Site) settingsForms() map[string]func(*visit) error {
	done := func(said string, f func(*visit) error) func(*visit) error {
		return func(v *visit) error {
			if err := f(v); err != nil {
				return err
			}
			return v.redirect("/me/settings?said=" + said + "#said")
		}
	}
	return map[string]func(*visit) error{
		"profile": done("profile", s.setProfile), "wishes": done("wishes", s.setWishes), "digest": done("digest", s.setDigest),
		"first": done("first", s.preferEndpoint), "remove": done("remove", s.removeEndpoint), "test": s.testEndpoint,
		"consent": done("consent", s.giveConsent), "withdraw": done("withdraw", s.withdrawConsent),
		"email": s.askAddress, "invite": s.invite, "alone": done("alone", s.liveAlone),
		"end": s.endSession, "leave": s.leave, "link": s.makeLink,
	}
}

func (s *Site) setProfile(v *visit) error {
	f := v.r.PostForm
	p := *v.person
	p.Name = oneLine(f.Get("name"), maxName)
	if l := f.Get("locale"); l == p.Locale || slices.ContainsFunc(locales, func(x struct{ tag, name string }) bool { return x.tag == l }) {
		p.Locale = l
	} else {
		return fleet.Errorf(fleet.CodeInvalid, "locale %q is not offered", l)
	}
	if z := f.Get("zone"); validZone(z) {
		p.Zone = z
	} else {
		return fleet.Errorf(fleet.CodeInvalid, "zone %q is not known", z)
	}
	// The language that was picked in the foot of a page would win over the one that was chosen here.
	http.SetCookie(v.w, &http.Cookie{Name: langCookie, Path: "/", MaxAge: -1, HttpOnly: true, Secure: s.https(v.r), SameSite: http.SameSiteLaxMode})
	return s.deps.Wishes.SetProfile(v.r.Context(), p)
}

func (s *Site) setDigest(v *visit) error {
	p := *v.person
	day, err1 := strconv.Atoi(v.r.PostForm.Get("day"))
	hour, err2 := strconv.Atoi(v.r.PostForm.Get("hour"))
	if err1 != nil || err2 != nil || day < 0 || day > 6 || hour < 0 || hour > 23 {
		return fleet.Errorf(fleet.CodeInvalid, "want a day and an hour")
	}
	p.DigestDay, p.DigestHour = time.Weekday(day), hour
	return s.deps.Wishes.SetProfile(v.r.Context(), p)
}

// setWishes takes all fields "want:<topic>:<channel>" of the form; only what differs from what holds is written.
func (s *Site) setWishes(v *visit) error {
	var wishes []fleet.Preference
	for _, row := range v.topicRows() {
		for _, c := range row.Channels {
			field := "want:" + string(row.Topic) + ":" + c.Channel
			if !v.r.PostForm.Has(field) {
				continue
			}
			want := fleet.Want(v.r.PostForm.Get(field))
			if !slices.ContainsFunc(c.Options, func(o option) bool { return o.Value == string(want) }) {
				return fleet.Errorf(fleet.CodeInvalid, "there is no wish %q", want)
			}
			if want != v.want(row.Topic, c.Channel) {
				wishes = append(wishes, fleet.Preference{Topic: row.Topic, Channel: c.Channel, Want: want})
			}
		}
	}
	if len(wishes) == 0 {
		return nil
	}
	return s.deps.Wishes.SetPreferences(v.r.Context(), v.person.Tenant, v.person.ID, wishes...)
}

// endpoint is the one that the form names.
func (v *visit) endpoint() (fleet.Endpoint, error) {
	id := v.r.PostForm.Get("endpoint")
	for _, e := range v.person.Endpoints {
		if endpointID(e) == id {
			return e, nil
		}
	}
	return fleet.Endpoint{}, &signError{http.StatusConflict, "endpoint"}
}

func (s *Site) preferEndpoint(v *visit) error {
	e, err := v.endpoint()
	if err != nil {
		return err
	}
	return s.deps.Wishes.PreferEndpoint(v.r.Context(), v.person.Tenant, v.person.ID, e.Channel, e.Address)
}

func (s *Site) removeEndpoint(v *visit) error {
	e, err := v.endpoint()
	if err != nil {
		return err
	}
	return s.deps.Wishes.RemoveEndpoint(v.r.Context(), v.person.Tenant, v.person.ID, e.Channel, e.Address)
}

// testEndpoint sends a message that says that it is one, so that its owner knows that the next one arrives.
func (s *Site) testEndpoint(v *visit) error {
	e, err := v.endpoint()
	if err != nil {
		return err
	}
	wait, ok := s.tries.take(v.Now, "test:"+v.person.Tenant+"/"+v.person.ID)
	if !ok {
		return &waitError{wait}
	}
	m := fleet.Message{ID: fleet.ID("test", v.person.Tenant, v.person.ID, endpointID(e), v.Now.Format(time.RFC3339Nano)), Tenant: v.person.Tenant, PersonID: v.person.ID,
		Channel: e.Channel, Topic: "test", Subject: fleet.TopicTip, Kind: fleet.KindExperience, Locale: v.Lang, Title: v.T("test.title"), Body: v.T("test.body"),
		URL: s.public.String() + "/me", TTL: 10 * time.Minute, Collapse: "test", At: v.Now}
	if err := s.deps.Tester.Try(v.r.Context(), m, e); err != nil {
		s.log.Info("a test message did not arrive", "person", v.person.ID, "channel", e.Channel, "err", err)
		return &signError{http.StatusBadGateway, "test"}
	}
	return v.redirect("/me/settings?said=test#said")
}

// giveConsent keeps that the person agreed to the text that stood there: the form names its version.
func (s *Site) giveConsent(v *visit) error {
	p := fleet.Purpose(v.r.PostForm.Get("purpose"))
	if version, ok := consentVersion[p]; !ok || v.r.PostForm.Get("text") != version {
		return &signError{http.StatusConflict, "consent"}
	}
	return s.deps.Consents.GiveConsent(v.r.Context(), v.person.Tenant, v.person.ID, p, consentVersion[p], "owner page")
}

func (s *Site) withdrawConsent(v *visit) error {
	return s.deps.Consents.WithdrawConsent(v.r.Context(), v.person.Tenant, v.person.ID, fleet.Purpose(v.r.PostForm.Get("purpose")))
}

// endSession signs another browser out, or all of them.
func (s *Site) endSession(v *visit) error {
	id := v.r.PostForm.Get("session")
	if id == "" {
		return fleet.Errorf(fleet.CodeInvalid, "want a session")
	}
	if id == "all" {
		id = ""
	}
	if err := s.deps.Sessions.RevokeSession(v.r.Context(), v.person.Tenant, v.person.ID, id); err != nil {
		return err
	}
	if id == "" || id == v.session.ID {
		s.signOut(v)
		return v.redirect("/")
	}
	return v.redirect("/me/settings?said=end#said")
}

func (s *Site) leave(v *visit) error {
	if err := s.deps.Sessions.RevokeSession(v.r.Context(), v.person.Tenant, v.person.ID, v.session.ID); err != nil {
		return err
	}
	s.signOut(v)
	return v.redirect("/")
}

// makeLink shows a link that signs in on another browser, once and soon.
func (s *Site) makeLink(v *visit) error {
	v.Title, v.Nav = v.T("link.title"), "settings"
	return s.render(v, http.StatusOK, "code", codeData{visit: v, URL: s.loginURL(v.person), Until: v.Now.Add(loginTime)})
}
