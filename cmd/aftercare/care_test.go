package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatRulesKnowOfADeviceIsSaidAndShown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	call(t, dir, 0, "device", "add", "WM-1", "--model", "washer-w7")
	call(t, dir, 0, "device", "service", "WM-1", "drain-pump", "--at", "2026-03-31T08:00:00Z", "--by", "owner")
	call(t, dir, 0, "device", "maintenance", "WM-1", "--from", "2030-03-31T08:00:00Z", "--to", "2030-03-31T12:00:00Z")
	call(t, dir, 0, "device", "store", "WM-1", "--from", "2026-01-01T00:00:00Z")
	for _, bad := range [][]string{
		{"service", "WM-1", "pump"}, {"service", "none", "drain-pump"}, {"service", "WM-1", "drain-pump", "--at", "tomorrow"}, {"store", "WM-1"},
		{"maintenance", "WM-1", "--from", "2030-04-02", "--to", "2030-04-01"}, {"set", "WM-1"}, {"set", "WM-1", "--limit", "no-such-rule.slow=1"},
		{"set", "WM-1", "--limit", "washer-drain-slow.slow"}, {"set", "WM-1", "--unset", "washer-drain-slow.slow"}, {"maintenance", "WM-1", "--end", "--to", "2030-04-01"},
	} {
		call(t, dir, 1, append([]string{"device"}, bad...)...)
	}
	text := call(t, dir, 0, "device", "show", "WM-1")
	for _, want := range []string{"maintenance     from 2030-03-31T08:00:00Z to 2030-03-31T12:00:00Z", "put away        from 2026-01-01T00:00:00Z until further notice",
		"drain-pump  2026-03-31T08:00:00Z  owner", "cli  storage_changed"} {
		if !strings.Contains(squeeze(text), squeeze(want)) {
			t.Errorf("show lacks %q\n%s", want, text)
		}
	}
	call(t, dir, 0, "device", "store", "WM-1", "--end")
	call(t, dir, 1, "device", "store", "WM-1", "--end")
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }
