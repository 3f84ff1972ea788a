package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// onTheMill are the flags for the machine and the rules that the detectors are measured with.
var onTheMill = strings.Fields("rules --model mill-a1 --models testdata/mill/models --rules.dir testdata/mill/rules --sep ;")

// TestDetectRulesMill: each documented way to fail holds at the rows that are beyond its limits, and at no others.
func TestDetectRulesMill(t *testing.T) {
	dir := t.TempDir()
	in := put(t, filepath.Join(dir, "in", "mill", "1.csv"), `product;Type;air_k;process_k;speed_rpm;torque_nm;wear
a;L;298;308;1500;40;0
b;L;302;310.5;1379;40;0
c;L;302;310.5;1380;40;0
d;L;302;310.7;1300;40;0
e;L;298;308;1500;22;0
f;L;298;308;1500;23;0
g;L;298;308;2000;43;0
h;L;298;308;1500;50;221
i;M;298;308;1500;50;221
j;M;298;308;1500;50;241
k;H;298;308;1500;50;241
l;H;298;308;1500;50;261
m;H;;308;1500;;
`)
	want := "time,mill-heat,mill-overstrain,mill-power 1,0,0,0 2,1,0,0 3,0,0,0 4,0,0,0 5,0,0,1 6,0,0,0 7,0,0,1 8,0,1,0 9,0,0,0 10,0,1,0 11,0,0,0 12,0,1,0 13,0,0,0"
	if err := runDetect(t, append(onTheMill, "--device", "product", "--columns", "variant=Type,tool_min=wear", "--out", filepath.Join(dir, "out"), in)...); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(scoresIn(t, filepath.Join(dir, "out", "mill", "1.csv")), " "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestDetectRulesAsOnTheServer: an event opens what an all-clear ends, and times are those of the rows.
func TestDetectRulesAsOnTheServer(t *testing.T) {
	dir := t.TempDir()
	in := put(t, filepath.Join(dir, "in.csv"), `at,cycles,code
2026-03-01 10:00:00,7,
2026-03-01 10:10:00,7,E23
2026-03-01 10:20:00,7,
2026-03-01 10:30:00,7,OK
2026-03-01 10:40:00,7,
`)
	if err := runDetect(t, "rules", "--model", "washer-w7", "--time", "at", "--code", "code", "--out", filepath.Join(dir, "out"), in); err != nil {
		t.Fatal(err)
	}
	found, _ := filepath.Glob(filepath.Join(dir, "out", "*", "in.csv"))
	if len(found) != 1 {
		t.Fatal(found)
	}
	got := scoresIn(t, found[0])
	open := make([]string, len(got)-1)
	for i, l := range got[1:] {
		at, flags, _ := strings.Cut(l, ",")
		if !strings.HasPrefix(at, "2026-03-01 10:") {
			t.Errorf("row %q", l)
		}
		open[i] = strings.Join(strings.Split(flags, ","), "")
	}
	none := strings.Repeat("0", len(open[0]))
	if open[0] != none || strings.Count(open[1], "1") == 0 || open[2] != open[1] || open[3] != none || open[4] != none {
		t.Errorf("%q", got)
	}
}

func TestDetectRulesMistakes(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	in := put(t, filepath.Join(dir, "in.csv"), "at;speed_rpm;air_k;tool\n2026-01-01;1500;300;x\n2026-01-01;1500;1;x\nsoon;fast;300;x\n")
	for args, want := range map[string]string{
		"":                           `line 3: column "air_k": 1 is outside of what the profile allows, 200 to 400`,
		"--columns air_k=tool":       `line 2: column "tool": "x" is no number`,
		"--columns air_k=wear":       `there is no column "wear"`,
		"--columns air=wear":         "1 mistake",
		"--every -1m":                "1 mistake",
		"--model mower":              "1 mistake",
		"--time hour":                `there is no column "hour"`,
		"--time at --every 1m":       "none of the others can be",
		"--time tool":                `line 2: column "tool": "x" is no time`,
		"--rules.dir testdata/no":    "1 mistake",
		"--rules.dir testdata/other": "1 mistake",
	} {
		err := runDetect(t, append(append(onTheMill, strings.Fields(args)...), "--out", out, in)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
