package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"aftercare/internal/fleet"
)

// deadShown is how many given-up rows a page shows, and one form tries again, at most.
const deadShown = 500

// deadRow is something that was given up: what, to whom, which way, why and since when.
type deadRow struct {
	ID, What, To, ToURL, Channel, Endpoint, Reason, CaseURL string
	At                                                      time.Time
	Attempts                                                int
}

// deadChannel is how many were given up on one way.
type deadChannel struct {
	Name, Channel string // for the form, and in words
	N             int
}

// deadLetters lists what was given up, the latest first, and counts it by channel.
func (p *messagesPage) deadLetters(ctx context.Context, s *Web, people *names) error {
	list, err := s.deps.Dead.DeadLetterList(ctx, s.cfg.Tenant, deadShown)
	if err != nil {
		return err
	}
	at := map[string]int{}
	for i := range list {
		d := &list[i]
		row := deadRow{ID: d.Row.ID, What: p.about(d.Row.Topic), Channel: p.wayWord(&d.Row), Endpoint: d.Endpoint, Reason: d.Reason, At: d.At, Attempts: d.Row.Attempts}
		if d.Row.PersonID != "" {
			row.To, row.ToURL = people.name(d.Row.PersonID), personURL(s.cfg.Tenant, d.Row.PersonID)
		}
		switch d.Row.Kind {
		case fleet.OutboxOrder:
			row.What = p.T("order.title")
		case fleet.OutboxNotify:
			row.To = p.T("messages.dead.operations")
		}
		if d.Row.CaseID != "" {
			row.CaseURL = "/cases/" + s.cfg.Tenant + "/" + d.Row.CaseID
		}
		p.Dead = append(p.Dead, row)
		name := wayName(&d.Row)
		if _, ok := at[name]; !ok {
			at[name] = len(p.DeadChannels)
			p.DeadChannels = append(p.DeadChannels, deadChannel{Name: name, Channel: row.Channel})
		}
		p.DeadChannels[at[name]].N++
	}
	return nil
}

// wayName is the channel of a row; one that was not decided yet goes by its kind.
func wayName(r *fleet.OutboxRow) string {
	if r.Channel != "" {
		return r.Channel
	}
	return string(r.Kind)
}

func (v *view) wayWord(r *fleet.OutboxRow) string { return v.orHuman("channel.", wayName(r)) }

// retryDead tries one again, or all of one channel.
func (s *Web) retryDead(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(w, r, false); err != nil {
		return err
	}
	id, channel := r.PostForm.Get("id"), r.PostForm.Get("channel")
	ids := []string{id}
	switch {
	case id == "" && channel == "":
		return fleet.Errorf(fleet.CodeInvalid, "neither a message nor a channel")
	case id == "":
		list, err := s.deps.Dead.DeadLetterList(r.Context(), s.cfg.Tenant, deadShown)
		if err != nil {
			return err
		}
		ids = nil
		for i := range list {
			if wayName(&list[i].Row) == channel {
				ids = append(ids, list[i].Row.ID)
			}
		}
	}
	n := 0
	for _, id := range ids {
		err := s.deps.Dead.RetryDead(r.Context(), s.cfg.Tenant, id, s.now())
		switch code := fleet.CodeOf(err); {
		case err == nil:
			n++
		case channel != "" && (code == fleet.CodeConflict || code == fleet.CodeNotFound): // somebody was faster
		default:
			return err
		}
	}
	http.Redirect(w, r, "/messages?retried="+strconv.Itoa(n), http.StatusSeeOther)
	return nil
}

// retried is how many the last form tried again; -1: it was none.
func retried(q url.Values) int {
	if n, err := strconv.Atoi(q.Get("retried")); err == nil && n >= 0 && n <= deadShown {
		return n
	}
	return -1
}
