package gateway

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"aftercare/internal/fleet"
)

// SEC-10: wrong credentials are answered after growing delays, for this address with this user name only; what is tried
// before a delay is over is not even looked at, and the right credentials end it.
func TestSEC10Lockout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := &keys{revoked: map[string]bool{}}
		g, err := New(DefaultConfig(), Deps{Ingest: newInbox(false), Auth: auth})
		if err != nil {
			t.Fatal(err)
		}
		try := func(host, serial, password string) string {
			key := fleet.DeviceKey{Tenant: "demo", Serial: serial}
			_, no := g.authenticate(&conn{host: host}, key, key.String(), &greeting{password: password})
			return no.reason
		}
		// lockedFor is how long after a wrong try the right password is refused.
		lockedFor := func() time.Duration {
			begin := time.Now()
			for {
				asked := auth.asked
				why := try("10.0.0.1", "A1", "wrong")
				if why == ReasonCredentials {
					return time.Since(begin)
				}
				if why != ReasonBackoff || auth.asked != asked {
					t.Fatalf("answered %q, asked %d times", why, auth.asked-asked)
				}
				for host, serial := range map[string]string{"10.0.0.1": "A2", "10.0.0.2": "A1"} {
					if why := try(host, serial, "pw-"+serial); why != "" {
						t.Fatalf("%s at %s has to wait too: %s", serial, host, why)
					}
				}
				time.Sleep(time.Second / 2)
			}
		}
		delays := make([]time.Duration, 0, 12)
		for range 12 {
			delays = append(delays, lockedFor())
		}
		s := time.Second
		if want := []time.Duration{0, 0, 0, s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, 60 * s}; !slices.Equal(delays, want) {
			t.Errorf("delays %v, want %v", delays, want)
		}
		if why := try("10.0.0.1", "A1", "pw-A1"); why != ReasonBackoff {
			t.Errorf("the right password within the delay: %q", why)
		}
		time.Sleep(longestDelay)
		if why := try("10.0.0.1", "A1", "pw-A1"); why != "" {
			t.Errorf("the right password after the delay: %q", why)
		}
		for i := range freeFailures {
			if d := lockedFor(); d != 0 {
				t.Errorf("try %d after a success: locked for %v", i, d)
			}
		}
		// Many user names from one address lock out none of the others.
		for i := range 100 {
			try("10.0.0.3", fmt.Sprint("X", i), "wrong")
		}
		if why := try("10.0.0.3", "A1", "pw-A1"); why != "" {
			t.Errorf("behind a bad neighbour: %q", why)
		}
	})
}
