package bridge

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// Connected but silent is said once, and once more when messages come again. Time without a connection does not count.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		cfg := DefaultConfig()
		cfg.URL = "tcp://127.0.0.1:1883"
		b, err := New(cfg, Deps{Ingest: newInbox(false), Log: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer func() { stop(); synctest.Wait() }()
		go b.watch(ctx)
		expect := func(what string, warned, again int) {
			t.Helper()
			synctest.Wait()
			if w, a := log.has("no message has come"), log.has("messages come again"); w != warned || a != again {
				t.Errorf("%s: %d warnings and %d all-clears, want %d and %d", what, w, a, warned, again)
			}
		}
		time.Sleep(time.Hour)
		expect("not connected", 0, 0)
		b.connected.Store(true)
		time.Sleep(9 * time.Minute)
		expect("not long enough", 0, 0)
		b.connected.Store(false)
		time.Sleep(time.Hour)
		b.connected.Store(true) // a connection that flaps brings no messages either
		time.Sleep(2 * time.Minute)
		expect("silent", 1, 0)
		time.Sleep(time.Hour)
		expect("still silent", 1, 0)
		b.received.Add(1)
		time.Sleep(2 * time.Second)
		expect("talks", 1, 1)
		for range 30 {
			b.received.Add(1)
			time.Sleep(time.Minute)
		}
		expect("talks on", 1, 1)
		time.Sleep(11 * time.Minute)
		expect("silent again", 2, 1)
	})
}
