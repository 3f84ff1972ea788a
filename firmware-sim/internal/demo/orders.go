package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// order is a command as the server sends it.
type order struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Args       json.RawMessage `json:"args"`
	Disruptive bool            `json:"disruptive"`
}

// answer is what a device says to an order: running, done, failed, not_now or refused.
type answer struct {
	ID     string         `json:"id"`
	Status string         `json:"status"`
	Reason string         `json:"reason,omitempty"`
	RetryS int            `json:"retry_s,omitempty"`
	Result map[string]any `json:"result,omitempty"`
}

// orders is what a connection's devices remember of commands: an order may come more than once and is done once.
type orders struct {
	mu    sync.Mutex
	done  map[string]answer // last answer by id, final ones
	asked map[string]int    // how often a disruptive one was put off
}

const (
	remembered = 1000             // answers; older ones are forgotten all at once
	putOff     = 15 * time.Second // how long a busy device asks to wait
	workTime   = 2 * time.Second  // what a command takes
)

// begin decides about an order: the first answer, and whether the device then works on it and says done.
func (o *orders) begin(serial string, in order) (first answer, work bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a, ok := o.done[in.ID]; ok {
		return a, false
	}
	if in.Disruptive && o.asked[in.ID] == 0 && busy(serial) {
		if len(o.asked) >= remembered {
			clear(o.asked)
		}
		o.asked[in.ID]++
		return answer{ID: in.ID, Status: "not_now", Reason: "it is being used", RetryS: int(putOff / time.Second)}, false
	}
	return answer{ID: in.ID, Status: "running"}, true
}

// finish returns the last answer to an order and remembers it.
func (o *orders) finish(in order) answer {
	a := answer{ID: in.ID, Status: "done", Result: map[string]any{"command": in.Name}}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.done) >= remembered {
		clear(o.done)
	}
	o.done[in.ID] = a
	return a
}

// busy: every other device is, so that both answers can be seen.
func busy(serial string) bool { return serial[len(serial)-1]%2 == 1 }

// listen subscribes to the commands of all the connection's devices.
func (s *speaker) listen(ctx context.Context, client mqtt.Client) error {
	filters := map[string]byte{}
	serials := map[string]string{}
	for _, u := range s.units {
		topic := strings.TrimSuffix(u.topics.status, "status") + "command"
		filters[topic], serials[topic] = 1, u.dev.Serial
	}
	token := client.SubscribeMultiple(filters, func(c mqtt.Client, m mqtt.Message) {
		s.obey(ctx, c, serials[m.Topic()], strings.TrimSuffix(m.Topic(), "command")+"reply", m.Payload())
	})
	select {
	case <-ctx.Done():
		return nil
	case <-token.Done():
		return token.Error()
	case <-time.After(time.Minute):
		return errors.New("no answer to SUBSCRIBE within a minute")
	}
}

// obey answers one order. An answer that does not get through is given when the server asks again.
func (s *speaker) obey(ctx context.Context, client mqtt.Client, serial, topic string, payload []byte) {
	var in order
	if err := json.Unmarshal(payload, &in); err != nil || in.ID == "" || serial == "" {
		return
	}
	first, work := s.orders.begin(serial, in)
	s.say(ctx, client, topic, first)
	if !work {
		return
	}
	fmt.Fprintf(s.run.cfg.Out, "%s does %q.\n", serial, in.Name)
	select {
	case <-ctx.Done():
		return
	case <-time.After(workTime):
	}
	s.say(ctx, client, topic, s.orders.finish(in))
}

func (s *speaker) say(ctx context.Context, client mqtt.Client, topic string, a answer) {
	payload, err := json.Marshal(a)
	if err != nil { // words and numbers always encode
		return
	}
	if token, err := publish(ctx, client, packet{topic: topic, payload: payload}); err == nil {
		select {
		case <-token.Done():
		case <-ctx.Done():
		}
	}
}
