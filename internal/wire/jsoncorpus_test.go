package wire

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scanJSON checks a text's grammar with the scanner, whatever it holds.
func scanJSON(b []byte) error {
	var d JSONDecoder
	if err := d.open(b); err != nil {
		return err
	}
	d.space()
	if err := d.skip(1); err != nil {
		return err
	}
	if d.space(); d.i != len(d.s) {
		return d.syntax("the end")
	}
	return nil
}

// TestJSONCorpus holds the scanner and the decoder against a public test suite where it is at hand (SEC-08). By the names of
// its files, y_ is JSON, n_ is not, and i_ is for us to decide. As JSON we take every y_ and no n_. corpusDecisions pins the
// rest: what becomes of an i_ file as JSON, and of both kinds as a payload, most of which are no reading.
func TestJSONCorpus(t *testing.T) {
	files, _ := filepath.Glob("../../../shared/corpora/json/test_parsing/*.json")
	if len(files) == 0 {
		t.Skip("SKIPPED: the JSON corpus is not beside the project; the tables in json_test.go cover the policy")
	}
	outcome := func(err error) string {
		if err == nil {
			return "ok"
		}
		return reasonOf(err)
	}
	seen := 0
	for _, f := range files {
		name := filepath.Base(f)
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, decoded := decode(string(b))
		asJSON, asPayload := outcome(scanJSON(b)), outcome(decoded)
		switch {
		case strings.HasPrefix(name, "n_"):
			if asJSON == "ok" || asPayload == "ok" {
				t.Errorf("%s: %s as JSON, %s as a payload", name, asJSON, asPayload)
			}
			continue
		case strings.HasPrefix(name, "y_") && asJSON != "ok":
			t.Errorf("%s is JSON, and %s to us", name, asJSON)
		}
		seen++
		if got, want := asJSON+","+asPayload, corpusDecisions[strings.TrimSuffix(name, ".json")]; got != want {
			t.Errorf("%s: %q, decided is %q", name, got, want)
		}
	}
	if seen != len(corpusDecisions) {
		t.Errorf("%d files, %d decisions", seen, len(corpusDecisions))
	}
}
