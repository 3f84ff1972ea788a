package bridge

import (
	"context"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"aftercare/internal/wire"
)

const (
	outboxSize     = 1000             // messages to publish that wait for their turn
	outboxInFlight = 200              // sent and not yet acknowledged
	outboxPatience = 30 * time.Second // for an acknowledgement; MQTT 3.1.1 lets nobody send again on a living connection
)

// The results of Publish, as counted.
const (
	publishedAcked  = "acknowledged"
	publishedAway   = "not connected"
	publishedFull   = "queue full"
	publishedTopic  = "topic not allowed"
	publishedLost   = "connection lost" // before the acknowledgement: it may have arrived or not
	publishedFailed = "not acknowledged in time"
)

// Publish sends a message with QoS 1 on the connection there is now. It never blocks. False: not connected, the queue is full,
// or the topic is none that can be published to. acked (may be nil) is called once, from another goroutine, when the
// broker has acknowledged; it must not block. It is never called when the connection is lost before: then nobody knows,
// and nothing is sent again. An acknowledgement says that the broker took it, not that a device got it, and MQTT 3.1.1 brokers
// acknowledge what their ACL forbids. payload must not be changed afterwards.
func (b *Bridge) Publish(topic string, payload []byte, acked func()) bool {
	if topic == "" || len(topic) > wire.MaxTopic || strings.ContainsAny(topic, "+#\x00") {
		b.m.published.WithLabelValues(publishedTopic).Inc() // a broker would close the connection
		return false
	}
	o := b.out.Load()
	if o == nil {
		b.m.published.WithLabelValues(publishedAway).Inc()
		return false
	}
	if refused := o.put(outgoing{topic: topic, payload: payload, acked: acked}); refused != "" {
		b.m.published.WithLabelValues(refused).Inc()
		return false
	}
	return true
}

// outbox publishes on one connection. What it still holds at the end of its connection is given up: commands are kept by those
// who send them.
type outbox struct {
	client mqtt.Client
	m      *metrics
	queue  chan outgoing
	sent   chan outgoing // in order of sending

	mu     sync.Mutex
	closed bool
}

type outgoing struct {
	topic   string
	payload []byte
	acked   func()
	token   mqtt.Token
}

func newOutbox(client mqtt.Client, m *metrics) *outbox {
	return &outbox{client: client, m: m, queue: make(chan outgoing, outboxSize), sent: make(chan outgoing, outboxInFlight)}
}

// put queues g; it returns why not.
func (o *outbox) put(g outgoing) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return publishedAway
	}
	select {
	case o.queue <- g:
		return ""
	default:
		return publishedFull
	}
}

// run publishes until the connection ends, then counts what is given up.
func (o *outbox) run(connection context.Context) {
	var receipts sync.WaitGroup
	receipts.Go(func() { o.await(connection) })
	o.send(connection)
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	close(o.queue)
	for range o.queue {
		o.count(publishedLost)
	}
	close(o.sent)
	receipts.Wait()
}

// send gives paho one message after the other. It waits when too many are unacknowledged, and when the broker does not read.
func (o *outbox) send(connection context.Context) {
	for {
		select {
		case <-connection.Done():
			return
		case g := <-o.queue:
			g.token = o.client.Publish(g.topic, 1, false, g.payload)
			select {
			case o.sent <- g:
			case <-connection.Done():
				o.count(publishedLost)
				return
			}
		}
	}
}

// await waits for the acknowledgements. A token of a lost connection never completes, because the session is persistent.
func (o *outbox) await(connection context.Context) {
	for g := range o.sent {
		late := time.NewTimer(outboxPatience)
		result := publishedLost
		select {
		case <-g.token.Done():
			if g.token.Error() == nil {
				result = publishedAcked
			}
		case <-connection.Done():
		case <-late.C:
			result = publishedFailed
		}
		late.Stop()
		o.count(result)
		if result == publishedAcked && g.acked != nil {
			g.acked()
		}
	}
}

func (o *outbox) count(result string) { o.m.published.WithLabelValues(result).Inc() }
