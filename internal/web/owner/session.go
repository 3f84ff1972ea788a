package owner

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
)

const (
	useEvery  = time.Hour // a session's last use is written down no more often
	loginTime = 15 * time.Minute
)

// LoginLink makes a link that signs a person in once, until it expires. tell is where the pages are: Config.Public.
func LoginLink(s *seal.Seal, public, tenant, personID string, expires time.Time) string {
	return public + "/login/" + s.Sign(seal.Claim{Purpose: seal.Login, Tenant: tenant, Subject: rand.Text(), Person: personID, Expires: expires})
}

// session finds whose request it is. Nil: nobody's.
func (s *Site) session(r *http.Request) (*fleet.Session, *fleet.Person, error) {
	c, err := r.Cookie(s.sessionCookie(r))
	if err != nil || len(c.Value) < 40 || len(c.Value) > 64 {
		return nil, nil, nil
	}
	sum := sha256.Sum256([]byte(c.Value))
	now := s.now()
	have, err := s.deps.Sessions.SessionByHash(r.Context(), sum[:])
	if fleet.CodeOf(err) == fleet.CodeNotFound {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if !have.RevokedAt.IsZero() || !have.ExpiresAt.After(now) {
		return nil, nil, nil
	}
	who, ok := s.deps.People.Person(have.Tenant, have.PersonID)
	if !ok {
		return nil, nil, nil
	}
	if now.Sub(have.UsedAt) > useEvery {
		if err := s.deps.Sessions.UseSession(r.Context(), have.Tenant, have.ID, now); err != nil {
			s.log.Warn("a session's use was not noted", "session", have.ID, "err", err)
		}
	}
	return &have, who, nil
}

// signIn opens a session for a person and gives the browser its cookie. The id is the link's, so that a link works once; empty:
// a new one.
func (s *Site) signIn(v *visit, tenant, personID, id string) error {
	token := make([]byte, 32)
	_, _ = rand.Read(token) // never fails: crypto/rand ends the program instead
	value := base64.RawURLEncoding.EncodeToString(token)
	sum := sha256.Sum256([]byte(value))
	now := s.now()
	if id == "" {
		id = fleet.ID("session", rand.Text())
	}
	err := s.deps.Sessions.SaveSession(v.r.Context(), fleet.Session{ID: id, Tenant: tenant, PersonID: personID, Hash: sum[:], Agent: browserName(v.r.UserAgent()),
		CreatedAt: now, UsedAt: now, ExpiresAt: now.Add(s.cfg.Session)})
	if err != nil {
		return err
	}
	if v.session != nil { // whoever was signed in here is not any more
		if err := s.deps.Sessions.RevokeSessions(v.r.Context(), v.session.Tenant, v.session.PersonID, v.session.ID, now); err != nil {
			s.log.Warn("the session before was not ended", "session", v.session.ID, "err", err)
		}
	}
	http.SetCookie(v.w, &http.Cookie{Name: s.sessionCookie(v.r), Value: value, Path: "/", MaxAge: int(s.cfg.Session.Seconds()), HttpOnly: true,
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
	err = s.signIn(v, c.Tenant, c.Person, fleet.ID("session", "link", c.Subject))
	switch fleet.CodeOf(err) {
	case "":
		return v.redirect("/me")
	case fleet.CodeDuplicate, fleet.CodeConflict:
		return &signError{http.StatusGone, "used"}
	}
	return err
}

// open reads the sealed text in the address. Wrong ones are counted by address (SEC-10).
func (s *Site) open(v *visit, purpose string) (seal.Claim, error) {
	return s.unseal(v, purpose, v.r.PathValue("seal"))
}

func (s *Site) unseal(v *visit, purpose, text string) (seal.Claim, error) {
	now, from := s.now(), s.from(v.r)
	wait, ok := s.tries.take(now, from)
	if !ok {
		return seal.Claim{}, &waitError{wait}
	}
	c, err := s.seal.Open(purpose, text, now)
	switch err {
	case nil, seal.ErrExpired: // sealed here: no guess
		s.tries.back(now, from)
	}
	switch err {
	case nil:
		return c, nil
	case seal.ErrExpired:
		return c, &signError{http.StatusGone, "expired"}
	}
	s.refused.WithLabelValues("seal").Inc()
	return seal.Claim{}, &signError{http.StatusNotFound, "link"}
}

// loginURL makes a link for another browser of a person.
func (s *Site) loginURL(p *fleet.Person) string {
	return LoginLink(s.seal, s.public.String(), p.Tenant, p.ID, s.now().Add(loginTime))
}
