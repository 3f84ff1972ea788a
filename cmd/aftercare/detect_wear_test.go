package main

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pump is a file of a pump, with a value every hour, one of which is missing now and then; from a day on it takes longer and longer.
func pump(days, worn int) string {
	var b strings.Builder
	b.WriteString("at;drain_s;other\n")
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for h := range days * 24 {
		v := 50 + 5*math.Sin(float64(h)/24*2*math.Pi) + float64(h*7%5)
		if h > worn*24 {
			v *= 1 + float64(h-worn*24)/240
		}
		text := fmt.Sprint(v)
		if h%17 == 0 {
			text = ""
		}
		fmt.Fprintf(&b, "%s;%s;7\n", start.Add(time.Duration(h)*time.Hour).Format("2006-01-02 15:04:05"), text)
	}
	return b.String()
}

// TestDetectWearFiles: growth is found, what does not grow is not; several channels are judged by the worst.
func TestDetectWearFiles(t *testing.T) {
	dir := t.TempDir()
	worn := put(t, filepath.Join(dir, "in", "a", "1.csv"), pump(40, 30))
	good := put(t, filepath.Join(dir, "in", "b", "1.csv"), pump(40, 99))
	args := []string{"wear", "--time", "at", "--sep", ";", worn, good, "--out"}
	if err := runDetect(t, append(args, filepath.Join(dir, "out"), "--value", "drain_s")...); err != nil {
		t.Fatal(err)
	}
	if err := runDetect(t, append(args, filepath.Join(dir, "both"), "--values", "other,drain_s")...); err != nil {
		t.Fatal(err)
	}
	if err := runDetect(t, append(args, filepath.Join(dir, "falls"), "--value", "drain_s", "--falls")...); err != nil {
		t.Fatal(err)
	}
	got, both := scoresIn(t, filepath.Join(dir, "out", "a", "1.csv")), scoresIn(t, filepath.Join(dir, "both", "a", "1.csv"))
	if len(got) != 961 || got[0] != "timestamp,score,alarm" || got[1] != "2026-01-01 00:00:00,0,0" {
		t.Fatalf("%d rows, %q", len(got), got[:2])
	}
	if strings.Join(got, "\n") != strings.Join(both, "\n") {
		t.Error("a channel that stands still beside it changes the answers")
	}
	alarmed := func(lines []string) (n int) {
		for _, l := range lines[1:] {
			if strings.HasSuffix(l, ",1") {
				n++
			}
		}
		return n
	}
	if early, late := alarmed(got[:721]), alarmed(got[721:]); early > 0 || late < 120 {
		t.Errorf("%d rows in alarm before the pump wore, %d of 240 after", early, late)
	}
	if n := alarmed(scoresIn(t, filepath.Join(dir, "out", "b", "1.csv"))) + alarmed(scoresIn(t, filepath.Join(dir, "falls", "a", "1.csv"))); n > 0 {
		t.Errorf("%d rows in alarm of what does not wear", n)
	}
}

func TestDetectWearMistakes(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"time,value\n1,2\n":                   `line 1: there is no column "timestamp"`,
		"timestamp,v\n1,2\n":                  `line 1: there is no column "value"`,
		"timestamp,value\nsoon,2\n":           `line 2: column "timestamp": "soon" is no time`,
		"timestamp,value\n12,2\n":             `line 2: column "timestamp": "12" is no time`,
		"timestamp,value\n2026-01-01,warm\n":  `line 2: column "value": "warm" is no number`,
		"timestamp,value\n2026-01-01,1\nx,\n": `line 3: `,
	} {
		in := put(t, filepath.Join(dir, "in.csv"), text)
		if err := runDetect(t, "wear", "--out", filepath.Join(dir, "out"), in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	in := put(t, filepath.Join(dir, "in.csv"), "timestamp,value\n2026-01-01,1\n")
	if err := runDetect(t, "wear", "--sep", "ab", "--out", filepath.Join(dir, "out"), in); err == nil {
		t.Error("two characters separate nothing")
	}
}

func TestTimeOf(t *testing.T) {
	want := time.Date(2026, 1, 31, 18, 20, 0, 0, time.UTC)
	for _, cell := range []string{"2026-01-31T18:20:00Z", "2026-01-31T19:20:00+01:00", "2026-01-31 18:20:00", "2026-01-31 18:20:00.0", "2026-01-31 18:20", "2026.01.31.18.20.00", "1769883600", "1769883600.0", "1769883600000"} {
		if got, ok := timeOf(cell); !ok || !got.Equal(want) {
			t.Errorf("%q: %v, %v", cell, got, ok)
		}
	}
	for _, cell := range []string{"", "7", "1e99", "NaN", "-1e9", "31.13.2026"} {
		if got, ok := timeOf(cell); ok {
			t.Errorf("%q: %v", cell, got)
		}
	}
}
