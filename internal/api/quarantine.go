package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"aftercare/internal/fleet"
)

// Quarantined is a report that was put aside.
type Quarantined struct {
	Seq      uint64    `json:"seq" doc:"its number; the highest is the newest"`
	At       time.Time `json:"at"`
	Serial   string    `json:"serial"`
	Model    string    `json:"model"`
	Firmware string    `json:"firmware,omitempty"`
	Topic    string    `json:"topic"`
	Reason   string    `json:"reason" doc:"machine code, also the counter's label"`
	Detail   string    `json:"detail,omitempty"`
	Payload  []byte    `json:"payload" doc:"as it came, base 64"`
}

// Refusal is a message that was neither kept nor put aside.
type Refusal struct {
	At     time.Time `json:"at"`
	Door   string    `json:"door"`
	Source string    `json:"source,omitempty"`
	Topic  string    `json:"topic,omitempty"`
	Reason string    `json:"reason"`
}

// Quality is how good the reports of one model and firmware were, in one respect, on one day.
type Quality struct {
	Model    string    `json:"model"`
	Firmware string    `json:"firmware,omitempty" doc:"empty: the devices never said"`
	Day      string    `json:"day" doc:"UTC, 2006-01-02"`
	Reason   string    `json:"reason,omitempty" doc:"empty: all reports that arrived"`
	Field    string    `json:"field,omitempty"`
	N        int64     `json:"n"`
	Example  string    `json:"example,omitempty" doc:"the newest"`
	LastAt   time.Time `json:"last_at"`
}

type quarantineIn struct {
	Model    string    `query:"model" maxLength:"64"`
	Serial   string    `query:"serial" maxLength:"64"`
	Firmware string    `query:"firmware" maxLength:"64"`
	Reason   string    `query:"reason" maxLength:"64"`
	Since    time.Time `query:"since" doc:"RFC 3339; default: everything that is kept, which is 7 days"`
	Before   uint64    `query:"before" doc:"seq of the last one of the page before"`
	Limit    int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type quarantineOut struct {
	Body struct {
		Quarantined []Quarantined     `json:"quarantined" doc:"newest first"`
		Refused     map[string]uint64 `json:"refused" doc:"by reason, since the server started"`
		Refusals    []Refusal         `json:"refusals" doc:"the latest, newest first"`
	}
}

type reingestIn struct {
	Body struct {
		Model    string    `json:"model,omitempty" maxLength:"64"`
		Serial   string    `json:"serial,omitempty" maxLength:"64"`
		Firmware string    `json:"firmware,omitempty" maxLength:"64"`
		Reason   string    `json:"reason,omitempty" maxLength:"64"`
		Since    time.Time `json:"since,omitzero"`
	}
}

type reingestOut struct {
	Body struct {
		Tried     int `json:"tried"`
		Stored    int `json:"stored" doc:"now stored, and no longer in quarantine"`
		StillBad  int `json:"still_bad" doc:"left where they are"`
		Remaining int `json:"remaining" doc:"match and were not tried: ask again"`
	}
}

type qualityIn struct {
	Model string `query:"model" maxLength:"64"`
	Days  int    `query:"days" minimum:"1" maximum:"90" default:"7"`
}

type qualityOut struct {
	Body struct {
		Quality []Quality `json:"quality" doc:"by model, firmware, day, reason and field"`
	}
}

func (a *api) quarantine(h huma.API) {
	huma.Register(h, a.operation("get-quarantine", http.MethodGet, "/quarantine", "What did not get in"), a.getQuarantine)
	huma.Register(h, a.operation("reingest-quarantine", http.MethodPost, "/quarantine/reingest", "Try again what was put aside, after a profile or a decoder was mended", 400), a.reingest)
	huma.Register(h, a.operation("get-quality", http.MethodGet, "/quality", "How good the reports are, per model and firmware"), a.quality)
}

func (a *api) getQuarantine(ctx context.Context, in *quarantineIn) (*quarantineOut, error) {
	qs, err := a.deps.Doors.Quarantined(ctx, fleet.QuarantineFilter{Tenant: a.cfg.Tenant, Model: in.Model, Serial: in.Serial, Firmware: in.Firmware, Reason: in.Reason,
		Since: in.Since, Before: in.Before, Limit: in.Limit})
	if err != nil {
		return nil, a.failed("get-quarantine", err)
	}
	recent, by := a.deps.Doors.Refusals()
	out := &quarantineOut{}
	out.Body.Quarantined, out.Body.Refusals, out.Body.Refused = make([]Quarantined, 0, len(qs)), make([]Refusal, 0, len(recent)), map[string]uint64{}
	for _, q := range qs {
		out.Body.Quarantined = append(out.Body.Quarantined, Quarantined{q.Seq, q.At.UTC(), q.Device.Serial, q.Model, q.Firmware, q.Topic, q.Reason, q.Detail, q.Payload})
	}
	for _, r := range recent[:min(len(recent), in.Limit)] {
		out.Body.Refusals = append(out.Body.Refusals, Refusal{r.At.UTC(), r.Door, r.Source, r.Topic, r.Reason})
	}
	for reason, n := range by {
		out.Body.Refused[reason] = n
	}
	return out, nil
}

func (a *api) reingest(ctx context.Context, in *reingestIn) (*reingestOut, error) {
	b := &in.Body
	r, err := a.deps.Mender.Reingest(ctx, fleet.QuarantineFilter{Tenant: a.cfg.Tenant, Model: b.Model, Serial: b.Serial, Firmware: b.Firmware, Reason: b.Reason, Since: b.Since})
	if err != nil {
		return nil, a.failed("reingest-quarantine", err)
	}
	out := &reingestOut{}
	out.Body.Tried, out.Body.Stored, out.Body.StillBad, out.Body.Remaining = r.Tried, r.Stored, r.StillBad, r.Remaining
	return out, nil
}

func (a *api) quality(ctx context.Context, in *qualityIn) (*qualityOut, error) {
	since := a.now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-in.Days)
	rows, err := a.deps.Mender.Quality(ctx, a.cfg.Tenant, in.Model, since)
	if err != nil {
		return nil, a.failed("get-quality", err)
	}
	out := &qualityOut{}
	out.Body.Quality = make([]Quality, 0, len(rows))
	for _, q := range rows {
		out.Body.Quality = append(out.Body.Quality, Quality{q.Model, q.Firmware, q.Day.UTC().Format(time.DateOnly), q.Reason, q.Field, q.N, q.Example, q.LastAt.UTC()})
	}
	return out, nil
}
