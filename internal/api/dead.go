package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"aftercare/internal/fleet"
)

// Dead is what was given up, and how it is tried again.
type Dead interface {
	// DeadLetterList returns what was given up, the latest first.
	DeadLetterList(ctx context.Context, tenant string, limit int) ([]fleet.DeadLetter, error)
	// RetryDead makes one due at the given time, under its id. CodeNotFound, and CodeConflict when it is not given up.
	RetryDead(ctx context.Context, tenant, id string, at time.Time) error
}

// DeadLetter is a message, work order or record that could not be delivered.
type DeadLetter struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind" doc:"message, notify, order, record, timer"`
	Topic    string    `json:"topic"`
	CaseID   string    `json:"case_id,omitempty"`
	Ref      string    `json:"ref,omitempty" doc:"the incident or work order it is about"`
	Person   string    `json:"person,omitempty"`
	Channel  string    `json:"channel,omitempty"`
	Endpoint string    `json:"endpoint,omitempty" doc:"which of the person's on that channel, without its secret"`
	Reason   string    `json:"reason"`
	Attempts int       `json:"attempts"`
	At       time.Time `json:"at" doc:"when it was given up"`
}

type deadOut struct {
	Body struct {
		DeadLetters []DeadLetter `json:"dead_letters" doc:"the latest first"`
	}
}

type deadRef struct {
	ID string `path:"id" maxLength:"64"`
}

type retryOut struct {
	Body struct {
		ID    string    `json:"id"`
		DueAt time.Time `json:"due_at"`
	}
}

func (a *api) dead(h huma.API) {
	huma.Register(h, a.operation("list-dead-letters", http.MethodGet, "/dead-letters", "What was given up, the latest first"), a.listDead)
	huma.Register(h, a.operation("retry-dead-letter", http.MethodPost, "/dead-letters/{id}/retry",
		"Try one again from the beginning, under the same idempotency key", 404, 409), a.retryDead)
}

func (a *api) listDead(ctx context.Context, in *limitIn) (*deadOut, error) {
	list, err := a.deps.Dead.DeadLetterList(ctx, a.cfg.Tenant, in.Limit)
	if err != nil {
		return nil, a.failed("list-dead-letters", err)
	}
	out := &deadOut{}
	out.Body.DeadLetters = make([]DeadLetter, len(list))
	for i, d := range list {
		out.Body.DeadLetters[i] = DeadLetter{ID: d.Row.ID, Kind: string(d.Row.Kind), Topic: d.Row.Topic, CaseID: d.Row.CaseID, Ref: d.Row.Ref, Person: d.Row.PersonID,
			Channel: d.Row.Channel, Endpoint: d.Endpoint, Reason: d.Reason, Attempts: d.Row.Attempts, At: d.At.UTC()}
	}
	return out, nil
}

func (a *api) retryDead(ctx context.Context, in *deadRef) (*retryOut, error) {
	out := &retryOut{}
	out.Body.ID, out.Body.DueAt = in.ID, a.now().UTC()
	if err := a.deps.Dead.RetryDead(ctx, a.cfg.Tenant, in.ID, out.Body.DueAt); err != nil {
		return nil, a.failed("retry-dead-letter", err)
	}
	return out, nil
}
