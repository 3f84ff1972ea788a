package web

import (
	"net/http"
)

const messagesShown = 100

type messagesPage struct {
	*view
	Rows         []messageRow
	Dead         []deadRow
	DeadChannels []deadChannel
	Retried      string
	Held         []deliveryRow // neither sent nor dead, and not shown with a text above
}

// deliveryRow is a message whose text was never made or is not kept.
type deliveryRow struct {
	way
	About     string
	To, ToURL string
	CaseURL   string
}

func (s *Web) messageList(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	snap, err := s.fleet.get(ctx)
	if err != nil {
		return err
	}
	v := s.view(w, r, "messages")
	v.Title = v.T("nav.messages")
	p := messagesPage{view: v}
	if p.Rows, err = s.recentMessages(ctx, v, snap, messagesShown); err != nil {
		return err
	}
	sent, err := s.deps.Mail.RecentDeliveries(ctx, s.cfg.Tenant, 3*messagesShown)
	if err != nil {
		return err
	}
	at := map[string]int{}
	for i := range p.Rows {
		at[p.Rows[i].ID] = i
	}
	people := s.names(ctx)
	for _, d := range sent {
		ch := v.channel(d)
		if i, ok := at[d.OutboxID]; ok {
			w := v.way(&d, i)
			ch.Marks = w.Marks
			p.Rows[i].Channels = append(p.Rows[i].Channels, ch)
			continue
		}
		row := deliveryRow{To: people.name(d.PersonID), ToURL: personURL(s.cfg.Tenant, d.PersonID),
			CaseURL: "/cases/" + s.cfg.Tenant + "/" + d.CaseID}
		if ch.State == "dead" {
			continue // it is among those that were given up, unless it is tried again
		}
		row.way, row.About = v.way(&d, len(p.Held)), v.about(d.Topic)
		p.Held = append(p.Held, row)
	}
	if err := p.deadLetters(ctx, s, people); err != nil {
		return err
	}
	if n := retried(r.URL.Query()); n >= 0 {
		p.Retried = v.N("messages.dead.retried", n)
	}
	return s.render(w, r, http.StatusOK, "messages", p)
}
