package gateway

import (
	"sync"
	"time"

	"aftercare/internal/fleet"
)

// attendance counts the sessions of each identity and tells Deps.Presence of the first and the last. A session that takes over
// another takes its place in the count, so that nobody hears of it. Its lock is held while Presence is told, so that
// nothing is told out of order; it comes after Gateway.mu.
type attendance struct {
	to Presence // nil: nobody wants to know
	mu sync.Mutex
	n  map[fleet.DeviceKey]int
}

// came counts a session that is established.
func (a *attendance) came(s *session, now time.Time) {
	if a.to == nil || s.first != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.present {
		return
	}
	s.present = true
	a.n[s.key]++
	if a.n[s.key] == 1 {
		a.to.Connected(s.key, now)
	}
}

// takesOver gives the new session the place of the old one, which ends.
func (a *attendance) takesOver(s, old *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.present, old.present = old.present, false
}

// left counts a session that is over.
func (a *attendance) left(s *session, cause string, now time.Time) {
	if a.to == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !s.present {
		return
	}
	s.present = false
	if a.n[s.key]--; a.n[s.key] > 0 {
		return
	}
	delete(a.n, s.key)
	if !s.g.closing.Load() {
		a.to.Disconnected(s.key, cause, now)
	}
}

// cause is why a session that ended for a reason is no longer there.
func (s *session) cause(reason string) string {
	switch {
	case reason == reasonRevoked:
		return fleet.CauseRevoked
	case s.bye:
		return fleet.CauseDisconnected
	case s.will != nil && s.will.delay == 0 && !s.silent.Load():
		return fleet.CauseWill
	}
	return fleet.CauseLost
}
