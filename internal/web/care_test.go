package web

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// Facts of all devices are theirs; WM-0001 is one that much was said of.
func (s *sample) Facts(_ context.Context, key fleet.DeviceKey) (fleet.Facts, error) {
	d := s.device(key.Serial)
	f := fleet.Facts{Device: key, Model: d.Model, Firmware: d.Firmware, Hardware: d.Hardware, Batch: d.Batch, Region: d.Region}
	if key.Serial != "WM-0001" {
		return f, nil
	}
	f.Limits = map[string]float64{"washer-drain-slow.slow": 110, "washer-gone.slow": 3}
	f.Maintenance = []fleet.Span{{From: friday.AddDate(0, 0, -9), To: friday.AddDate(0, 0, -8)}, {From: friday.Add(13 * time.Hour), To: friday.Add(17 * time.Hour)}}
	f.Stored = []fleet.Span{{From: friday.Add(-time.Hour)}}
	f.Services = []fleet.Service{{Component: "drain-pump", At: friday.AddDate(0, -8, 0), By: "owner"}, {Component: "door-lock", At: friday.AddDate(0, 0, -2), By: "Elektro Huber"}}
	return f, nil
}

func (s *sample) Limit(rule, name string) (usual float64, unit string, ok bool) {
	return 90, "s", rule == "washer-drain-slow" && name == "slow"
}

var tags = regexp.MustCompile(`<[^>]*>`)

// TestDeviceShowsWhatRulesGoBy: in both languages, with units, without what is over and without what nobody said.
func TestDeviceShowsWhatRulesGoBy(t *testing.T) {
	f := newFixture(t)
	care := func(serial, l string) string {
		body := f.get(t, "/devices/demo/"+serial+"?lang="+l)
		_, body, _ = strings.Cut(body, `id="r-care"`)
		body, _, _ = strings.Cut(body, "</section>")
		_, body, _ = strings.Cut(body, "<dl")
		return strings.ReplaceAll(strings.Join(strings.Fields(tags.ReplaceAllString("<dl"+body, " ")), " "), "\u00a0", " ")
	}
	for l, want := range map[string]string{
		"en": "Firmware 1.3.2 Batch 2024-31 Region DE-BY Maintenance from tomorrow 09:04, until tomorrow 13:04 Put away now, until further notice " +
			"Serviced: drain pump 21 March 20:04 by the owner Serviced: door lock Wednesday 20:04 Elektro Huber " +
			"Own limit 110 s, usually 90 s washer-drain-slow.slow Own limit 3, no rule in force has this limit washer-gone.slow",
		"de": "Firmware 1.3.2 Charge 2024-31 Region DE-BY Wartung ab morgen 09:04, bis morgen 13:04 Eingelagert jetzt, bis auf Weiteres " +
			"Gewartet: Ablaufpumpe 21. März 20:04 durch den Besitzer Gewartet: door lock Mittwoch 20:04 Elektro Huber " +
			"Eigene Grenze 110 s, sonst 90 s washer-drain-slow.slow Eigene Grenze 3, keine geltende Regel hat diese Grenze washer-gone.slow",
	} {
		if got := care("WM-0001", l); got != want {
			t.Errorf("%s: %s\nwant %s", l, got, want)
		}
	}
	if got, want := care("WM-0002", "en"), "Firmware 1.4.2 Batch 2024-31 Region DE-BY"; got != want {
		t.Errorf("a device of which little is said: %q, want %q", got, want)
	}
	*f.device("WM-0002") = fleet.Device{Key: f.device("WM-0002").Key, Model: "washer-w7", Category: "washing-machine"}
	if body := f.get(t, "/devices/demo/WM-0002"); strings.Contains(body, "r-care") {
		t.Error("a device of which nothing is said has an empty table")
	}
}
