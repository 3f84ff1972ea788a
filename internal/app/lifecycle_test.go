package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"aftercare/internal/obs"
)

func TestClosingGoesBackwardsAndWaits(t *testing.T) {
	l := newLifecycle(obs.Discard())
	var order []string
	l.onClose("store", func() error { order = append(order, "store"); return errors.New("disk") })
	for _, name := range []string{"rules", "ingest"} {
		l.run(name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name) // no lock: closing waits for each before it stops the next
			return nil
		})
	}
	err := l.close()
	if want := []string{"ingest", "rules", "store"}; !cmp.Equal(order, want) {
		t.Errorf("closed %v, want %v", order, want)
	}
	if err == nil || !strings.Contains(err.Error(), "close store: disk") {
		t.Errorf("the error of the store is %v", err)
	}
	if err := l.close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestAPartThatEndsByItselfEndsTheWait(t *testing.T) {
	l := newLifecycle(obs.Discard())
	l.run("history", func(context.Context) error { return errors.New("gone") })
	if err := l.wait(t.Context()); err == nil || err.Error() != "history: gone" {
		t.Errorf("wait returned %v", err)
	}
	if err := l.close(); err == nil {
		t.Error("its error is not in the errors of closing")
	}
	quiet := newLifecycle(obs.Discard())
	quiet.run("web", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(quiet.wait(ctx), quiet.close()); err != nil {
		t.Errorf("told to stop, and says %v", err)
	}
}

func TestRelativeDay(t *testing.T) {
	now := time.Date(2026, 2, 28, 23, 59, 0, 0, time.UTC)
	for in, want := range map[string]string{"+1d": "2026-03-01", "-59d": "2025-12-31", "-2y": "2024-02-28"} {
		got, err := relativeDay(now, in)
		if err != nil || got.Format(time.DateOnly) != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	if got, err := relativeDay(now, ""); err != nil || !got.IsZero() {
		t.Errorf("nothing: %v, %v", got, err)
	}
	for _, bad := range []string{"d", "5", "+xd", "3w"} {
		if _, err := relativeDay(now, bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
