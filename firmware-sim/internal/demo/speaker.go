package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"aftercare/firmware-sim/internal/fleetfile"
)

// window is how many publishes of one connection may wait for their acknowledgement.
const window = 3

// speaker is one connection: a device, or a base station with the tools it reports for.
type speaker struct {
	run     *run
	device  fleetfile.Device
	units   []*unit
	waiting []packet // sent or about to be sent, not yet acknowledged, oldest first
	tokens  []mqtt.Token
	told    bool // whether it has said that it is there since it connected
	ready   func()
	orders  orders
}

// Run keeps the connection up until ctx ends: whatever breaks, it connects again and goes on where it was
// acknowledged.
func (s *speaker) Run(ctx context.Context) error {
	pause := 200 * time.Millisecond
	for {
		began := time.Now()
		err := s.session(ctx)
		if fatal := (*stateError)(nil); errors.As(err, &fatal) {
			return err
		}
		if ctx.Err() == nil {
			s.run.trouble(s.device.Serial, err)
		}
		if time.Since(began) > 10*time.Second {
			pause = 200 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause + rand.N(pause)):
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// stateError says that the simulator cannot keep its own state; going on would repeat readings.
type stateError struct{ err error }

func (e *stateError) Error() string { return e.err.Error() }
func (e *stateError) Unwrap() error { return e.err }

// session is one connection from CONNECT to its end.
func (s *speaker) session(ctx context.Context) error {
	// conn ends with the connection, whoever ends it; its cause says why.
	conn, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	client := mqtt.NewClient(s.options(lost))
	token := client.Connect()
	select {
	case <-ctx.Done():
		client.Disconnect(0)
		return nil
	case <-token.Done():
	}
	if err := token.Error(); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	s.run.connected.Add(1)
	defer s.run.connected.Add(-1)
	defer client.Disconnect(100)
	s.told, s.tokens = false, s.tokens[:0]
	if err := s.listen(conn, client); err != nil {
		return fmt.Errorf("subscribe to commands: %w", err)
	}
	err := s.send(conn, client) // what is waiting, the same bytes again: the server recognises them
	if err == nil && conn.Err() == nil {
		err = s.talk(conn, client)
	}
	switch {
	case ctx.Err() == nil && conn.Err() != nil:
		return fmt.Errorf("connection lost: %w", context.Cause(conn))
	case ctx.Err() != nil && client.IsConnectionOpen():
		return errors.Join(err, s.farewell(client))
	default:
		return err
	}
}

func (s *speaker) options(lost context.CancelCauseFunc) *mqtt.ClientOptions {
	f := s.run.fleet
	o := mqtt.NewClientOptions().AddBroker(s.run.cfg.Broker).
		SetClientID(f.Username(s.device)).SetUsername(f.Username(s.device)).SetPassword(string(s.device.Secret)).
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(false).
		SetConnectTimeout(10*time.Second).SetKeepAlive(60*time.Second).SetPingTimeout(30*time.Second).
		SetWriteTimeout(60*time.Second).
		SetWill(f.Topic(s.device, "status"), `{"online":false,"reason":"will"}`, 1, false)
	o.OnConnectionLost = func(_ mqtt.Client, err error) { lost(err) }
	return o
}

// talk uploads what the devices have stored, then reports as it happens.
func (s *speaker) talk(ctx context.Context, client mqtt.Client) error {
	for {
		if err := s.catchUp(ctx, client); err != nil || ctx.Err() != nil {
			return err
		}
		if !s.told {
			for _, u := range s.units {
				if err := s.send(ctx, client, u.status(time.Now(), true, "boot")); err != nil {
					return err
				}
			}
			s.told = true
		}
		if s.ready != nil {
			if err := s.drain(ctx, 0); err != nil || ctx.Err() != nil {
				return err
			}
			s.ready()
			s.ready = nil
		}
		if err := s.live(ctx, client); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// catchUp sends every reading that is owed. Several rounds, because time goes on meanwhile.
func (s *speaker) catchUp(ctx context.Context, client mqtt.Client) error {
	for _, u := range s.units {
		first, n := u.owed(s.run.start, time.Now().Unix())
		if n == 0 {
			continue
		}
		s.run.owed.Add(n)
		for i := range n {
			if err := s.send(ctx, client, u.pack(first+i*step)...); err != nil || ctx.Err() != nil {
				return err
			}
		}
		if err := s.send(ctx, client, u.flush()...); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// live reports each device's readings at its pace until ctx or the connection ends, or a device owes stored readings
// because it could not report for a while.
func (s *speaker) live(ctx context.Context, client mqtt.Client) error {
	for {
		u := s.units[0]
		for _, other := range s.units[1:] {
			if other.nextAt.Before(u.nextAt) {
				u = other
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(u.nextAt)):
		}
		now := time.Now()
		if !client.IsConnectionOpen() {
			return errors.New("connection is closed")
		}
		if now.Unix()-u.sent.Done > 2*step {
			return nil
		}
		if now.Unix() > u.sent.Done {
			if err := s.send(ctx, client, append(u.pack(now.Unix()), u.flush()...)...); err != nil || ctx.Err() != nil {
				return err
			}
			if err := s.drain(ctx, 0); err != nil || ctx.Err() != nil {
				return err
			}
			s.run.reports.Add(1)
		}
		u.nextAt = now.Add(time.Duration(float64(s.run.cfg.Interval) * (0.8 + 0.4*rand.Float64())))
	}
}

// send publishes packets in order, each once there is room in the window. From the first line on they are in waiting, and
// are sent until they are acknowledged, over as many connections as that takes.
func (s *speaker) send(ctx context.Context, client mqtt.Client, packets ...packet) error {
	s.waiting = append(s.waiting, packets...)
	for len(s.tokens) < len(s.waiting) {
		if err := s.drain(ctx, window); err != nil || ctx.Err() != nil {
			return err
		}
		token, err := publish(ctx, client, s.waiting[len(s.tokens)])
		if err != nil {
			return err
		}
		s.tokens = append(s.tokens, token)
	}
	return nil
}

// publish hands a packet to the client. That blocks while the server does not read, and the client notices neither ctx nor
// a connection that was lost meanwhile: it then gives up after its write timeout, with nobody waiting for it.
func publish(ctx context.Context, client mqtt.Client, p packet) (mqtt.Token, error) {
	taken := make(chan mqtt.Token, 1)
	go func() { taken <- client.Publish(p.topic, 1, false, p.payload) }()
	select {
	case t := <-taken:
		return t, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

var errTimeout = errors.New("no acknowledgement within 2 minutes")

// drain waits until fewer than max(limit, 1) publishes wait for their acknowledgement. The tokens are those of the first
// packets in waiting.
func (s *speaker) drain(ctx context.Context, limit int) error {
	for len(s.tokens) > 0 && len(s.tokens) >= max(limit, 1) {
		t := s.tokens[0]
		select {
		case <-ctx.Done():
			return nil
		case <-t.Done():
		case <-time.After(2 * time.Minute):
			return errTimeout
		}
		if err := t.Error(); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		p := s.waiting[0]
		s.tokens, s.waiting = s.tokens[1:], s.waiting[1:]
		p.unit.acked = p.after
		if err := s.run.state.save(p.unit.dev.Serial, p.after); err != nil {
			return &stateError{err}
		}
		s.run.stored.Add(int64(p.readings))
	}
	return nil
}

// goodbye is how long a device that is switched off waits for its last acknowledgements.
const goodbye = 700 * time.Millisecond

// farewell says that the devices go off in good order, and keeps what is still acknowledged, as far as that is quick.
func (s *speaker) farewell(client mqtt.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	if len(s.waiting) > len(s.tokens) {
		return s.drain(ctx, 0) // something older would have to go first, and there is no time for it
	}
	for _, u := range s.units {
		p := u.status(time.Now(), false, "stopped")
		token, err := publish(ctx, client, p)
		if err != nil {
			return err
		}
		s.waiting, s.tokens = append(s.waiting, p), append(s.tokens, token)
	}
	return s.drain(ctx, 0)
}

// counters are what the progress line shows.
type counters struct {
	connected, owed, stored, reports, failures atomic.Int64
}
