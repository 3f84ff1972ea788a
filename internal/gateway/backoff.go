package gateway

import (
	"sync"
	"time"
)

const (
	maxPairs      = 4096 // remembered at most; then any is forgotten
	freeFailures  = 3    // wrong tries without a delay
	firstDelay    = time.Second
	longestDelay  = time.Minute
	forgetFailure = 10 * time.Minute
)

// backoff delays who keeps connecting with wrong credentials, by address and user name.
type backoff struct {
	mu sync.Mutex
	m  map[string]failures
}

type failures struct {
	n     int
	last  time.Time
	until time.Time
}

func newBackoff() *backoff { return &backoff{m: map[string]failures{}} }

func (b *backoff) allow(pair string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !now.Before(b.m[pair].until)
}

func (b *backoff) failed(pair string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f, known := b.m[pair]
	if !known && len(b.m) >= maxPairs {
		makeRoom(b.m, func(f failures) bool { return now.Sub(f.last) > forgetFailure })
	}
	if now.Sub(f.last) > forgetFailure {
		f = failures{}
	}
	f.n++
	f.last = now
	if over := f.n - freeFailures; over >= 0 {
		f.until = now.Add(min(firstDelay<<min(over, 10), longestDelay))
	}
	b.m[pair] = f
}

func (b *backoff) succeeded(pair string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.m, pair)
}

// rates bounds new connections per address: a token bucket with one second's worth of burst.
type rates struct {
	perSecond float64
	mu        sync.Mutex
	m         map[string]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newRates(perSecond float64) *rates { return &rates{perSecond: perSecond, m: map[string]bucket{}} }

func (r *rates) allow(host string, now time.Time) bool {
	if r.perSecond == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	full := max(r.perSecond, 1)
	b, known := r.m[host]
	if !known {
		if len(r.m) >= maxPairs {
			makeRoom(r.m, func(b bucket) bool { return b.tokens+now.Sub(b.at).Seconds()*r.perSecond >= full })
		}
		b = bucket{tokens: full, at: now}
	}
	b.tokens = min(full, b.tokens+now.Sub(b.at).Seconds()*r.perSecond)
	b.at = now
	ok := b.tokens >= 1
	if ok {
		b.tokens--
	}
	r.m[host] = b
	return ok
}

// makeRoom removes what is old, and if nothing is, a few entries as they come: memory is bounded whoever attacks.
func makeRoom[V any](m map[string]V, old func(V) bool) {
	for k, v := range m {
		if old(v) {
			delete(m, k)
		}
	}
	for k := range m {
		if len(m) < maxPairs-maxPairs/16 {
			return
		}
		delete(m, k)
	}
}
