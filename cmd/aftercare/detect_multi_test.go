package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// machine is a file of a machine whose flow drops at a row; temperature has gaps, the labels and texts are no channels.
func machine(rows, drop int) string {
	var b strings.Builder
	b.WriteString("datetime;flow;temp;note;anomaly;changepoint\n")
	for i := range rows {
		flow, temp := 30+float64(i%7)/10, ""
		if i >= drop {
			flow -= 5
		}
		if i%5 > 0 {
			temp = fmt.Sprint(70 + float64(i%11)/10)
		}
		fmt.Fprintf(&b, "t%d;%g;%s;n%d;%d.0;0.0\n", i, flow, temp, i%3, i%2)
	}
	return b.String()
}

// TestDetectMultiFiles: a row for each row with commas, in the structure of the inputs; the channels found by themselves
// are the ones that could have been named; labels are none.
func TestDetectMultiFiles(t *testing.T) {
	dir := t.TempDir()
	a := put(t, filepath.Join(dir, "in", "a", "1.csv"), machine(300, 200))
	b := put(t, filepath.Join(dir, "in", "b", "1.csv"), machine(300, 999))
	args := []string{"multi", "--sep", ";", "--train-rows", "100", a, b, "--out"}
	if err := runDetect(t, append(args, filepath.Join(dir, "out"))...); err != nil {
		t.Fatal(err)
	}
	if err := runDetect(t, append(args, filepath.Join(dir, "named"), "--values", "flow,temp")...); err != nil {
		t.Fatal(err)
	}
	got, quiet := scoresIn(t, filepath.Join(dir, "out", "a", "1.csv")), scoresIn(t, filepath.Join(dir, "out", "b", "1.csv"))
	if len(got) != 301 || got[0] != "datetime,score,alarm" || got[1] != "t0,0,0" {
		t.Fatalf("%d rows, %q", len(got), got[:2])
	}
	if named := scoresIn(t, filepath.Join(dir, "named", "a", "1.csv")); strings.Join(named, "\n") != strings.Join(got, "\n") {
		t.Error("with the channels named, the answers are others")
	}
	if strings.Join(got[:201], "\n") != strings.Join(quiet[:201], "\n") {
		t.Error("what comes later changed what was said before")
	}
	for i := range got[1:] {
		alarm := strings.HasSuffix(got[i+1], ",1")
		if i < 200 && alarm || i >= 220 && !alarm || strings.HasSuffix(quiet[i+1], ",1") {
			t.Fatalf("row %d: %q, in the file without a drop %q", i, got[i+1], quiet[i+1])
		}
	}
}

func TestDetectMultiMistakes(t *testing.T) {
	dir := t.TempDir()
	good := machine(60, 99)
	for name, c := range map[string]struct {
		text string
		args []string
		want string
	}{
		"separator":  {good, []string{"--sep", "ab"}, "--sep"},
		"no numbers": {good, nil, "no column holds numbers"},
		"training":   {good, []string{"--sep", ";", "--train-rows", "3"}, "--train-rows"},
		"column":     {good, []string{"--sep", ";", "--values", "flou"}, `no column "flou"`},
		"time":       {good, []string{"--sep", ";", "--time", "when"}, `no column "when"`},
		"empty":      {"", nil, "the file is empty"},
		"text":       {good + "t;much;1;n;0;0\n", []string{"--sep", ";", "--train-rows", "50"}, "line 62"},
	} {
		t.Run(name, func(t *testing.T) {
			in := put(t, filepath.Join(dir, strings.ReplaceAll(name, " ", "")+".csv"), c.text)
			err := runDetect(t, append([]string{"multi", "--out", filepath.Join(dir, "out"), in}, c.args...)...)
			text := fmt.Sprint(err)
			if wrong, ok := err.(*problemsError); ok { //nolint:errorlint // as it is, not wrapped
				text = fmt.Sprint(wrong.problems)
			}
			if err == nil || !strings.Contains(text, c.want) {
				t.Errorf("%v, want %q", text, c.want)
			}
		})
	}
}
