package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"aftercare/internal/fleet"
)

// Activation is a set of rule packs that was put in force.
type Activation struct {
	N       int64      `json:"n" doc:"counts activations"`
	Set     string     `json:"set" doc:"hash of the rules"`
	Changed bool       `json:"changed" doc:"false: these packs were in force already"`
	At      *time.Time `json:"at,omitempty"`
}

type activateIn struct {
	Body struct {
		Packs map[string]string `json:"packs,omitempty" doc:"rule packs, content by file name; absent: those of the server's folder (rules.dir)"`
	}
}

type activateOut struct{ Body Activation }

type pastIn struct {
	DeviceRef
	From time.Time `query:"from" doc:"RFC 3339; default: seven days before to"`
	To   time.Time `query:"to" doc:"RFC 3339; default: now"`
}

// PastReading is one reading with its class and, where the device counts, its number.
type PastReading struct {
	At     time.Time      `json:"at" doc:"the device's clock"`
	Class  string         `json:"class" enum:"telemetry,event,presence"`
	Boot   *int64         `json:"boot,omitempty"`
	Seq    *int64         `json:"seq,omitempty"`
	Fields map[string]any `json:"fields"`
}

// DevicePast is what rules went by.
type DevicePast struct {
	Rules    string        `json:"rules" doc:"hash of the rules in force"`
	Facts    fleet.Facts   `json:"facts" doc:"as they are now"`
	Readings []PastReading `json:"readings" doc:"oldest first"`
	Cut      bool          `json:"cut" doc:"there are older ones in that time"`
}

type pastOut struct{ Body DevicePast }

// maxPast is how many readings are answered at once.
const maxPast = 50000

func (a *api) past(ctx context.Context, in *pastIn) (*pastOut, error) {
	d, err := a.find(ctx, in.DeviceRef)
	if err != nil {
		return nil, a.failed("get-past", err)
	}
	to, from := in.To, in.From
	if to.IsZero() {
		to = a.now()
	}
	if from.IsZero() {
		from = to.Add(-7 * 24 * time.Hour)
	}
	if !from.Before(to) {
		return nil, huma.Error400BadRequest("want from before to")
	}
	out := &pastOut{DevicePast{Rules: a.deps.Past.RulesInForce()}}
	if out.Body.Facts, err = a.deps.Past.Facts(ctx, d.Key); err != nil {
		return nil, a.failed("get-past", err)
	}
	rs, cut, err := a.deps.Past.Readings(ctx, d.Key, d.Model, from, to, maxPast)
	if err != nil {
		return nil, a.failed("get-past", err)
	}
	out.Body.Readings, out.Body.Cut = make([]PastReading, 0, len(rs)), cut
	for i := range rs {
		r := &rs[i]
		p := PastReading{At: r.Time.UTC(), Class: r.Class.String(), Fields: a.fields(d.Model, r.Fields)}
		if r.HasSeq {
			p.Boot, p.Seq = &r.Boot, &r.Seq
		}
		out.Body.Readings = append(out.Body.Readings, p)
	}
	return out, nil
}

// maxPacks is the largest set of rule packs that is read.
const maxPacks = 8 << 20

func (a *api) rules(h huma.API) {
	huma.Register(h, a.operation("get-past", http.MethodGet, "/devices/{tenant}/{serial}/past", "What rules went by: a device's facts and readings", 400, 404), a.past)
	op := a.operation("activate-rules", http.MethodPost, "/rules/activate", "Put rule packs in force without a restart; with a mistake in them nothing changes", 400, 409)
	op.MaxBodyBytes = maxPacks
	huma.Register(h, op, a.activateRules)
}

func (a *api) activateRules(ctx context.Context, in *activateIn) (*activateOut, error) {
	if in.Body.Packs != nil && len(in.Body.Packs) == 0 {
		return nil, huma.Error400BadRequest("packs: there is none in it")
	}
	act, changed, problems, err := a.deps.Rules.ActivateRules(ctx, in.Body.Packs)
	if err != nil {
		return nil, a.failed("activate-rules", err)
	}
	if len(problems) > 0 {
		details := make([]error, 0, len(problems))
		for _, p := range problems {
			where := p.File
			if p.Line > 0 {
				where = fmt.Sprintf("%s:%d", p.File, p.Line)
			}
			p.File, p.Line = "", 0
			details = append(details, &huma.ErrorDetail{Location: where, Message: p.String()})
		}
		return nil, huma.Error400BadRequest(fmt.Sprintf("The rules in force stay: %d mistakes in the new ones", len(problems)), details...)
	}
	return &activateOut{Activation{N: act.N, Set: act.Set, Changed: changed, At: moment(act.At)}}, nil
}
