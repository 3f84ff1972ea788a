package web

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
)

// hubBuffer is how many notices a subscriber may be behind before it is let go.
const hubBuffer = 64

// Hub hands notices to all who are looking. Publishing never waits: a subscriber that is too slow is let go (its channel is
// closed), and comes again with a fresh view. It is safe for concurrent use.
type Hub struct {
	mu      sync.Mutex
	subs    map[chan fleet.Notice]struct{}
	closed  bool
	dropped prometheus.Counter
}

// NewHub returns a hub without subscribers; reg may be nil.
func NewHub(reg prometheus.Registerer) *Hub {
	h := &Hub{subs: map[chan fleet.Notice]struct{}{}, dropped: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "aftercare_web_live_dropped_total", Help: "Live connections let go because they did not keep up."})}
	if reg != nil {
		reg.MustRegister(h.dropped, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "aftercare_web_live_subscribers", Help: "Pages that are looking at the live feed."}, h.count))
	}
	return h
}

func (h *Hub) count() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return float64(len(h.subs))
}

// Publish hands n to every subscriber. It does not block.
func (h *Hub) Publish(n fleet.Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.subs {
		select {
		case ch <- n:
		default:
			delete(h.subs, ch)
			close(ch)
			h.dropped.Inc()
		}
	}
}

// Subscribe returns the feed from now on. After Close the channel is closed already.
func (h *Hub) Subscribe() (notices <-chan fleet.Notice, cancel func()) {
	ch := make(chan fleet.Notice, hubBuffer)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(ch)
		return ch, func() {}
	}
	h.subs[ch] = struct{}{}
	return ch, func() { h.leave(ch) }
}

func (h *Hub) leave(ch chan fleet.Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subs[ch]; ok {
		delete(h.subs, ch)
		close(ch)
	}
}

// Close ends all subscriptions. Publishing afterwards does nothing.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for ch := range h.subs {
		delete(h.subs, ch)
		close(ch)
	}
}
