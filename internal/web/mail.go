package web

import (
	"net/http"
)

const messagesShown = 100

type messagesPage struct {
	*view
	Rows []messageRow
	Dead []deliveryRow
	Held []deliveryRow // neither sent nor dead, and not shown with a text above
}

// deliveryRow is a message whose text was never made or is not kept.
type deliveryRow struct {
	channelState
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
			p.Rows[i].Channels = append(p.Rows[i].Channels, ch)
			if ch.State != "dead" {
				continue
			}
		}
		row := deliveryRow{channelState: ch, To: people.name(d.PersonID), ToURL: personURL(s.cfg.Tenant, d.PersonID),
			CaseURL: "/cases/" + s.cfg.Tenant + "/" + d.CaseID}
		if ch.State == "dead" {
			p.Dead = append(p.Dead, row)
		} else {
			p.Held = append(p.Held, row)
		}
	}
	return s.render(w, r, http.StatusOK, "messages", p)
}
