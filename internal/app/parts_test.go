package app

import (
	"context"
	"testing"
)

// TestPresenceAndCommandsAreWhereADoorIs: a process of other roles hears no device; its presence would call all of them silent.
func TestPresenceAndCommandsAreWhereADoorIs(t *testing.T) {
	for _, c := range []struct {
		roles   []string
		enabled bool // the bridge
		want    bool
	}{
		{[]string{"gateway"}, false, true},
		{[]string{"bridge", "web"}, true, true},
		{[]string{"bridge", "web"}, false, false},
		{[]string{"rules", "cases", "web"}, true, false},
	} {
		s := &server{}
		s.cfg.Roles, s.cfg.Bridge.Enabled = c.roles, c.enabled
		if got := s.atDoor(func(context.Context) error { return nil }) != nil; got != c.want {
			t.Errorf("roles %v, bridge enabled %v: runs %v, want %v", c.roles, c.enabled, got, c.want)
		}
	}
}
