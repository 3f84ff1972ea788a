package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func runDetect(t *testing.T, args ...string) error {
	t.Helper()
	root := newRoot()
	root.SetArgs(append([]string{"detect"}, args...))
	return root.ExecuteContext(t.Context())
}

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func scoresIn(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// TestDetectAnomalyFiles: a row for each row, in the structure of the inputs, and no row depends on those below it.
func TestDetectAnomalyFiles(t *testing.T) {
	dir := t.TempDir()
	head := "timestamp,value\n" + strings.Repeat("a,1\nb,2\nc,\n", 100)
	one := put(t, filepath.Join(dir, "in", "x", "1.csv"), head)
	two := put(t, filepath.Join(dir, "in", "y", "1.csv"), "\ufeff"+head+"d,900\n")
	if err := runDetect(t, "anomaly", "--out", filepath.Join(dir, "out"), one, two); err != nil {
		t.Fatal(err)
	}
	short, long := scoresIn(t, filepath.Join(dir, "out", "x", "1.csv")), scoresIn(t, filepath.Join(dir, "out", "y", "1.csv"))
	if len(short) != 301 || len(long) != 302 || short[0] != "timestamp,score" || short[3] != "c,0" {
		t.Fatalf("%d and %d rows, %q, %q", len(short), len(long), short[0], short[3])
	}
	if strings.Join(short, "\n") != strings.Join(long[:301], "\n") {
		t.Error("what comes later changed what was said before")
	}
	if err := runDetect(t, "anomaly", "--out", filepath.Join(dir, "out3"), two); err != nil {
		t.Fatal(err)
	}
	if got := scoresIn(t, filepath.Join(dir, "out3", "y", "1.csv")); len(got) != 302 {
		t.Errorf("%d rows", len(got))
	}
	t.Chdir(filepath.Join(dir, "in"))
	if err := runDetect(t, "anomaly", "--out", "../out2", "x/1.csv"); err != nil {
		t.Fatal(err)
	}
	if got := scoresIn(t, "../out2/x/1.csv"); len(got) != 301 {
		t.Errorf("%d rows", len(got))
	}
}

// TestDetectAnomalyMistakes: what is wrong with a file is said with the file and the line, and nothing half is left.
func TestDetectAnomalyMistakes(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	for text, want := range map[string]string{
		"":                                 "the file is empty",
		"time,value\n1,2\n":                `line 1: there is no column "timestamp", only ["time" "value"]`,
		"timestamp,v\n1,2\n":               `line 1: there is no column "value"`,
		"timestamp,value\n1,2\n2,warm\n":   `line 3: column "value": "warm" is no finite number`,
		"timestamp,value\n1,NaN\n":         `line 2: column "value": "NaN" is no finite number`,
		"timestamp,value\n1,1e999\n":       `line 2: column "value": "1e999" is no finite number`,
		"timestamp,value\n1,2\n3\n":        "wrong number of fields",
		"timestamp,value\n1,\"2\n":         "quote",
		"timestamp,value\n\"a\nb\",1\n1,x": "line 4: ",
	} {
		in := put(t, filepath.Join(dir, "in.csv"), text)
		err := runDetect(t, "anomaly", "--out", out, in)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), in) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if left, _ := filepath.Glob(filepath.Join(out, "*", "*")); len(left) != 0 {
			t.Errorf("%q left %v", text, left)
		}
	}
	in := put(t, filepath.Join(dir, "in.csv"), "timestamp,value\n1,2\n")
	if err := runDetect(t, "anomaly", "--out", filepath.Dir(dir), in); err == nil {
		t.Error("the input was overwritten")
	}
	if err := runDetect(t, "anomaly", "--out", out, in, in); err == nil {
		t.Error("two answers for one place")
	}
	if err := runDetect(t, "anomaly", "--out", out, filepath.Join(dir, "none.csv")); err == nil {
		t.Error("a file that is not there")
	}
}
