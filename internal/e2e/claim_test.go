package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOneServerOnOneFolder: a second server on a data folder, or on taken addresses, ends at once with a sentence that says
// what to do, before it has touched anything; the first goes on.
func TestOneServerOnOneFolder(t *testing.T) {
	dir := t.TempDir()
	h := settle(t, dir, "OF", 1)
	p := start(t, dir, nil)
	c := connect(t, p, "OF-001", h.secrets["OF-001"])
	other := filepath.Join(t.TempDir(), "other")
	for _, x := range []struct {
		name string
		args []string
		want string
	}{
		{"folder", []string{"--data", dir, "--owner.listen", "127.0.0.1:0", "--web.listen", "127.0.0.1:0", "--gateway.listen", "127.0.0.1:0"}, "is in use by process"},
		{"pages", []string{"--data", other, "--owner.listen", "127.0.0.1:0", "--web.listen", strings.TrimPrefix(p.web, "http://"), "--gateway.listen", "127.0.0.1:0"}, "--web.listen"},
		{"devices", []string{"--data", other, "--owner.listen", "127.0.0.1:0", "--web.listen", "127.0.0.1:0", "--gateway.listen", p.mqtt}, "--gateway.listen"},
	} {
		out, err := exec.CommandContext(t.Context(), program(t, "aftercare"), append([]string{"serve"}, x.args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), x.want) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: %v, said %q", x.name, err, out)
		}
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("a server that could not start made a data folder")
	}
	if !publish(c, "OF-001", "telemetry", `{"seq":1,"cycles":1}`) {
		t.Error("the first server does not acknowledge any more")
	}
	p.stop(t)
	start(t, dir, nil).stop(t) // the lock ended with its holder
}
