package outreach

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// circuits leave a receiver alone that has failed several times in a row: for a while at first, longer each time, and then one try
// decides. What they know is lost with the process, and costs a receiver a few tries then.
type circuits struct {
	after int
	wait  time.Duration
	open  prometheus.Gauge

	mu    sync.Mutex
	hosts map[string]*circuit // those that failed last
}

type circuit struct {
	failures int       // in a row
	until    time.Time // no try before
}

// maxCircuitWait bounds how long a receiver that goes on failing is left alone.
const maxCircuitWait = 30 * time.Minute

func newCircuits(after int, wait time.Duration, open prometheus.Gauge) *circuits {
	return &circuits{after: after, wait: wait, open: open, hosts: map[string]*circuit{}}
}

// closedAt returns when the host may be tried: now, or later. Who is told "now" after a wait is the one who tries; the others wait on.
func (c *circuits) closedAt(host string, now time.Time, try time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[host]
	switch {
	case h == nil || h.failures < c.after:
		return now
	case h.until.After(now):
		return h.until
	}
	h.until = now.Add(try)
	return now
}

// heard notes how a try went.
func (c *circuits) heard(host string, failed bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !failed {
		delete(c.hosts, host)
	} else {
		h := c.hosts[host]
		if h == nil {
			h = &circuit{}
			c.hosts[host] = h
		}
		if h.failures++; h.failures >= c.after {
			h.until = now.Add(min(c.wait<<min(h.failures-c.after, 10), maxCircuitWait))
		}
	}
	n := 0
	for _, h := range c.hosts {
		if h.failures >= c.after {
			n++
		}
	}
	c.open.Set(float64(n))
}
