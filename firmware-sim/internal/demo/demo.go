// Package demo plays a fleet of devices over MQTT: each connects as itself, uploads what it has stored while it was
// offline (a fortnight at first, the gap after that) and then reports live, with faults that come and go.
//
// It is not a load generator (package mqttload is) and knows nothing of the server but its topics. Only firmware-sim
// imports it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/fleetfile"
	"aftercare/firmware-sim/internal/plan"
	"aftercare/firmware-sim/internal/signal"
)

// Config says what to play.
type Config struct {
	Broker   string        // "tcp://host:port"
	StateDir string        // what the devices remember
	Interval time.Duration // between two live reports of a device
	Pace     float64       // how fast live faults follow one another; 1 as planned
	Seed     uint64
	Out      io.Writer // progress lines
}

// run is one start of the simulator.
type run struct {
	cfg   Config
	fleet *fleetfile.Fleet
	state stateDir
	plan  *plan.Plan
	start int64
	counters

	mu   sync.Mutex
	last time.Time // of the newest line about trouble
}

// Run plays the fleet until ctx ends, which is no error. It returns an error when the fleet names a model that is not
// simulated or the state cannot be kept; a server that is away is waited for.
func Run(ctx context.Context, cfg Config, fleet *fleetfile.Fleet) error {
	r := &run{cfg: cfg, fleet: fleet}
	var err error
	if r.state, err = openState(cfg.StateDir); err != nil {
		return err
	}
	first, err := r.state.run(time.Now())
	if err != nil {
		return err
	}
	r.start = first.Start
	file, err := plan.Shipped()
	if err != nil {
		return err
	}
	var members []plan.Member
	for _, d := range fleet.Devices {
		members = append(members, plan.Member{Serial: d.Serial, Model: d.Model})
	}
	r.plan = plan.New(file, cfg.Seed, members, time.Unix(r.start, 0))
	var speakers []*speaker
	for _, d := range fleet.Speakers() {
		s, err := r.speaker(d)
		if err != nil {
			return err
		}
		speakers = append(speakers, s)
	}
	return r.play(ctx, speakers)
}

// play runs all connections; the first that cannot go on stops the rest.
func (r *run) play(ctx context.Context, speakers []*speaker) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var ready, done sync.WaitGroup
	for _, s := range speakers {
		ready.Add(1)
		s.ready = sync.OnceFunc(ready.Done)
		done.Go(func() {
			if err := s.Run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	live := make(chan struct{})
	go func() { ready.Wait(); close(live) }()
	done.Go(func() { r.report(ctx, live) })
	done.Wait()
	for _, s := range speakers { // lets the waiter above end
		if s.ready != nil {
			s.ready()
		}
	}
	<-live
	if broken := (*stateError)(nil); errors.As(context.Cause(ctx), &broken) {
		return broken
	}
	fmt.Fprintf(r.cfg.Out, "Devices are off: %d readings acknowledged, %d live reports.\n", r.stored.Load(), r.reports.Load())
	return nil
}

// speaker builds a connection with its devices and counts their start.
func (r *run) speaker(d fleetfile.Device) (*speaker, error) {
	s := &speaker{run: r, device: d, orders: orders{done: map[string]answer{}, asked: map[string]int{}}}
	for _, one := range append([]fleetfile.Device{d}, r.fleet.Children(d.Serial)...) {
		dev, err := device.New(one.Model, one.Serial, r.cfg.Seed)
		if err != nil {
			return nil, err
		}
		st, err := r.state.boot(one.Serial)
		if err != nil {
			return nil, err
		}
		u := &unit{dev: dev, firmware: one.Firmware, plan: r.plan, sent: st, acked: st}
		u.phase = int64(signal.NewSeed(r.cfg.Seed, one.Serial).U(901, 0) * float64(step))
		u.topics.telemetry, u.topics.event = r.fleet.Topic(one, "telemetry"), r.fleet.Topic(one, "event")
		u.topics.status = r.fleet.Topic(one, "status")
		u.nextAt = time.Now().Add(rand.N(r.cfg.Interval))
		s.units = append(s.units, u)
	}
	return s, nil
}

// patience is how long the live faults wait for devices that have not caught up.
const patience = 90 * time.Second

// report prints a line of progress each few seconds and starts the live faults.
func (r *run) report(ctx context.Context, live <-chan struct{}) {
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	late := time.After(patience)
	began := time.Now()
	fmt.Fprintf(r.cfg.Out, "%d devices connect to %s.\n", len(r.fleet.Devices), r.cfg.Broker)
	goLive := func() {
		r.plan.GoLive(time.Now(), r.cfg.Pace)
		fmt.Fprintf(r.cfg.Out, "All caught up after %s: %d readings acknowledged. Live from now on.\n",
			time.Since(began).Round(100*time.Millisecond), r.stored.Load())
		live, late = nil, nil
		tick.Reset(15 * time.Second)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-live:
			goLive()
		case <-late:
			goLive()
		case <-tick.C:
			if live != nil {
				fmt.Fprintf(r.cfg.Out, "Uploading the past: %d readings acknowledged, %d devices connected.\n", r.stored.Load(), r.connected.Load())
			} else {
				fmt.Fprintf(r.cfg.Out, "Live: %d connections, %d reports, %d faults going on.\n",
					r.connected.Load(), r.reports.Load(), r.plan.Active(time.Now()))
			}
		}
	}
}

// trouble mentions a failed connection, at most one line in five seconds for the whole fleet.
func (r *run) trouble(serial string, err error) {
	r.failures.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || time.Since(r.last) < 5*time.Second {
		return
	}
	r.last = time.Now()
	fmt.Fprintf(r.cfg.Out, "%s waits for the server and tries again: %v\n", serial, err)
}
