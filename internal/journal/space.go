package journal

import (
	"fmt"
	"sync"
	"time"

	"aftercare/internal/fleet"
)

// space watches the free share of the disk. JetStream breaks on a full disk; refusing before that keeps it whole.
type space struct {
	dir  string // empty: an external server watches its own disk
	min  float64
	free func(dir string) (float64, error)

	mu   sync.Mutex
	next time.Time // the disk is asked again from here on
	err  error
}

// check returns ErrFull while too little is free. The disk is asked once a second at most.
func (s *space) check(now time.Time) error {
	if s.dir == "" || s.min == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		return s.err
	}
	s.next = now.Add(time.Second)
	free, err := s.free(s.dir)
	switch {
	case err != nil:
		s.err = fmt.Errorf("free space of %q: %w", s.dir, err)
	case free < s.min:
		s.err = &fleet.Error{Code: fleet.CodeBusy, Err: fmt.Errorf("%w: %.1f %% of the disk of %q is free, at least %.1f %% must stay free",
			ErrFull, free*100, s.dir, s.min*100)}
	default:
		s.err = nil
	}
	return s.err
}
