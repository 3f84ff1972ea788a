package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// errRefused says that the broker does not let us in: trying again soon changes nothing and gets us banned.
var errRefused = errors.New("the broker refuses bridge.username, bridge.password or the client certificate")

// connection is one connection from dialling to its loss; it returns why it ended.
func (b *Bridge) connection(ctx context.Context) error {
	lost := make(chan error, 1)
	var current atomic.Pointer[conn]
	client, token := b.connect(ctx, &current, lost)
	if err := token.Error(); err != nil {
		if errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword) || errors.Is(err, packets.ErrorRefusedNotAuthorised) {
			b.m.connects.WithLabelValues("refused").Inc()
			return fmt.Errorf("%w: %w", errRefused, err)
		}
		b.m.connects.WithLabelValues("failed").Inc()
		return fmt.Errorf("connect: %w", err)
	}
	b.m.connects.WithLabelValues("connected").Inc()
	b.connected.Store(true)
	b.m.connected.Set(1)
	ct, ok := token.(*mqtt.ConnectToken)
	present := ok && ct.SessionPresent()
	b.log.Info("mqtt bridge connected", "client_id", b.cfg.ClientID, "session_present", present)
	b.session(present)
	outbox := newOutbox(client, b.m)
	connection, end := context.WithCancel(ctx)
	b.outbox.Go(func() { outbox.run(connection) })
	b.out.Store(outbox)
	err := b.connectedUntil(ctx, client, current.Load(), lost)
	b.out.Store(nil)
	end()
	b.connected.Store(false)
	b.granted.Store(false)
	b.m.connected.Set(0)
	b.m.subscribed.Set(0)
	return err
}

// connect dials and sends CONNECT; the token is complete. The connection is in current as soon as there is one.
func (b *Bridge) connect(ctx context.Context, current *atomic.Pointer[conn], lost chan<- error) (mqtt.Client, mqtt.Token) {
	dialling, stopDialling := context.WithCancel(ctx)
	defer stopDialling()
	client := mqtt.NewClient(b.options(current, lost, func(u *url.URL) (net.Conn, error) {
		c, err := dial(dialling, u, b.cfg)
		if err != nil {
			return nil, err
		}
		current.Store(c)
		if err := dialling.Err(); err != nil { // the end came before anybody could see c
			_ = c.Close()
			return nil, err
		}
		return c, nil
	}))
	token := client.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done(): // a broker that does not answer must not hold up the end
		if c := current.Load(); c != nil {
			_ = c.Close()
		}
		<-token.Done()
	}
	return client, token
}

// session notes what the broker says of our session. One that it has forgotten had messages for us that nobody will send again.
func (b *Bridge) session(present bool) {
	if b.mem.ClientID != "" && !b.mem.same(b.url.Host, b.cfg.ClientID) {
		b.log.Warn("mqtt bridge: an earlier session may still collect messages: end it at its broker", "old_broker", b.mem.Broker,
			"old_client_id", b.mem.ClientID)
	}
	known := b.mem.same(b.url.Host, b.cfg.ClientID) && len(b.mem.Filters) > 0
	switch {
	case present:
		b.m.sessions.WithLabelValues("resumed").Inc()
		if !known { // made by somebody who left no list
			b.mem = memory{Broker: b.url.Host, ClientID: b.cfg.ClientID, Filters: b.cfg.shared(earlierDefaults)}
		}
	case known:
		b.m.sessions.WithLabelValues("lost").Inc()
		b.log.Warn("mqtt bridge: the broker has forgotten our session: messages may have been lost while we were away; look at the broker's "+
			"persistence and session expiry", "client_id", b.cfg.ClientID)
	default:
		b.m.sessions.WithLabelValues("new").Inc()
	}
	if !present {
		b.mem = memory{Broker: b.url.Host, ClientID: b.cfg.ClientID}
	}
}

// connectedUntil subscribes and waits for the connection to be lost or ctx to end.
func (b *Bridge) connectedUntil(ctx context.Context, client mqtt.Client, c *conn, lost <-chan error) error {
	again := time.NewTimer(0) // subscribe at once
	defer again.Stop()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-lost:
			b.m.connects.WithLabelValues("lost").Inc()
			if !b.granted.Load() {
				return fmt.Errorf("connection lost before the broker granted our subscriptions (may %q read %q?): %w", b.cfg.Username, b.cfg.Topics, err)
			}
			return fmt.Errorf("connection lost: %w", err)
		case <-ctx.Done():
			b.drain()
			c.goodbye()
			client.Disconnect(disconnectQuiet)
			return ctx.Err()
		case <-again.C:
			if err := b.subscribe(ctx, client); err != nil {
				b.log.Error("mqtt bridge does not get all it subscribes to", "error", err, "again_in", subscribeAgain)
				again.Reset(subscribeAgain)
			}
		case <-tick.C:
			if b.w.redeliver() {
				b.log.Info("mqtt bridge connects again for messages it had no room for")
				c.abort()
			}
		}
	}
}

// subscribe ends the subscriptions that are not wanted any more and asks for those that are, at each connection: it is the only
// way to learn what the broker grants. paho takes a refusal for a success.
func (b *Bridge) subscribe(ctx context.Context, client mqtt.Client) error {
	filters := b.cfg.filters()
	old := b.mem.obsolete(filters)
	b.mem.Filters = slices.Concat(old, slices.Sorted(maps.Keys(filters)))
	if err := b.mem.save(b.cfg.StateFile); err != nil {
		b.log.Error("mqtt bridge cannot keep the list of its subscriptions", "error", err)
	}
	if len(old) > 0 {
		if err := b.answered(ctx, client.Unsubscribe(old...)); err != nil {
			return fmt.Errorf("unsubscribe from %q: %w", old, err)
		}
		b.log.Info("mqtt bridge ended subscriptions of an earlier configuration", "filters", old)
		b.mem.Filters = b.mem.Filters[len(old):]
		if err := b.mem.save(b.cfg.StateFile); err != nil {
			b.log.Error("mqtt bridge cannot keep the list of its subscriptions", "error", err)
		}
	}
	token := client.SubscribeMultiple(filters, nil)
	if err := b.answered(ctx, token); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	var errs []error
	if st, ok := token.(*mqtt.SubscribeToken); ok {
		result := st.Result()
		for _, filter := range slices.Sorted(maps.Keys(result)) {
			switch qos := result[filter]; {
			case qos > 2:
				b.m.connects.WithLabelValues("subscription refused").Inc()
				errs = append(errs, fmt.Errorf("refused: %q", filter))
			case qos == 0:
				b.m.connects.WithLabelValues("QoS 0 granted").Inc()
				errs = append(errs, fmt.Errorf("granted with QoS 0 only, so that messages get lost: %q", filter))
			}
		}
	}
	if len(errs) == 0 {
		b.granted.Store(true)
		b.m.subscribed.Set(1)
	}
	return errors.Join(errs...)
}

// answered waits for the broker's answer to a subscription.
func (b *Bridge) answered(ctx context.Context, token mqtt.Token) error {
	late := time.NewTimer(b.cfg.WriteTimeout)
	defer late.Stop()
	select {
	case <-token.Done(): // also when the connection is lost
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return fmt.Errorf("no answer within %s", b.cfg.WriteTimeout)
	}
}

func (b *Bridge) options(current *atomic.Pointer[conn], lost chan<- error, open func(*url.URL) (net.Conn, error)) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions()
	o.AddBroker(b.cfg.URL)
	o.SetClientID(b.cfg.ClientID)
	o.SetUsername(b.cfg.Username)
	o.SetPassword(string(b.cfg.Password))
	o.SetProtocolVersion(mqttVersion311)
	o.SetCleanSession(false)
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetKeepAlive(b.cfg.KeepAlive)
	o.SetPingTimeout(min(b.cfg.KeepAlive, 10*time.Second))
	o.SetConnectTimeout(b.cfg.ConnectTimeout)
	// How long paho's Publish and Subscribe wait for its writer, which the end of a connection must not take long for. Writing
	// itself has conn's deadline.
	o.SetWriteTimeout(min(b.cfg.WriteTimeout, pahoPatience))
	o.SetStore(nothing{})
	o.SetAutoAckDisabled(true)
	o.SetOrderMatters(true)
	// Before Connect: the broker sends what it kept right behind CONNACK.
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { b.receive(current.Load(), m) })
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
	o.SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) { return open(u) })
	return o
}
