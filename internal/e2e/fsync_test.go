package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestNoPubackBeforeFsync: SIGKILL leaves the page cache alone, so killing proves nothing about fsync. Here strace watches the
// server's system calls: between reading a PUBLISH and writing its PUBACK, an fsync of the journal's readings must have returned
// (REL-01). With the journal's sync switched off the same check must fail, or it would prove nothing.
func TestNoPubackBeforeFsync(t *testing.T) {
	t.Run("sync always", func(t *testing.T) {
		if early, n := pubacksBeforeFsync(t); len(early) > 0 {
			t.Errorf("%d of %d PUBACKs left before the fsync; the first: %s", len(early), n, early[0])
		}
	})
	t.Run("sync switched off is noticed", func(t *testing.T) {
		if early, n := pubacksBeforeFsync(t, "--journal.sync", "interval", "--journal.durability", "relaxed"); len(early) == 0 {
			t.Errorf("none of %d PUBACKs counts as early although nothing is synced: the check is blind", n)
		}
	})
}

func pubacksBeforeFsync(t *testing.T, args ...string) (early []string, pubacks int) {
	t.Helper()
	strace := tool(t, "strace")
	dir := t.TempDir()
	h := settle(t, dir, "FS", 1)
	trace := filepath.Join(dir, "trace")
	p := start(t, dir, []string{strace, "-f", "-y", "-s", "64", "-o", trace, "-e", "trace=read,write,fsync,fdatasync"}, args...)
	c := connect(t, p, "FS-001", h.secrets["FS-001"])
	const n = 20
	for i := range n {
		if !publish(c, "FS-001", "telemetry", fmt.Sprintf(`{"ts":%d,"seq":%d,"cycles":1,"mark":%d}`, time.Now().UnixMilli(), i+1, i)) {
			t.Fatalf("message %d was not acknowledged\n%s", i, p.log)
		}
	}
	c.Disconnect(100)
	p.stop(t)
	early, pubacks = readTrace(t, trace)
	if pubacks < n {
		t.Fatalf("the trace shows %d PUBACKs of %d: it is not read rightly", pubacks, n)
	}
	return early, pubacks
}

var (
	call    = regexp.MustCompile(`^(\d+) +(\w+)\((\d+)<([^>]*)>(.*)$`)
	resumed = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)$`)
)

// readTrace goes through the trace in order. A PUBLISH that arrives puts the server in debt; a returned fsync of the readings'
// files pays it; a PUBACK that is written while in debt is early. One message is in flight at a time.
func readTrace(t *testing.T, path string) (early []string, pubacks int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	waiting := map[string]string{} // thread: the file whose fsync has not returned
	debt := false
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := resumed.FindStringSubmatch(line); m != nil {
			switch file := waiting[m[1]]; {
			case strings.HasSuffix(m[2], "sync"):
				if journalFile(file) && strings.HasSuffix(m[3], "= 0") {
					debt = false
				}
				delete(waiting, m[1])
			case m[2] == "read" && strings.Contains(m[3], "/FS-001/telemetry"):
				debt = true
			}
			continue
		}
		m := call.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		switch thread, name, file, rest := m[1], m[2], m[4], m[5]; {
		case strings.HasSuffix(name, "sync") && strings.Contains(rest, "unfinished"):
			waiting[thread] = file
		case strings.HasSuffix(name, "sync") && strings.HasSuffix(rest, "= 0"):
			if journalFile(file) {
				debt = false
			}
		case name == "read" && strings.Contains(rest, "/FS-001/telemetry"):
			debt = true
		case name == "write" && strings.HasPrefix(rest, `, "@\2\0`):
			pubacks++
			if debt {
				early = append(early, line)
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return early, pubacks
}

// journalFile says whether a path is one of the message files of the journal's stream of readings.
func journalFile(path string) bool {
	return strings.Contains(strings.ToLower(path), "readings") && strings.HasSuffix(path, ".blk")
}
