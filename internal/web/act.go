package web

import (
	"net/http"
	"slices"
	"strings"

	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

const (
	deskActor = "desk" // everybody with the start-up link, until people sign in
	maxForm   = 64 << 10
	maxNote   = 2000 // characters
)

// act does one thing with a case and sends the browser back to it; the same request twice is harmless.
func (s *Web) act(w http.ResponseWriter, r *http.Request, name string, do func(c *fleet.Case) error) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return fleet.Errorf(fleet.CodeInvalid, "read the form: %w", err)
	}
	c, err := s.loadCase(r.Context(), r)
	if err != nil {
		return err
	}
	if err := do(c); err != nil {
		return err
	}
	s.fleet.forget()
	http.Redirect(w, r, caseURL(c)+"?done="+name, http.StatusSeeOther)
	return nil
}

func (s *Web) acknowledge(w http.ResponseWriter, r *http.Request) error {
	return s.act(w, r, "acknowledge", func(c *fleet.Case) error {
		return s.deps.Agent.Acknowledge(r.Context(), c.Device.Tenant, c.ID, "agent:"+deskActor)
	})
}

func (s *Web) resolve(w http.ResponseWriter, r *http.Request) error {
	return s.act(w, r, "resolve", func(c *fleet.Case) error {
		outcome := r.PostForm.Get("outcome")
		if !slices.Contains(outcomes, outcome) {
			return fleet.Errorf(fleet.CodeInvalid, "outcome %q: want one of %q", outcome, outcomes)
		}
		return s.deps.Agent.Resolve(r.Context(), c.Device.Tenant, c.ID, "agent:"+deskActor, outcome, note(r))
	})
}

func (s *Web) comment(w http.ResponseWriter, r *http.Request) error {
	return s.act(w, r, "comment", func(c *fleet.Case) error {
		text := note(r)
		if text == "" {
			return fleet.Errorf(fleet.CodeInvalid, "the comment is empty")
		}
		return s.deps.Agent.Comment(r.Context(), c.Device.Tenant, c.ID, "agent:"+deskActor, text)
	})
}

func note(r *http.Request) string {
	return words.Clean(strings.TrimSpace(r.PostForm.Get("note")), maxNote)
}
