package owner

import (
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
)

const loginTime = 15 * time.Minute // of a link for another browser of the same person

// LoginLink makes a link that signs a person in once, until it expires. tell is where the pages are: Config.Public.
func LoginLink(s *seal.Seal, public, tenant, personID string, expires time.Time) string {
	return public + "/login/" + s.Sign(seal.Claim{Purpose: seal.Login, Tenant: tenant, Subject: rand.Text(), Person: personID, Expires: expires})
}

// session finds whose request it is. Nil: nobody's.
func (s *Site) session(r *http.Request) (*fleet.Session, *fleet.Person, error) {
	token := ""
	if c, err := r.Cookie(s.sessionCookie(r)); err == nil {
		token = c.Value
	}
	if token == "" || len(token) > 128 {
		return nil, nil, nil
	}
	have, err := s.deps.Sessions.UseSession(r.Context(), token)
	if fleet.CodeOf(err) == fleet.CodeDenied {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	who, ok := s.deps.People.Person(have.Tenant, have.PersonID)
	if !ok {
		return nil, nil, nil
	}
	return have, who, nil
}

// signIn opens a session for a person and gives the browser its cookie. link is the claim of a link that works once; its zero
// value: a claim code was right.
func (s *Site) signIn(v *visit, tenant, personID string, link seal.Claim) error {
	ctx, agent := v.r.Context(), browserName(v.r.UserAgent())
	var token string
	var err error
	if link.Subject == "" {
		token, err = s.deps.Sessions.OpenSession(ctx, tenant, personID, agent, s.cfg.Session)
	} else {
		token, err = s.deps.Sessions.OpenSessionByLink(ctx, tenant, personID, agent, s.cfg.Session, link.Subject, link.Expires)
	}
	if err != nil {
		return err
	}
	if v.session != nil { // whoever was signed in here is not any more
		if err := s.deps.Sessions.RevokeSession(ctx, v.session.Tenant, v.session.PersonID, v.session.ID); err != nil {
			s.log.Warn("the session before was not ended", "session", v.session.ID, "err", err)
		}
	}
	http.SetCookie(v.w, &http.Cookie{Name: s.sessionCookie(v.r), Value: token, Path: "/", MaxAge: int(s.cfg.Session.Seconds()), HttpOnly: true,
		Secure: s.https(v.r), SameSite: http.SameSiteLaxMode})
	return nil
}

func (s *Site) signOut(v *visit) {
	http.SetCookie(v.w, &http.Cookie{Name: s.sessionCookie(v.r), Path: "/", MaxAge: -1, HttpOnly: true, Secure: s.https(v.r), SameSite: http.SameSiteLaxMode})
}

type loginData struct {
	*visit
	Name string // who will be signed in
	Who  string // who is, now, if that is somebody else
}

// loginPage shows a button: what opens links in mail to look for malware does not press it.
func (s *Site) loginPage(v *visit) error {
	c, err := s.open(v, seal.Login)
	if err != nil {
		return err
	}
	p, ok := s.deps.People.Person(c.Tenant, c.Person)
	if !ok {
		return fleet.Errorf(fleet.CodeNotFound, "the person of the link is not known")
	}
	v.read(p)
	d := loginData{visit: v, Name: p.Name}
	if v.person != nil && v.person.ID != p.ID {
		d.Who = v.person.Name
	}
	v.Title = v.T("login.title")
	return s.render(v, http.StatusOK, "login", d)
}

func (s *Site) login(v *visit) error {
	c, err := s.open(v, seal.Login)
	if err != nil {
		return err
	}
	if _, ok := s.deps.People.Person(c.Tenant, c.Person); !ok {
		return fleet.Errorf(fleet.CodeNotFound, "the person of the link is not known")
	}
	switch err := s.signIn(v, c.Tenant, c.Person, c); fleet.CodeOf(err) {
	case "":
		return v.redirect("/me")
	case fleet.CodeDenied:
		return &signError{http.StatusGone, "used"}
	default:
		return err
	}
}

// open reads the sealed text in the address. Wrong ones are counted by address (SEC-10).
func (s *Site) open(v *visit, purpose string) (seal.Claim, error) {
	return s.unseal(v, purpose, v.r.PathValue("seal"))
}

// unseal asks the seal first: a link that was sealed here is no guess, and opens also from an address where somebody guessed. It
// gives nothing away, since nobody finds 128 bits by trying.
func (s *Site) unseal(v *visit, purpose, text string) (seal.Claim, error) {
	now := s.now()
	c, err := s.seal.Open(purpose, text, now)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, seal.ErrExpired):
		return c, &signError{http.StatusGone, "expired"}
	}
	s.refused.WithLabelValues("seal").Inc()
	if wait, ok := s.tries.take(now, s.from(v.r)); !ok {
		return seal.Claim{}, &waitError{wait}
	}
	return seal.Claim{}, &signError{http.StatusNotFound, "link"}
}

// loginURL makes a link for another browser of a person.
func (s *Site) loginURL(p *fleet.Person) string {
	return LoginLink(s.seal, s.public.String(), p.Tenant, p.ID, s.now().Add(loginTime))
}
