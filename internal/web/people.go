package web

import (
	"net/http"
	"net/url"
	"slices"
	"sort"

	"aftercare/internal/chart"
	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

type personPage struct {
	*view
	Name     string
	Things   []deviceRow
	Messages []messageRow
	Worst    string // one sentence on how things are
}

const inboxShown = 50

// person is an owner's page: in the person's language, zone and units, whatever the desk's are.
func (s *Web) person(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if err := s.ours(r.PathValue("tenant")); err != nil {
		return err
	}
	who, err := s.deps.Devices.Person(ctx, s.cfg.Tenant, r.PathValue("id"))
	if err != nil {
		return err
	}
	snap, err := s.fleet.get(ctx)
	if err != nil {
		return err
	}
	v := s.view(w, r, "")
	v.Bare, v.LiveURL = true, "/live?person="+url.QueryEscape(who.ID)
	if !r.URL.Query().Has("lang") {
		v.L = localeLang(who.Locale)
	}
	v.Loc = words.For(who.Locale, who.Zone, "")
	if v.Loc.Lang != string(v.L) { // another language was asked for: the zone stays the person's
		v.Loc = words.For(string(v.L), who.Zone, "")
	}
	if who.Zone == "" {
		v.Loc.Zone = s.zone
	}
	v.Title = v.T("person.title")
	p := personPage{view: v, Name: who.Name}
	people := s.names(ctx)
	need := 0
	for i := range snap.devices {
		if d := &snap.devices[i]; d.OwnerID == who.ID {
			row := s.deviceRow(v, snap, people, d)
			p.Things = append(p.Things, row)
			if row.State != chart.Good && row.State != chart.Silent {
				need++
			}
		}
	}
	sort.SliceStable(p.Things, func(i, j int) bool {
		return slices.Index(stateOrder, p.Things[i].State) < slices.Index(stateOrder, p.Things[j].State)
	})
	p.Worst = v.N("person.need", need)
	if need == 0 {
		p.Worst = v.T("person.well")
	}
	inbox, err := s.deps.Mail.Inbox(ctx, s.cfg.Tenant, who.ID, inboxShown)
	if err != nil {
		return err
	}
	for _, m := range inbox {
		if m.Channel == "" || m.Channel == inboxChannel {
			p.Messages = append(p.Messages, s.messageRow(v, snap, people, m))
		}
	}
	return s.render(w, r, http.StatusOK, "person", p)
}

const inboxChannel = "inbox"

// Plain is the message's severity for an owner: only what is worth a word.
func (m messageRow) Plain() string {
	if m.State == chart.Good || m.State == severityState(fleet.Info) {
		return ""
	}
	return m.Word(m.State)
}
