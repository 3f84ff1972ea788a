package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"aftercare/internal/fleet"
)

// Command is something a device is asked to do.
type Command struct {
	ID         string          `json:"id"`
	Tenant     string          `json:"tenant"`
	Serial     string          `json:"serial"`
	Model      string          `json:"model"`
	Name       string          `json:"name"`
	Args       json.RawMessage `json:"args,omitempty"`
	Disruptive bool            `json:"disruptive" doc:"it interrupts what the owner is doing: the device may say not now, or refuse"`
	State      string          `json:"state" enum:"waiting,sent,delivered,running,not_now,done,failed,refused,expired,cancelled"`
	CreatedAt  time.Time       `json:"created_at"`
	ExpiresAt  time.Time       `json:"expires_at"`
	DueAt      *time.Time      `json:"due_at,omitempty" doc:"when it is sent again at the earliest"`
	SentAt     *time.Time      `json:"sent_at,omitempty"`
	AnsweredAt *time.Time      `json:"answered_at,omitempty"`
	Attempts   int             `json:"attempts"`
	By         string          `json:"by"`
	Reason     string          `json:"reason,omitempty"`
	Result     json.RawMessage `json:"result,omitempty" doc:"what the device answered"`
	Final      bool            `json:"final" doc:"nothing can follow"`
}

func command(c *fleet.Command) Command {
	return Command{ID: c.ID, Tenant: c.Device.Tenant, Serial: c.Device.Serial, Model: c.Model, Name: c.Name, Args: c.Args, Disruptive: c.Disruptive, State: string(c.State),
		CreatedAt: c.CreatedAt.UTC(), ExpiresAt: c.ExpiresAt.UTC(), DueAt: moment(c.DueAt), SentAt: moment(c.SentAt), AnsweredAt: moment(c.AnsweredAt), Attempts: c.Attempts,
		By: c.By, Reason: c.Reason, Result: c.Result, Final: c.State.Final()}
}

type sendIn struct {
	DeviceRef
	Body struct {
		Name     string                     `json:"name" minLength:"1" maxLength:"64" doc:"one of the model's commands"`
		Args     map[string]json.RawMessage `json:"args,omitempty" doc:"what the command needs"`
		ExpiresS int64                      `json:"expires_s,omitempty" minimum:"1" maximum:"2592000" doc:"seconds after which it is not done any more; default a day"`
		ID       string                     `json:"id,omitempty" maxLength:"64" doc:"your own id: sending it twice makes one command"`
	}
}

type commandOut struct {
	Body struct {
		Command
		Audit []Audit `json:"audit" doc:"oldest first"`
	}
}

type commandsIn struct {
	Device string `query:"device" maxLength:"64" doc:"serial"`
	Open   bool   `query:"open" doc:"only those that are not final"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type commandsOut struct {
	Body struct {
		Commands []Command `json:"commands" doc:"newest first"`
	}
}

// CommandRef names a command in a path.
type CommandRef struct {
	Tenant string `path:"tenant" maxLength:"64"`
	ID     string `path:"id" maxLength:"64"`
}

func (a *api) commands(h huma.API) {
	huma.Register(h, a.operation("send-command", http.MethodPost, "/devices/{tenant}/{serial}/commands", "Ask a device to do something; kept until it has answered or it has expired", 400, 404, 409), a.sendCommand)
	huma.Register(h, a.operation("list-commands", http.MethodGet, "/commands", "Commands, newest first"), a.listCommands)
	huma.Register(h, a.operation("get-command", http.MethodGet, "/commands/{tenant}/{id}", "One command and what happened to it", 404), a.getCommand)
	huma.Register(h, a.operation("cancel-command", http.MethodPost, "/commands/{tenant}/{id}/cancel", "Do not send a command any more", 404, 409), a.cancelCommand)
}

func (a *api) sendCommand(ctx context.Context, in *sendIn) (*commandOut, error) {
	if err := a.ours(in.Tenant); err != nil {
		return nil, a.failed("send-command", err)
	}
	c := fleet.Command{ID: in.Body.ID, Device: fleet.DeviceKey{Tenant: in.Tenant, Serial: in.Serial}, Name: in.Body.Name, By: actor}
	if in.Body.ExpiresS > 0 {
		c.ExpiresAt = a.now().Add(time.Duration(in.Body.ExpiresS) * time.Second)
	}
	if len(in.Body.Args) > 0 {
		text, err := json.Marshal(in.Body.Args)
		if err != nil {
			return nil, a.failed("send-command", fleet.Errorf(fleet.CodeInvalid, "args: %w", err))
		}
		c.Args = text
	}
	c, err := a.deps.Commander.SendCommand(ctx, c)
	if err != nil {
		return nil, a.failed("send-command", err)
	}
	return a.oneCommand(ctx, "send-command", CommandRef{c.Device.Tenant, c.ID})
}

func (a *api) listCommands(ctx context.Context, in *commandsIn) (*commandsOut, error) {
	cs, err := a.deps.Commander.Commands(ctx, fleet.CommandFilter{Tenant: a.cfg.Tenant, Device: in.Device, Open: in.Open, Limit: in.Limit})
	if err != nil {
		return nil, a.failed("list-commands", err)
	}
	out := &commandsOut{}
	out.Body.Commands = make([]Command, 0, len(cs))
	for i := range cs {
		out.Body.Commands = append(out.Body.Commands, command(&cs[i]))
	}
	return out, nil
}

func (a *api) getCommand(ctx context.Context, in *CommandRef) (*commandOut, error) {
	return a.oneCommand(ctx, "get-command", *in)
}

func (a *api) cancelCommand(ctx context.Context, in *CommandRef) (*commandOut, error) {
	err := a.ours(in.Tenant)
	if err == nil {
		err = a.deps.Commander.CancelCommand(ctx, in.Tenant, in.ID, actor)
	}
	if err != nil {
		return nil, a.failed("cancel-command", err)
	}
	return a.oneCommand(ctx, "cancel-command", *in)
}

func (a *api) oneCommand(ctx context.Context, op string, in CommandRef) (*commandOut, error) {
	if err := a.ours(in.Tenant); err != nil {
		return nil, a.failed(op, err)
	}
	c, audit, err := a.deps.Commander.Command(ctx, in.Tenant, in.ID)
	if err != nil {
		return nil, a.failed(op, err)
	}
	out := &commandOut{}
	out.Body.Command, out.Body.Audit = command(&c), make([]Audit, 0, len(audit))
	for _, x := range audit {
		out.Body.Audit = append(out.Body.Audit, Audit{x.At.UTC(), x.Actor, x.Action, x.Detail})
	}
	return out, nil
}
