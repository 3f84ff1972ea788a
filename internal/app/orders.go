package app

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"aftercare/internal/bridge"
	"aftercare/internal/commands"
	"aftercare/internal/fleet"
	"aftercare/internal/gateway"
	"aftercare/internal/presence"
	"aftercare/internal/wire"
)

// orders is commands as the pages and the API see it.
type orders struct{ c *commands.Commands }

func (o orders) SendCommand(ctx context.Context, c fleet.Command) (fleet.Command, error) {
	now := time.Now()
	r := commands.Request{Device: c.Device, Name: c.Name, Args: c.Args, By: c.By, ID: c.ID}
	if !c.ExpiresAt.IsZero() {
		r.Expires = c.ExpiresAt.Sub(now).Round(time.Second)
	}
	return o.c.Send(ctx, r, now)
}

func (o orders) CancelCommand(ctx context.Context, tenant, id, by string) error {
	return o.c.Cancel(ctx, tenant, id, by, time.Now())
}

func (o orders) Command(ctx context.Context, tenant, id string) (fleet.Command, []fleet.CommandAudit, error) {
	return o.c.Get(ctx, tenant, id)
}

func (o orders) Commands(ctx context.Context, f fleet.CommandFilter) ([]fleet.Command, error) {
	return o.c.List(ctx, f)
}

// outward is the doors, as those see them who have something to say to a device. Either may be missing.
type outward struct {
	gateway  *gateway.Gateway
	bridge   *bridge.Bridge
	presence *presence.Tracker
}

// Send hands a command to the connection of the device or of its base station. A broker behind the bridge takes it for a device that is
// there, or when there is no other door: it does not say whether anybody listens.
func (o *outward) Send(d *fleet.Device, payload []byte, acked func()) bool {
	topic := wire.CommandTopic(d.Key.Tenant, d.Model, d.Key.Serial)
	if o.gateway != nil {
		if o.gateway.Publish(d.Key, topic, payload, acked) {
			return true
		}
		if d.Parent != "" && o.gateway.Publish(fleet.DeviceKey{Tenant: d.Key.Tenant, Serial: d.Parent}, topic, payload, acked) {
			return true
		}
	}
	if o.bridge == nil {
		return false
	}
	if o.gateway != nil {
		if link, ok := o.presence.State(d.Key); !ok || !link.Online {
			return false
		}
	}
	return o.bridge.Publish(topic, payload, acked)
}

// Publish sends a request for a new birth to a Sparkplug node, wherever it is. Nobody waits: it is asked again.
func (o *outward) Publish(identity fleet.DeviceKey, topic string, payload []byte) {
	if o.gateway != nil && o.gateway.Publish(identity, topic, payload, nil) {
		return
	}
	if o.bridge != nil {
		o.bridge.Publish(topic, payload, nil)
	}
}

// signs is who hears of signs of life: the tracker, and of arrivals the commands that wait.
type signs struct {
	t *presence.Tracker
	c *commands.Commands
}

func (s signs) Heard(d *fleet.Device, at time.Time) { s.t.Heard(d, at) }

func (s signs) Reported(d *fleet.Device, online bool, cause string, at time.Time) {
	s.t.Reported(d, online, cause, at)
	if online {
		s.c.Reported(d.Key)
	}
}

// subscribed tells commands that a device listens.
func (s *server) subscribed(identity fleet.DeviceKey, filter string) {
	device, ok := strings.CutSuffix(filter, "/command")
	if !ok {
		return
	}
	if t, err := wire.ParseTopic(device + "/" + fleet.Status.String()); err == nil && t.Tenant == identity.Tenant {
		s.commands.Arrived(t.Device())
	}
}

// answers is the changes stream as commands see it: what devices replied.
type answers struct {
	src wire.Source
	log *slog.Logger
}

func (a answers) Next(ctx context.Context) ([]fleet.DeviceReply, func(context.Context) error, error) {
	records, err := a.src.Fetch(ctx, 256)
	if err != nil {
		return nil, nil, err
	}
	var out []fleet.DeviceReply
	for _, r := range records {
		if r.Kind != wire.KindReply {
			continue
		}
		x, err := wire.DecodeReply(r)
		if err != nil {
			a.log.Error("an answer to a command cannot be read; it is passed over", "seq", r.Seq, "err", err)
			continue
		}
		out = append(out, fleet.DeviceReply{Device: x.Device, At: x.At, Reply: x.Reply})
	}
	last := records[len(records)-1].Seq
	return out, func(ctx context.Context) error { return a.src.Commit(ctx, last) }, nil
}
