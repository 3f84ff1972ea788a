// Package commands asks devices to do something and keeps what becomes of it. A command is a row in SQL before anything is
// sent, so that it waits for a device that is away and outlives a restart; it is sent at least once, and the device
// recognises it by its id. What an event does to a command is decided by a pure function, Config.decide; the store commits
// the result or answers conflict, and it is decided again. configs/devices/README.md says what a device should do.
//
// Only app may import it. It imports fleet and obs.
package commands

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
)

// Store is what commands needs of SQL. Its methods are safe for concurrent use.
type Store interface {
	// Command returns one command, or CodeNotFound.
	Command(ctx context.Context, tenant, id string) (*fleet.Command, error)
	// CommitCommand writes all of the change or nothing, durably. CodeConflict when the command is not at the expected version
	// any more; CodeBusy for a new one of a device that has maxOpen open ones.
	CommitCommand(ctx context.Context, ch fleet.CommandChange, maxOpen int) error
	// DueCommands returns open commands that are due, the longest due first.
	DueCommands(ctx context.Context, now time.Time, limit int) ([]fleet.Command, error)
	// OpenCommands returns the open commands of devices, each device's oldest first.
	OpenCommands(ctx context.Context, tenant string, serials []string) ([]fleet.Command, error)
}

// Reads is what is shown of commands.
type Reads interface {
	Commands(ctx context.Context, f fleet.CommandFilter) ([]fleet.Command, error)
	CommandAudit(ctx context.Context, tenant, id string) ([]fleet.CommandAudit, error)
}

// Devices answers who is who.
type Devices interface {
	Device(key fleet.DeviceKey) (*fleet.Device, bool)
	Model(id string) (*fleet.Model, bool)
}

// Sender hands a command to the device's connection, or its station's. It must not block: false means that there is no
// connection, or its queue is full. acked is called at most once, from any goroutine, when the other side has acknowledged.
type Sender interface {
	Send(d *fleet.Device, payload []byte, acked func()) bool
}

// Source is where answers come from, in order for each device; one may come again.
type Source interface {
	// Next returns answers, waiting as long as ctx lasts; commit marks them as done.
	Next(ctx context.Context) (replies []fleet.DeviceReply, commit func(context.Context) error, err error)
}

// Deps is what Commands is built on.
type Deps struct {
	Store      Store
	Reads      Reads
	Devices    Devices
	Sender     Sender
	Wake       func() // nil, or called when there is something for the relay
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Commands sends commands and applies answers. All methods are safe for concurrent use; Run and RunReplies are for one
// goroutine each.
type Commands struct {
	cfg     Config
	d       Deps
	log     *slog.Logger
	metrics *metrics
	wake    chan struct{}

	mu      sync.Mutex
	arrived map[fleet.DeviceKey]bool // true: it subscribed just now; false: it said that it is there
	acked   []commandID
}

type commandID struct{ tenant, id string }

// New returns Commands that does nothing until it is called. The configuration must be valid.
func New(cfg Config, d Deps) *Commands {
	return &Commands{cfg: cfg, d: d, log: d.Log, metrics: newMetrics(d.Registerer), wake: make(chan struct{}, 1),
		arrived: map[fleet.DeviceKey]bool{}}
}

// MaxArgs is how many bytes of JSON a command's arguments may have.
const MaxArgs = 8 << 10

// Request is what somebody wants a device to do.
type Request struct {
	Device  fleet.DeviceKey
	Name    string          // one of those in the model's profile
	Args    json.RawMessage // a JSON object; empty: none
	Expires time.Duration   // from now; 0: the configured default
	By      string          // "agent:<name>", "owner:<id>", "cli"
	ID      string          // the caller's own, so that asking twice is asking once; empty: a new one
}

// Send keeps a command and has it sent as soon as the device is there. The same ID with the same content returns the command
// that is there. Errors: CodeInvalid (what is wrong is said), CodeNotFound (no such device), CodeDenied (it is revoked),
// CodeBusy (too many open commands), CodeConflict (the ID is another command's).
func (c *Commands) Send(ctx context.Context, r Request, now time.Time) (fleet.Command, error) {
	k, err := c.make(r, now)
	if err != nil {
		return fleet.Command{}, err
	}
	ch := c.change(fleet.Command{}, k, now, r.By, "")
	err = c.d.Store.CommitCommand(ctx, ch, c.cfg.MaxOpen)
	if fleet.CodeOf(err) == fleet.CodeConflict {
		old, lerr := c.d.Store.Command(ctx, k.Device.Tenant, k.ID)
		if lerr != nil {
			return fleet.Command{}, lerr
		}
		if old.Device != k.Device || old.Name != k.Name || !bytes.Equal(old.Args, k.Args) {
			return fleet.Command{}, fleet.Errorf(fleet.CodeConflict, "command id %q: it is that of %q for %s already", k.ID, old.Name, old.Device)
		}
		return *old, nil
	}
	if err != nil {
		return fleet.Command{}, err
	}
	c.committed(&ch)
	c.nudge()
	return ch.Command, nil
}

// make checks a request against the registry and the profile.
func (c *Commands) make(r Request, now time.Time) (fleet.Command, error) {
	d, ok := c.d.Devices.Device(r.Device)
	if !ok {
		return fleet.Command{}, fleet.Errorf(fleet.CodeNotFound, "there is no device %q", r.Device.Serial)
	}
	if d.Revoked {
		return fleet.Command{}, fleet.Errorf(fleet.CodeDenied, "device %q is revoked", r.Device.Serial)
	}
	var spec *fleet.CommandSpec
	m, ok := c.d.Devices.Model(d.Model)
	if ok {
		spec = m.Command(r.Name)
	}
	if spec == nil {
		return fleet.Command{}, fleet.Errorf(fleet.CodeInvalid, "command %.100q: %s", r.Name, known(d.Model, m))
	}
	args, err := object(r.Args)
	if err != nil {
		return fleet.Command{}, err
	}
	expires := r.Expires
	if expires == 0 {
		expires = c.cfg.Expires
	}
	if expires < time.Second || expires > MaxExpires {
		return fleet.Command{}, fleet.Errorf(fleet.CodeInvalid, "expires %v: want 1s to %v", expires, MaxExpires)
	}
	if r.By == "" || len(r.By) > 200 {
		return fleet.Command{}, fleet.Errorf(fleet.CodeInvalid, "by %.200q: say who asks, in at most 200 bytes", r.By)
	}
	if r.ID == "" {
		r.ID = fleet.ID("cmd", r.Device.Tenant, r.Device.Serial, rand.Text())
	} else if !fleet.ValidName(r.ID) {
		return fleet.Command{}, fleet.Errorf(fleet.CodeInvalid, "command id %.100q: want 1 to 64 letters, digits, '.', '_' and '-'", r.ID)
	}
	now = now.Truncate(time.Millisecond).UTC()
	return fleet.Command{ID: r.ID, Device: r.Device, Model: d.Model, Name: r.Name, Args: args, Disruptive: spec.Disruptive,
		State: fleet.CommandWaiting, CreatedAt: now, ExpiresAt: now.Add(expires), DueAt: now, By: r.By}, nil
}

func known(model string, m *fleet.Model) string {
	if m == nil || len(m.Commands) == 0 {
		return fmt.Sprintf("the profile of model %q lists no commands", model)
	}
	names := make([]string, len(m.Commands))
	for i := range m.Commands {
		names[i] = m.Commands[i].Name
	}
	return fmt.Sprintf("model %q understands %s", model, strings.Join(names, ", "))
}

func object(args json.RawMessage) (json.RawMessage, error) {
	if len(bytes.TrimSpace(args)) == 0 {
		return nil, nil
	}
	if len(args) > MaxArgs {
		return nil, fleet.Errorf(fleet.CodeInvalid, "args of %d bytes: at most %d", len(args), MaxArgs)
	}
	var o map[string]json.RawMessage
	if err := json.Unmarshal(args, &o); err != nil || o == nil {
		return nil, fleet.Errorf(fleet.CodeInvalid, "args %.100q: want a JSON object", args)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, args); err != nil {
		return nil, fleet.Errorf(fleet.CodeInvalid, "args: %w", err)
	}
	return b.Bytes(), nil
}

// Cancel ends a command that the device has not begun. One that was delivered may be carried out all the same; its answer is
// counted then and changes nothing. CodeConflict when it is over already or runs; CodeNotFound.
func (c *Commands) Cancel(ctx context.Context, tenant, id, by string, now time.Time) error {
	if by == "" {
		return fleet.Errorf(fleet.CodeInvalid, "cancel command %q: say who asks", id)
	}
	k, act, why, err := c.apply(ctx, commandID{tenant, id}, nil, event{kind: evCancel, at: now, by: by})
	if err == nil && act == actNothing {
		return fleet.Errorf(fleet.CodeConflict, "command %q is %s: %s", id, k.State, why)
	}
	return err
}

// Get returns a command with its history; CodeNotFound.
func (c *Commands) Get(ctx context.Context, tenant, id string) (fleet.Command, []fleet.CommandAudit, error) {
	k, err := c.d.Store.Command(ctx, tenant, id)
	if err != nil {
		return fleet.Command{}, nil, err
	}
	audit, err := c.d.Reads.CommandAudit(ctx, tenant, id)
	return *k, audit, err
}

// List returns the commands a filter selects, newest first.
func (c *Commands) List(ctx context.Context, f fleet.CommandFilter) ([]fleet.Command, error) {
	return c.d.Reads.Commands(ctx, f)
}
