package sim

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"aftercare/firmware-sim/internal/life"
)

func simulate(t *testing.T, name string, cfg Config) (string, Result) {
	t.Helper()
	cfg.Out = filepath.Join(t.TempDir(), name)
	if cfg.Start.IsZero() {
		cfg.Start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	}
	res, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Out, res
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var files = []string{"", ".devices.csv", ".facts.jsonl", ".truth.jsonl"}

func TestSameFlagsSameBytes(t *testing.T) {
	cfg := Config{Devices: 20, Days: 6, Seed: 3}
	a, _ := simulate(t, "a", cfg)
	b, _ := simulate(t, "b", cfg)
	cfg.Seed = 4
	c, _ := simulate(t, "c", cfg)
	for _, f := range files {
		if !bytes.Equal(read(t, a+f), read(t, b+f)) {
			t.Errorf("%q differs from run to run", f)
		}
		if f != ".facts.jsonl" && bytes.Equal(read(t, a+f), read(t, c+f)) {
			t.Errorf("%q is the same for another seed", f)
		}
	}
	z, _ := simulate(t, "z.gz", Config{Devices: 20, Days: 6, Seed: 3})
	r, err := gzip.NewReader(bytes.NewReader(read(t, z)))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(plain, read(t, a)) {
		t.Errorf("compressed differs: %v", err)
	}
	if _, err := os.Stat(strings.TrimSuffix(z, ".gz") + ".truth.jsonl"); err != nil {
		t.Error(err)
	}
}

// Every device belongs to the first person of a household that is in the list, households have about as many devices each, and
// without households nothing is different from before.
func TestHouseholds(t *testing.T) {
	path, res := simulate(t, "a", Config{Devices: 60, Days: 2, Seed: 3, Households: 20})
	people := map[string]bool{}
	for _, row := range strings.Split(strings.TrimSpace(string(read(t, path+".people.csv"))), "\n")[1:] {
		people[strings.Split(row, ",")[0]] = true
	}
	owned := map[string]int{}
	for _, row := range strings.Split(strings.TrimSpace(string(read(t, path+".devices.csv"))), "\n")[1:] {
		cells := strings.Split(row, ",")
		owner := cells[len(cells)-1]
		if !people[owner] || !strings.HasSuffix(owner, "-a") {
			t.Fatalf("device %s belongs to %q", cells[0], owner)
		}
		owned[owner]++
	}
	if len(owned) != 20 || len(people) < 25 {
		t.Errorf("%d households have devices, %d people", len(owned), len(people))
	}
	for who, n := range owned {
		if n < res.Devices/20 || n > res.Devices/20+1 {
			t.Errorf("%s has %d of %d devices", who, n, res.Devices)
		}
	}
}

// body is what is looked at of a payload.
type body struct {
	TS       int64
	Boot     int64
	Seq      *int64
	Online   *bool
	Code     string
	Readings []body
}

// What is sent is in order, on the topics of the devices in the list, in valid JSON, and holds what happens on real ways:
// late batches, repetitions, gaps in the numbers, new boots, clocks that are wrong.
func TestWhatIsSent(t *testing.T) {
	path, res := simulate(t, "a", Config{Devices: 30, Days: 30, Seed: 1})
	topics := map[string]bool{}
	for _, row := range strings.Split(string(read(t, path+".devices.csv")), "\n")[1:] {
		if cell := strings.Split(row, ","); len(cell) > 2 {
			topics["devices/demo/"+cell[1]+"/"+cell[0]] = true
		}
	}
	var last, lines int64
	seen, newest := map[string]int{}, map[string]int64{}
	batches, again, wrong, lostOnes, boots := 0, 0, 0, 0, 0
	sc := bufio.NewScanner(bytes.NewReader(read(t, path)))
	sc.Buffer(nil, 1<<20)
	for ; sc.Scan(); lines++ {
		at, rest, _ := strings.Cut(sc.Text(), " ")
		topic, payload, _ := strings.Cut(rest, " ")
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil || ms < last {
			t.Fatalf("line %d: sent %q after %d", lines, at, last)
		}
		last = ms
		device, class := topic[:strings.LastIndex(topic, "/")], topic[strings.LastIndex(topic, "/")+1:]
		var b body
		if err := json.Unmarshal([]byte(payload), &b); err != nil || !topics[device] || len(payload) > 64<<10 {
			t.Fatalf("line %d: %q, %d bytes, %v", lines, topic, len(payload), err)
		}
		if seen[topic+payload]++; seen[topic+payload] > 1 && class != "status" {
			again++
		}
		if len(b.Readings) > 0 {
			batches++
		}
		if class == "telemetry" && b.TS > ms+120_000 {
			wrong++
		}
		if class == "telemetry" && len(b.Readings) == 0 {
			switch n := newest[device]; {
			case b.Boot<<32+*b.Seq > n+1 && b.Boot == n>>32:
				lostOnes++
			case b.Boot > n>>32:
				boots++
			}
			newest[device] = max(newest[device], b.Boot<<32+*b.Seq)
		}
	}
	if lines != int64(res.Messages) || batches == 0 || again == 0 || wrong == 0 || lostOnes == 0 || boots <= res.Devices {
		t.Errorf("%d of %d lines; %d batches, %d repeated, %d wrong clocks, %d gaps, %d boots", lines, res.Messages, batches, again, wrong, lostOnes, boots)
	}
}

// The truth names known kinds only, has each sort of them, and its times are in order.
func TestTruth(t *testing.T) {
	path, _ := simulate(t, "a", Config{Devices: 45, Days: 80, Seed: 1})
	known := map[string]life.Kind{}
	for _, k := range life.Kinds() {
		known[k.Name] = k
	}
	sorts, ill, all := map[string]int{}, map[string]bool{}, map[string]bool{}
	for _, row := range bytes.Split(bytes.TrimSpace(read(t, path+".truth.jsonl")), []byte("\n")) {
		var l line
		if err := json.Unmarshal(row, &l); err != nil {
			t.Fatal(err)
		}
		all[l.Device] = true
		if l.Kind == "service" {
			sorts["service"]++
			continue
		}
		k, ok := known[l.Kind]
		if !ok || k.Model != "" && k.Model != l.Model || k.Abrupt != l.Abrupt || k.Component != "" && k.Component != l.Component {
			t.Errorf("%s", row)
		}
		if l.Failure != nil && (l.Failure.Before(l.Onset) || l.End != nil && l.End.Before(*l.Failure)) || l.End != nil && l.End.Before(l.Onset) {
			t.Errorf("times: %s", row)
		}
		if k.Failure == "" && l.Failure != nil {
			t.Errorf("no failure is possible: %s", row)
		}
		sorts[k.Sort()]++
		if k.Sort() == "wear" || k.Sort() == "abrupt" {
			ill[l.Device] = true
		}
	}
	for _, s := range []string{"wear", "abrupt", "due", "habit", "mishap", "healthy", "service"} {
		if sorts[s] == 0 {
			t.Errorf("nothing of sort %q", s)
		}
	}
	if share := float64(len(ill)) / float64(len(all)); share < 0.3 || share > 0.5 {
		t.Errorf("%.0f %% of the devices have a fault", 100*share)
	}
}
