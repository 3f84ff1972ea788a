package web

import (
	"net/http"
	"time"

	"aftercare/internal/fleet"
)

// commandBox is what the device can be asked to do, and what it was asked.
type commandBox struct {
	Action string // where the forms go
	Offers []commandOffer
	Rows   []commandRow
}

type commandOffer struct {
	Name, Label string
	Disruptive  bool
}

type commandRow struct {
	ID, Label, State, Reason, By string
	Open                         bool
	At                           time.Time // of the last that is known about it
}

const commandsShown = 5

func (p *devicePage) commands(s *Web, r *http.Request) error {
	m, ok := s.deps.Models.Model(p.Device.Model)
	if !ok {
		return nil
	}
	p.Commands.Action = deviceURL(p.Device.Key) + "/commands"
	if !p.Device.Revoked {
		for i := range m.Commands {
			c := &m.Commands[i]
			p.Commands.Offers = append(p.Commands.Offers, commandOffer{c.Name, p.commandLabel(m, c.Name), c.Disruptive})
		}
	}
	cs, err := s.deps.Commander.Commands(r.Context(), fleet.CommandFilter{Tenant: p.Device.Key.Tenant, Device: p.Device.Key.Serial, Limit: commandsShown})
	if err != nil {
		return err
	}
	for i := range cs {
		c := &cs[i]
		row := commandRow{ID: c.ID, Label: p.commandLabel(m, c.Name), State: p.orHuman("command.", string(c.State)), Reason: c.Reason, By: p.actor(c.By, s.names(r.Context())),
			Open: !c.State.Final(), At: c.CreatedAt}
		for _, t := range []time.Time{c.SentAt, c.AnsweredAt} {
			if t.After(row.At) {
				row.At = t
			}
		}
		p.Commands.Rows = append(p.Commands.Rows, row)
	}
	return nil
}

func (v *view) commandLabel(m *fleet.Model, name string) string {
	if c := m.Command(name); c != nil && c.Label.In(v.Loc.Lang) != "" {
		return upperFirst(c.Label.In(v.Loc.Lang))
	}
	return upperFirst(humanise(name))
}

// sendCommand asks the device for something and sends the browser back to it.
func (s *Web) sendCommand(w http.ResponseWriter, r *http.Request) error {
	if err := s.ours(r.PathValue("tenant")); err != nil {
		return err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return fleet.Errorf(fleet.CodeInvalid, "read the form: %w", err)
	}
	key := fleet.DeviceKey{Tenant: r.PathValue("tenant"), Serial: r.PathValue("serial")}
	if _, err := s.deps.Commander.SendCommand(r.Context(), fleet.Command{Device: key, Name: r.PostForm.Get("name"), By: "agent:" + deskActor}); err != nil {
		return err
	}
	http.Redirect(w, r, deviceURL(key)+"#r-commands", http.StatusSeeOther)
	return nil
}
