package owner

import (
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
)

const inviteTime = 7 * 24 * time.Hour

// invite shows a link with which one more person joins the household, once. Who lived alone founds one.
func (s *Site) invite(v *visit) error {
	home := v.person.Household
	if home == "" {
		home = "home-" + strings.ToLower(rand.Text()[:16])
		if err := s.deps.Homes.SetHousehold(v.r.Context(), v.person.Tenant, v.person.ID, home, 0); err != nil {
			return err
		}
	}
	until := v.Now.Add(inviteTime)
	link := s.public.String() + "/home/" + s.seal.Sign(seal.Claim{Purpose: seal.Invite, Tenant: v.person.Tenant, Subject: home + " " + rand.Text(), Person: v.person.ID, Expires: until})
	v.Title, v.Nav = v.T("invite.title"), "settings"
	return s.render(v, http.StatusOK, "code", codeData{visit: v, URL: link, Until: until, Invite: true})
}

// liveAlone takes a person out of her household.
func (s *Site) liveAlone(v *visit) error {
	return s.deps.Homes.SetHousehold(v.r.Context(), v.person.Tenant, v.person.ID, "", 0)
}

type joinData struct {
	*visit
	By    string
	Moves bool // who is signed in lives in another household
	Here  bool // or in this one
	Zones []zoneOption
	Zone  string
}

// invitation is what the link in the address says. Who has left a household invites nobody to it.
func (s *Site) invitation(v *visit) (c seal.Claim, home, link string, by *fleet.Person, err error) {
	if c, err = s.open(v, seal.Invite); err != nil {
		return c, "", "", nil, err
	}
	home, link, _ = strings.Cut(c.Subject, " ")
	by, ok := s.deps.People.Person(c.Tenant, c.Person)
	if !ok || by.Household != home || home == "" || link == "" || v.person != nil && v.person.Tenant != c.Tenant {
		return c, "", "", nil, &signError{http.StatusGone, "invite"}
	}
	v.Title = v.T("join.title")
	return c, home, link, by, nil
}

// joinPage asks; it uses nothing up.
func (s *Site) joinPage(v *visit) error {
	_, home, _, by, err := s.invitation(v)
	if err != nil {
		return err
	}
	d := joinData{visit: v, By: by.Name, Zones: zonesIn(v.Lang), Zone: usualZone(v.r.Header.Get("Accept-Language"))}
	if v.person != nil {
		d.Here = v.person.Household == home
		d.Moves = v.person.Household != "" && !d.Here
	}
	return s.render(v, http.StatusOK, "join", d)
}

// join uses the link up: who is signed in moves in, who is nobody yet becomes a person who lives there.
func (s *Site) join(v *visit) error {
	c, home, link, _, err := s.invitation(v)
	if err != nil {
		return err
	}
	if v.person != nil && v.person.Household == home {
		return v.redirect("/me/settings")
	}
	ctx := v.r.Context()
	switch err := s.deps.Homes.UseLink(ctx, c.Tenant, link, c.Expires); {
	case fleet.CodeOf(err) == fleet.CodeDenied:
		return &signError{http.StatusGone, "used"}
	case err != nil:
		return err
	}
	h, _ := s.deps.People.Household(c.Tenant, home)
	if v.person != nil {
		if err := s.deps.Homes.SetHousehold(ctx, c.Tenant, v.person.ID, home, len(h.Members)); err != nil {
			return err
		}
		return v.redirect("/me/settings?said=joined#said")
	}
	f, languages := v.r.PostForm, v.r.Header.Get("Accept-Language")
	p, err := s.deps.Homes.NewMember(ctx, fleet.Person{Tenant: c.Tenant, Name: oneLine(f.Get("name"), maxName), Locale: preferredLocale(languages, v.Lang),
		Zone: zoneOr(f.Get("zone"), f.Get("country"), languages), Household: home, Rank: len(h.Members)})
	if err != nil {
		return err
	}
	if err := s.signIn(v, c.Tenant, p.ID, seal.Claim{}); err != nil {
		return err
	}
	return v.redirect("/me")
}
