package wire

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

var update = flag.Bool("update", false, "write what the decoders make of testdata/golden as what they should")

var goldenNow = time.UnixMilli(1700000100000)

// decodeAs returns the lines that a payload becomes; a reading without a time gets that of 1970.
func decodeAs(f fleet.Format, payload []byte) ([]byte, error) {
	var out []byte
	line := func(r *fleet.Reading, _ []byte) error {
		r.Device, r.Model = fleet.DeviceKey{Tenant: "demo", Serial: "S-1"}, "m1"
		if r.Time.IsZero() {
			r.Time = time.UnixMilli(0)
		}
		out = AppendReading(out, r)
		return nil
	}
	var d Decoder
	err := d.Decode(f, payload, goldenNow, line)
	return out, err
}

// decodeSparkplug does the same for a message of Sparkplug.
func decodeSparkplug(payload []byte) ([]byte, error) {
	var out []byte
	_, readings, err := metrics(payload)
	for i := range readings {
		readings[i].Device, readings[i].Model = fleet.DeviceKey{Tenant: "demo", Serial: "S-1"}, "m1"
		out = AppendReading(out, &readings[i])
	}
	return out, err
}

var hexComment = regexp.MustCompile(`(?m)#.*$|\s+`)

// goldenFiles calls f with each payload in testdata/golden. A file's ending is its format; ".hex" behind it that it is
// written in hexadecimal, with comments.
func goldenFiles(t testing.TB, f func(name string, format fleet.Format, payload []byte)) {
	t.Helper()
	files, err := filepath.Glob("testdata/golden/*")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, name := range files {
		payload, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		base, isHex := strings.CutSuffix(name, ".hex")
		format, ok := fleet.ParseFormat(strings.TrimPrefix(filepath.Ext(base), "."))
		if !ok {
			continue // what is expected
		}
		if isHex {
			if payload, err = hex.DecodeString(hexComment.ReplaceAllString(string(payload), "")); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		f(name, format, payload)
	}
}

func TestGoldenPayloads(t *testing.T) {
	seen := map[fleet.Format]bool{}
	goldenFiles(t, func(name string, format fleet.Format, payload []byte) {
		seen[format] = true
		got, err := decodeAs(format, payload)
		if format == fleet.FormatSparkplug {
			got, err = decodeSparkplug(payload)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if *update {
			if err := os.WriteFile(name+".want", got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name + ".want")
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %v\ngot\n%swant\n%s", name, err, got, want)
		}
	})
	if len(seen) != len(fleet.Formats()) {
		t.Errorf("golden files of %d formats, want %d", len(seen), len(fleet.Formats()))
	}
}
