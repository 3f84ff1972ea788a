package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"aftercare/internal/fleet"
)

// Message is a message as its reader got it.
type Message struct {
	ID       string     `json:"id"`
	CaseID   string     `json:"case_id"`
	Serial   string     `json:"serial"`
	Person   string     `json:"person"`
	Topic    string     `json:"topic" doc:"opened, escalated, cleared"`
	Severity string     `json:"severity"`
	Locale   string     `json:"locale"`
	Title    string     `json:"title"`
	Body     string     `json:"body" doc:"paragraphs with an empty line between"`
	At       time.Time  `json:"at"`
	ReadAt   *time.Time `json:"read_at,omitempty"`
}

type limitIn struct {
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type messagesOut struct {
	Body struct {
		Messages   []Message  `json:"messages" doc:"rendered messages, newest first"`
		Deliveries []Delivery `json:"deliveries" doc:"what became of messages on all channels, newest first"`
	}
}

type fleetOut struct {
	Body struct {
		Devices    int            `json:"devices"`
		Categories map[string]int `json:"categories" doc:"devices by category"`
		WorstCase  map[string]int `json:"worst_case" doc:"devices by the highest severity of their open cases"`
		Untroubled int            `json:"untroubled" doc:"devices without an open case"`
	}
}

func (a *api) more(h huma.API) {
	huma.Register(h, a.operation("list-messages", http.MethodGet, "/messages", "Messages to owners and what became of them"), a.messages)
	huma.Register(h, a.operation("get-fleet", http.MethodGet, "/fleet", "The fleet in numbers"), a.summary)
}

func (a *api) messages(ctx context.Context, in *limitIn) (*messagesOut, error) {
	ms, err := a.deps.Mail.RecentMessages(ctx, a.cfg.Tenant, in.Limit)
	if err != nil {
		return nil, a.failed("list-messages", err)
	}
	ds, err := a.deps.Mail.RecentDeliveries(ctx, a.cfg.Tenant, in.Limit)
	if err != nil {
		return nil, a.failed("list-messages", err)
	}
	out := &messagesOut{}
	out.Body.Messages, out.Body.Deliveries = make([]Message, 0, len(ms)), make([]Delivery, 0, len(ds))
	for _, m := range ms {
		out.Body.Messages = append(out.Body.Messages, Message{m.ID, m.CaseID, m.Device.Serial, m.PersonID, m.Topic, m.Severity.String(), m.Locale, m.Title, m.Body, m.At.UTC(), moment(m.ReadAt)})
	}
	for _, d := range ds {
		out.Body.Deliveries = append(out.Body.Deliveries, delivery(d))
	}
	return out, nil
}

func (a *api) summary(ctx context.Context, _ *struct{}) (*fleetOut, error) {
	counts, err := a.deps.Cases.CategoryCounts(ctx, a.cfg.Tenant)
	if err != nil {
		return nil, a.failed("get-fleet", err)
	}
	worst, err := a.deps.Cases.OpenCasesByDevice(ctx, a.cfg.Tenant)
	if err != nil {
		return nil, a.failed("get-fleet", err)
	}
	out := &fleetOut{}
	out.Body.Categories, out.Body.WorstCase = map[string]int{}, map[string]int{}
	for c, n := range counts {
		out.Body.Categories[c] = n
		out.Body.Devices += n
	}
	for s := fleet.Info; s <= fleet.Danger; s++ {
		out.Body.WorstCase[s.String()] = 0
	}
	for _, s := range worst {
		out.Body.WorstCase[s.String()]++
	}
	out.Body.Untroubled = max(0, out.Body.Devices-len(worst))
	return out, nil
}
