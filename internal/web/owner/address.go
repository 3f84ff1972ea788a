package owner

import (
	"net/http"
	"net/mail"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
)

const (
	emailChannel = "email"
	confirmTime  = 24 * time.Hour
	maxEmail     = 254 // characters (RFC 5321)
)

// askAddress sends a mail to an address that was typed. Only who reads it there can make it one of the person's: nobody is written to
// who did not ask for it. What is sent to one address and by one person is counted.
func (s *Site) askAddress(v *visit) error {
	typed := strings.TrimSpace(v.r.PostForm.Get("address"))
	a, err := mail.ParseAddress(typed)
	if err != nil || a.Address != typed || len(typed) > maxEmail || strings.ContainsAny(typed, " \"\r\n") {
		return &signError{http.StatusUnprocessableEntity, "address"}
	}
	if !s.deps.Email {
		return fleet.Errorf(fleet.CodeInvalid, "there is no mail server")
	}
	wait, ok := s.tries.take(v.Now, "mail:"+v.person.Tenant+"/"+v.person.ID, "mail:"+strings.ToLower(typed))
	if !ok {
		return &waitError{wait}
	}
	link := s.public.String() + "/address/" + s.seal.Sign(seal.Claim{Purpose: seal.Address, Tenant: v.person.Tenant, Subject: typed, Person: v.person.ID, Expires: v.Now.Add(confirmTime)})
	m := fleet.Message{ID: fleet.ID("address", v.person.Tenant, v.person.ID, typed, v.Now.Format(time.RFC3339Nano)), Tenant: v.person.Tenant, PersonID: v.person.ID, Channel: emailChannel,
		Topic: "address", Subject: fleet.TopicTip, Kind: fleet.KindExperience, Locale: v.Lang, Title: v.F("address.mail", v.Brand), Body: v.T("address.mail.body") + "\n\n" + link, URL: link,
		TTL: confirmTime, Collapse: "address", At: v.Now}
	if err := s.deps.Tester.Try(v.r.Context(), m, fleet.Endpoint{Channel: emailChannel, Address: typed}); err != nil {
		s.log.Info("a mail with a link to confirm an address did not leave", "person", v.person.ID, "err", err)
		return &signError{http.StatusBadGateway, "test"}
	}
	return v.redirect("/me/settings?said=address#said")
}

type addressData struct {
	*visit
	Address string
	Done    bool
}

// addressOf is the link's address and person.
func (s *Site) addressOf(v *visit) (string, *fleet.Person, error) {
	c, err := s.open(v, seal.Address)
	if err != nil {
		return "", nil, err
	}
	p, ok := s.deps.People.Person(c.Tenant, c.Person)
	if !ok {
		return "", nil, fleet.Errorf(fleet.CodeNotFound, "the person of the link is not known")
	}
	v.read(p)
	v.Title = v.T("address.title")
	return c.Subject, p, nil
}

// addressPage asks: programs that open links in mail agree to nothing.
func (s *Site) addressPage(v *visit) error {
	address, _, err := s.addressOf(v)
	if err != nil {
		return err
	}
	return s.render(v, http.StatusOK, "address", addressData{visit: v, Address: address})
}

func (s *Site) confirmAddress(v *visit) error {
	address, p, err := s.addressOf(v)
	if err != nil {
		return err
	}
	if err := s.deps.Wishes.AddEndpoint(v.r.Context(), p.Tenant, p.ID, fleet.Endpoint{Channel: emailChannel, Address: address}); err != nil {
		return err
	}
	return s.render(v, http.StatusOK, "address", addressData{visit: v, Address: address, Done: true})
}
