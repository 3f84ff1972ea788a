package bridge

import (
	"context"
	"sync"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"aftercare/internal/wire"
)

// window holds the messages in order of receipt: first those that were submitted and wait for their outcome or their turn to
// be acknowledged, then those still to be submitted.
type window struct {
	limit int

	mu     sync.Mutex
	ring   []entry // power of two long; ticket t is at t & (len-1)
	head   uint64  // first not acknowledged
	sub    uint64  // first not submitted
	next   uint64
	again  bool // something was left to be delivered again
	giving int  // taken by due, not yet acknowledged

	submit chan struct{} // wakes the submitter
	ack    chan struct{} // wakes the acknowledger
}

type entry struct {
	conn *conn // where it came from, and where alone it can be acknowledged
	msg  mqtt.Message
	done bool
	lost bool // never acknowledge
}

func newWindow(limit int) *window {
	return &window{limit: limit, submit: make(chan struct{}, 1), ack: make(chan struct{}, 1)}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// push queues a message; it never waits. done says that it needs only its turn to be acknowledged. False: there is no room,
// and a message with QoS 1 has to be delivered again.
func (w *window) push(c *conn, m mqtt.Message, done bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if int(w.next-w.head) >= w.limit {
		w.again = w.again || m.Qos() > 0
		return false
	}
	if int(w.next-w.head) == len(w.ring) {
		bigger := make([]entry, max(64, 2*len(w.ring)))
		for t := w.head; t < w.next; t++ {
			bigger[t&uint64(len(bigger)-1)] = *w.at(t)
		}
		w.ring = bigger
	}
	*w.at(w.next) = entry{conn: c, msg: m, done: done}
	w.next++
	wake(w.submit)
	return true
}

func (w *window) at(t uint64) *entry { return &w.ring[t&uint64(len(w.ring)-1)] }

// pull waits for the next message to submit.
func (w *window) pull(ctx context.Context) (mqtt.Message, uint64, error) {
	for {
		w.mu.Lock()
		for w.sub < w.next {
			t := w.sub
			w.sub++
			if e := w.at(t); !e.done {
				w.mu.Unlock()
				return e.msg, t, nil
			}
			wake(w.ack)
		}
		w.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-w.submit:
		}
	}
}

// Done is ingest's answer to a message.
func (w *window) Done(ticket uint64, o wire.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ticket < w.head || ticket >= w.sub {
		return
	}
	e := w.at(ticket)
	e.done, e.lost = true, o == wire.Failed
	if ticket == w.head {
		wake(w.ack)
	}
}

// due takes the messages whose turn it is, in order; appended to buf. given says that they are acknowledged.
func (w *window) due(buf []entry) []entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.head < w.sub && w.at(w.head).done {
		buf = append(buf, *w.at(w.head))
		*w.at(w.head) = entry{}
		w.head++
	}
	w.giving = len(buf)
	return buf
}

func (w *window) given() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.giving = 0
}

// state returns how many messages are not acknowledged and how many of them were submitted.
func (w *window) state() (held, submitted int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int(w.next-w.head) + w.giving, int(w.sub-w.head) + w.giving
}

// redeliver reports once, when the window has become empty, that something was left to be delivered again.
func (w *window) redeliver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.again || w.head != w.next || w.giving > 0 {
		return false
	}
	w.again = false
	return true
}
