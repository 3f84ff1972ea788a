package web

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aftercare/internal/fleet"
)

// stuck is a history that gives no answer until the asker has enough.
type stuck struct{ *sample }

func (stuck) Series(ctx context.Context, _ fleet.DeviceKey, _, _ string, _, _ time.Time, _ time.Duration) ([]fleet.Point, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (stuck) Latest(ctx context.Context, _ fleet.DeviceKey, _ string) (fleet.Reading, error) {
	<-ctx.Done()
	return fleet.Reading{}, ctx.Err()
}

func (stuck) LastSeen(ctx context.Context, _ string, _ []string) (map[string]time.Time, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestPagesDoNotWaitForHistory: with a database that hangs a page shows what it has within some seconds, the next one at once, and who
// tells the open pages of news waits for nobody. (REL-04)
func TestPagesDoNotWaitForHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		cfg := DefaultConfig()
		cfg.Token, cfg.Zone = testToken, "Europe/Berlin"
		s := f.sample
		began := time.Now()
		now := func() time.Time { return s.now.Add(time.Since(began)) }
		var err error
		f.web, err = New(cfg, Deps{Cases: s, Stories: s, Devices: s, Models: s, Mail: s, History: stuck{s}, Doors: s, Mender: s, Commander: s, Links: s, Care: s, Homes: s, Agent: s, Incidents: s, Composer: s.renderer(), Dead: s, Feed: f.hub,
			Teller: s.renderer(), Log: slog.New(slog.DiscardHandler), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		first := make(chan string)
		go func() { first <- f.get(t, "/") }()
		synctest.Wait()
		f.web.fleet.outdate()
		f.web.fleet.forget()
		if took := time.Since(began); took > 0 {
			t.Errorf("telling of news took %v", took)
		}
		<-first
		if took := time.Since(began); took > seenPatience {
			t.Errorf("the first page took %v", took)
		}
		if f.web.fleet.last != nil {
			t.Error("what was begun before an action is shown after it")
		}
		begin := time.Now()
		f.want(t, "/", http.StatusOK)
		if took := time.Since(begin); took > 0 {
			t.Errorf("the next page took %v", took)
		}
		for _, page := range []string{"/devices/demo/WM-0001", caseURL(&f.cases[2])} {
			begin = time.Now()
			if text := f.get(t, page); !strings.Contains(text, "The time series do not answer just now") {
				t.Errorf("%s does not say that the charts are missing", page)
			}
			if took := time.Since(begin); took > seenPatience+seriesPatience {
				t.Errorf("%s took %v", page, took)
			}
		}
	})
}
