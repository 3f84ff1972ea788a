package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

// replayFact is what somebody entered about a device while it was replayed: a line of JSON.
type replayFact struct {
	Time      time.Time `json:"time"` // of entering
	Device    string    `json:"device"`
	Fact      string    `json:"fact"` // service or stored
	Component string    `json:"component"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"` // zero: until further notice
}

// replayFacts is what was entered so far and what is to come, for all devices.
type replayFacts struct {
	registry *registry.Registry
	tenant   string
	coming   []replayFact
	services map[fleet.DeviceKey][]fleet.Service
	stored   map[fleet.DeviceKey][]fleet.Span
}

// readReplayFacts reads facts, one a line; nil: there are none.
func readReplayFacts(r *registry.Registry, tenant string, in io.Reader) (*replayFacts, error) {
	f := &replayFacts{registry: r, tenant: tenant, services: map[fleet.DeviceKey][]fleet.Service{}, stored: map[fleet.DeviceKey][]fleet.Span{}}
	if in == nil {
		return f, nil
	}
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var x replayFact
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		_, known := r.Device(f.key(&x))
		switch {
		case !known:
			return nil, fmt.Errorf("line %d: device %q is not in the list", n, x.Device)
		case x.Fact == "service" && x.Component == "", x.Fact == "stored" && x.From.IsZero(), x.Fact != "service" && x.Fact != "stored", x.Time.IsZero():
			return nil, fmt.Errorf("line %d: want the time and the fact \"service\" of a component, or \"stored\" from a time on", n)
		}
		f.coming = append(f.coming, x)
	}
	slices.SortStableFunc(f.coming, func(a, b replayFact) int { return a.Time.Compare(b.Time) })
	return f, lines.Err()
}

func (f *replayFacts) key(x *replayFact) fleet.DeviceKey {
	return fleet.DeviceKey{Tenant: f.tenant, Serial: x.Device}
}

// until takes in what was entered until now, and returns the devices it is about.
func (f *replayFacts) until(now time.Time) (changed []fleet.DeviceKey) {
	for len(f.coming) > 0 && !f.coming[0].Time.After(now) {
		x := &f.coming[0]
		f.coming = f.coming[1:]
		k := f.key(x)
		if x.Fact == "service" {
			last := slices.DeleteFunc(slices.Clone(f.services[k]), func(s fleet.Service) bool { return s.Component == x.Component })
			f.services[k] = append(last, fleet.Service{Component: x.Component, At: x.Time, By: "owner"})
		} else {
			past := slices.DeleteFunc(slices.Clone(f.stored[k]), func(s fleet.Span) bool { return !s.To.IsZero() && s.To.Before(now) })
			f.stored[k] = append(past, fleet.Span{From: x.From, To: x.To})
		}
		if !slices.Contains(changed, k) {
			changed = append(changed, k)
		}
	}
	return changed
}

// of is what is known of a device at a time; false: it is not registered.
func (f *replayFacts) of(k fleet.DeviceKey, at time.Time) (fleet.Facts, bool) {
	d, ok := f.registry.Device(k)
	if !ok {
		return fleet.Facts{}, false
	}
	return fleet.Facts{Device: d.Key, At: at, Model: d.Model, Firmware: d.Firmware, Hardware: d.Hardware, Batch: d.Batch, Region: d.Region,
		Station: d.Parent, Revoked: d.Revoked, Services: f.services[k], Stored: f.stored[k]}, true
}
