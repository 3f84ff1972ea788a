package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// BenchmarkPushLatency takes the time from the PUBACK of the reading that shows a fault, as the device's client sees it, to the arrival of the
// push request at a service on loopback, for a rule without `for`, while other devices say 5,000 readings a second. Run it with
// -benchtime 1x: an operation is 200 faults of as many devices, twenty a second. The figures:
//
//	p50-ms, p99-ms  of these times; what arrived before its PUBACK was seen counts as none
//	load/s          acknowledged readings a second of the other devices meanwhile
func BenchmarkPushLatency(b *testing.B) {
	const faults, loaders = 200, 50
	service, dir := newArrivals(b), b.TempDir()
	people, devices := make([]fleet.Person, faults), make([]fleet.Device, 0, faults+loaders)
	for i := range faults {
		people[i] = fleet.Person{ID: fmt.Sprintf("owner-%03d", i), Tenant: tenant, Name: "Ada", Locale: "en-GB", Zone: "Europe/London",
			Endpoints: []fleet.Endpoint{{Channel: "push", Address: fmt.Sprintf("%s/%s", service.URL, serialOf(i)), Secret: service.keys.Secret()}}}
		devices = append(devices, washer(serialOf(i), people[i].ID))
	}
	house := settlePeople(b, dir, people, devices)
	others := make([]fleet.Device, loaders)
	for i := range loaders {
		others[i] = washer(fmt.Sprintf("LD-%03d", i), "")
	}
	load := settlePeople(b, dir, nil, others)
	args := slices.Concat(service.settings(), unlimited, []string{"--log.level", "warn"})
	c := newCare(b, dir, []string{service.host()}, args...)
	c.connects(house)
	b.ResetTimer()
	for n := range b.N {
		result := make(chan loadResult, 1)
		go func() {
			result <- c.load(b, load.fleet, "--connections", strconv.Itoa(loaders), "--inflight", "50", "--rate", "5000", "--duration", "16s", "--first-seq", strconv.Itoa(1+n*10_000_000))
		}()
		time.Sleep(3 * time.Second) // until it flows
		took := service.times(b, c, faults, n%2 == 0)
		r := <-result
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		b.ReportMetric(r.PerSecond, "load/s")
		b.ReportMetric(0, "ns/op")
	}
}

func serialOf(i int) string { return fmt.Sprintf("PL-%03d", i) }

// arrivals is a push service that notes when a request for a device came, and reads none.
type arrivals struct {
	*pushService
	mu sync.Mutex
	at map[string]time.Time
}

func newArrivals(b *testing.B) *arrivals {
	b.Helper()
	a := &arrivals{pushService: newPushService(b), at: map[string]time.Time{}}
	a.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		a.mu.Lock()
		if _, has := a.at[r.URL.Path[1:]]; !has {
			a.at[r.URL.Path[1:]] = now
		}
		a.mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	})
	return a
}

// times has one device after the other say that something is wrong, or that it is well again, and returns how long each message took.
func (a *arrivals) times(b *testing.B, c *care, n int, wrong bool) []time.Duration {
	b.Helper()
	a.mu.Lock()
	clear(a.at)
	a.mu.Unlock()
	drain := 20.0
	if wrong {
		drain = 150
	}
	acked := make([]time.Time, n)
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for i := range n {
		c.says(serialOf(i), drain, 0)
		acked[i] = time.Now()
		<-every.C
	}
	took := make([]time.Duration, n)
	eventually(b, 30*time.Second, func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.at) < n {
			return fmt.Errorf("%d of %d messages arrived", len(a.at), n)
		}
		for i := range took {
			took[i] = max(0, a.at[serialOf(i)].Sub(acked[i]))
		}
		return nil
	})
	return took
}
