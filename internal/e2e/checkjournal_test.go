package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCheckJournal: check --journal verifies the records of a stopped server, says in words what is damaged and changes nothing; it
// refuses while a server runs, and where there is no journal. (REL-05)
func TestCheckJournal(t *testing.T) {
	dir := t.TempDir()
	h := settle(t, dir, "CJ", 1)
	check := func(code int, words ...string) {
		t.Helper()
		got, out := aftercare(t, nil, "check", "--journal", "--data", dir)
		if got != code {
			t.Errorf("check --journal ends with %d, want %d\n%s", got, code, out)
		}
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("the answer does not say %q\n%s", w, out)
			}
		}
	}
	check(1, "no journal")
	p := start(t, dir, nil, "--roles", "gateway,web")
	c := connect(t, p, "CJ-001", h.secrets["CJ-001"])
	for i := range 20 {
		if !publish(c, "CJ-001", "telemetry", fmt.Sprintf(`{"ts":%d,"boot":1,"seq":%d,"cycles":1}`, time.Now().UnixMilli(), i+1)) {
			t.Fatalf("message %d was not acknowledged\n%s", i, p.log)
		}
	}
	check(1, "in use by process")
	p.conserved(t)
	p.stop(t)
	check(0, "no mistakes", "no damage")

	files, err := filepath.Glob(filepath.Join(dir, "journal", "jetstream", "*", "streams", "readings", "msgs", "*.blk"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the journal's files are not where the test looks: %v, %v", files, err)
	}
	whole := read(t, files[0])
	middle := strings.LastIndex(whole[:len(whole)/2], "CJ-001")
	write(t, files[0], whole[:middle]+"D"+whole[middle+1:]) // C and D differ in three bits
	check(1, "LOST: record ", "damaged, places: 1")
	bit := []byte(whole)
	bit[middle] ^= 4
	write(t, files[0], string(bit))
	check(1, "a flipped bit in record ", "nothing is lost")
	if got := read(t, files[0]); got != string(bit) {
		t.Error("check changed the file")
	}
	write(t, files[0], whole+"unfinished")
	check(0, "10 bytes of an unfinished record", "no damage")
	write(t, files[0], whole[:strings.LastIndex(whole, "CJ-001")])
	check(1, "MISSING: ", " of readings; the file was cut")
	write(t, files[0], whole)
	check(0, "no damage")
	if _, err := os.Stat(filepath.Join(dir, "journal", "damaged")); err == nil {
		t.Error("check left something behind")
	}
}
