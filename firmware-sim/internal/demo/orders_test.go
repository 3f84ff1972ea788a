package demo

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"aftercare/firmware-sim/internal/testbroker"
)

// A device that is busy puts a disruptive command off once; a command that comes twice is done once and answered twice.
func TestOrders(t *testing.T) {
	dir, answers := t.TempDir(), make(chan answer, 100)
	there := make(chan string, 100)
	b := testbroker.Start(t, "127.0.0.1:0", "s", func(p testbroker.Publish) {
		switch {
		case strings.HasSuffix(p.Topic, "/BS-0001/status"):
			there <- p.Topic
		case strings.HasSuffix(p.Topic, "/reply"):
			var a answer
			if err := json.Unmarshal(p.Payload, &a); err != nil {
				t.Errorf("%q is no answer: %v", p.Payload, err)
			}
			answers <- a
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{Broker: "tcp://" + b.Addr, StateDir: dir, Interval: time.Hour, Pace: 1, Seed: 1, Out: io.Discard}, tinyFleet())
	}()
	receive(ctx, t, there)
	send := func(o order) {
		t.Helper()
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Send("devices/demo/drill-d18/DR-0001/command", text); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(id, status string) {
		t.Helper()
		if a := receive(ctx, t, answers); a.ID != id || a.Status != status {
			t.Fatalf("%+v, want %s %s", a, id, status)
		}
	}
	send(order{ID: "a", Name: "identify"})
	expect("a", "running")
	expect("a", "done")
	send(order{ID: "a", Name: "identify"})
	expect("a", "done")
	send(order{ID: "b", Name: "restart", Disruptive: true})
	expect("b", "not_now")
	send(order{ID: "b", Name: "restart", Disruptive: true})
	expect("b", "running")
	expect("b", "done")
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func receive[T any](ctx context.Context, t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-ctx.Done():
		t.Fatal("nothing came")
	}
	var none T
	return none
}
