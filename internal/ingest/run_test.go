package ingest

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestStalled: who judges the silence of devices has to know when it is ours. A slow journal is none.
func TestStalled(t *testing.T) { // REL-04
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		b := start(t, l)
		synctest.Wait()
		l.mu.Lock()
		l.gate = make(chan struct{})
		l.mu.Unlock()
		b.submit(t, washer, "devices/demo/w7/WM-1/telemetry", `{"cycles":7}`, nil, 0)
		time.Sleep(4 * time.Second)
		if b.Stalled() {
			t.Error("stalled after 4 s")
		}
		time.Sleep(2 * time.Second)
		if !b.Stalled() {
			t.Error("not stalled after 6 s")
		}
		close(l.gate)
		synctest.Wait()
		if b.Stalled() {
			t.Error("stalled although the journal has taken it")
		}
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
