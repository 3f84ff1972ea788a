package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
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

// maxPacks is the largest set of rule packs that is read.
const maxPacks = 8 << 20

func (a *api) rules(h huma.API) {
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
