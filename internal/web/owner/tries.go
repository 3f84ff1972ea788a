package owner

import (
	"sync"
	"time"
)

// tries counts by key (an address, a person): each has so many, and gets one back after each interval. It is what makes guessing
// hopeless (SEC-10). It is safe for concurrent use and its memory is bounded.
type tries struct {
	burst float64
	every time.Duration
	mu    sync.Mutex
	left  map[string]tank
}

type tank struct {
	left float64
	at   time.Time
}

// maxKeys bounds the memory. When there are more, who has most left is forgotten: he is let in anyway.
const maxKeys = 20_000

func newTries(burst int, every time.Duration) *tries {
	return &tries{burst: float64(burst), every: every, left: map[string]tank{}}
}

// take takes one try from each key, or none and says how long to wait. It is taken before the try is made, so that many at once
// get no more than many in a row.
func (t *tries) take(now time.Time, keys ...string) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		if have := t.level(k, now); have < 1 {
			wait = max(wait, time.Duration((1-have)*float64(t.every)))
		}
	}
	if wait > 0 {
		return wait, false
	}
	for _, k := range keys {
		t.put(k, tank{t.level(k, now) - 1, now})
	}
	return 0, true
}

// back returns a try that turned out to be right.
func (t *tries) back(now time.Time, keys ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		if have := t.level(k, now) + 1; have < t.burst {
			t.put(k, tank{have, now})
		} else {
			delete(t.left, k)
		}
	}
}

func (t *tries) level(key string, now time.Time) float64 {
	k, ok := t.left[key]
	if !ok {
		return t.burst
	}
	return min(t.burst, k.left+max(0, float64(now.Sub(k.at))/float64(t.every)))
}

func (t *tries) put(key string, k tank) {
	if _, ok := t.left[key]; !ok && len(t.left) >= maxKeys {
		t.forget(k.at)
	}
	t.left[key] = k
}

// forget drops those that have all their tries back, else half of the others, those with most left first.
func (t *tries) forget(now time.Time) {
	for k := range t.left {
		if t.level(k, now) >= t.burst {
			delete(t.left, k)
		}
	}
	for above := t.burst * 3 / 4; len(t.left) > maxKeys/2 && above > 0.01; above /= 2 {
		for k := range t.left {
			if t.level(k, now) >= above {
				delete(t.left, k)
			}
		}
	}
	if len(t.left) >= maxKeys { // all of them have none left: any is as bad as the other
		n := 0
		for k := range t.left {
			delete(t.left, k)
			if n++; n > maxKeys/10 {
				break
			}
		}
	}
}
