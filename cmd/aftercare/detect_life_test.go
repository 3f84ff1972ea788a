package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDetectLifeFiles: what is left of an even way is foreseen, in rows, in the unit of a counter or in days.
func TestDetectLifeFiles(t *testing.T) {
	dir := t.TempDir()
	var b strings.Builder
	b.WriteString("cycle,at,capacity\n")
	for i := range 100 {
		v := fmt.Sprint(2 - float64(i)/100 + float64(i*7%5)/1000)
		if i == 40 {
			v = ""
		}
		fmt.Fprintf(&b, "%d,%s,%s\n", i*3, time.Date(2026, 1, 1+i, 6, 0, 0, 0, time.UTC).Format("2006-01-02 15:04:05"), v)
	}
	in := put(t, filepath.Join(dir, "in", "cells", "1.csv"), b.String())
	for args, want := range map[string][]string{
		"":             {"51,1.5", "10.2"},
		"--time cycle": {"150,1.5", "30.6"},
		"--time at":    {"2026-02-20 06:00:00,1.5", "10.2"},
	} {
		out := filepath.Join(dir, "out"+args)
		if err := runDetect(t, append(strings.Fields("life --value capacity --limit 1.4 "+args), "--out", out, in)...); err != nil {
			t.Fatal(err)
		}
		got := scoresIn(t, filepath.Join(out, "cells", "1.csv"))
		if len(got) != 101 || got[0] != "time,value,remaining,low,high" || !strings.HasSuffix(got[5], ",,,") {
			t.Fatalf("%q: %d rows, %q", args, len(got), got[:6])
		}
		c := strings.Split(got[51], ",")
		var left, low, high, about float64
		_, _ = fmt.Sscan(strings.Join(append(c[2:], want[1]), " "), &left, &low, &high, &about)
		if c[0]+","+c[1] != want[0] || left < about*0.85 || left > about*1.15 || !(low > 0 && low < left && high > left) {
			t.Errorf("%q: %q, want %q and about %s left", args, got[51], want[0], want[1])
		}
		if !strings.HasSuffix(got[100], ",0,0,0") {
			t.Errorf("%q: beyond the limit %q", args, got[100])
		}
	}
}

func TestDetectLifeMistakes(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	in := put(t, filepath.Join(dir, "in.csv"), "cycle,value\n1,2\nsoon,2\n3,low\n")
	for args, want := range map[string]string{
		"--limit NaN":              "1 mistake",
		"--limit 1":                `line 4: column "value": "low" is no number`,
		"--limit 1 --time cycle":   `line 3: column "cycle": "soon" is neither a number nor a time`,
		"--limit 1 --time hours":   `there is no column "hours"`,
		"--limit 1 --value litres": `there is no column "litres"`,
		"--value value":            "limit",
	} {
		if err := runDetect(t, append(strings.Fields("life "+args), "--out", out, in)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
