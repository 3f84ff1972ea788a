package outreach

import (
	"context"
	"time"
)

// Pass relays what is due at now.
func (r *Relay) Pass(ctx context.Context, now time.Time) error {
	_, err := r.pass(ctx, now)
	return err
}

// Failed names the class of an error, "" for none.
func Failed(err error) string {
	if err == nil {
		return ""
	}
	c, _ := classify(err)
	return [...]string{"again", "never", "gone"}[c]
}

// Wish is how long the receiver wants to be left alone.
func Wish(err error) time.Duration {
	_, after := classify(err)
	return after
}
