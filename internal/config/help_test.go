package config

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// TestEverySettingIsExplained: a key without a sentence is a riddle.
func TestEverySettingIsExplained(t *testing.T) {
	all := keys(Default())
	for _, k := range all {
		if len(k.help) < 15 || strings.HasSuffix(k.help, ".") {
			t.Errorf("%s: help %q: want a sentence without a full stop", k.path, k.help)
		}
	}
	for _, c := range Common {
		if !slices.ContainsFunc(all, func(k key) bool { return k.path == c }) {
			t.Errorf("common setting %s is no setting", c)
		}
	}
	var b bytes.Buffer
	if err := Explain(&b, Default()); err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if !strings.Contains("\n"+b.String(), "\n"+k.path+"  "+k.kind()) {
			t.Errorf("%s is not explained", k.path)
		}
	}
}

func TestExplainPart(t *testing.T) {
	var b bytes.Buffer
	if err := Explain(&b, Default(), "gateway.limits", "journal.keep"); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	if strings.Count(got, ", default ") != 6 || !strings.Contains(got, "gateway.limits.device_bytes  number, default 8388608 (8 MiB)\n") ||
		!strings.Contains(got, "journal.keep  duration, default 168h (7 days)\n    readings that") {
		t.Errorf("got\n%s", got)
	}
	if err := Explain(&b, Default(), "gatway"); err == nil || !strings.Contains(err.Error(), "gatway") {
		t.Errorf("a part that there is not: %v", err)
	}
	for name, want := range map[string]string{"gatway": "did you mean gateway?", "gateway.limits.device_byte": "did you mean gateway.limits.device_bytes?", "weather.forecast": ""} {
		if got := Suggest(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestShownDefaultsAreRead: what the help shows as a default is what Load takes for the same value.
func TestShownDefaultsAreRead(t *testing.T) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Flags(fs, Common...)
	shown := 0
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			shown++
		}
		if f.DefValue == "" || strings.HasPrefix(f.Name, "bridge.enabled") {
			return
		}
		if err := fs.Set(f.Name, f.DefValue); err != nil {
			t.Error(f.Name, err)
		}
	})
	cfg, problems := Load("", nil, fs)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want, _ := Load("", nil, nil)
	for i, k := range keys(cfg) {
		if k.text() != keys(want)[i].text() {
			t.Errorf("%s: %s, want %s", k.path, k.text(), keys(want)[i].text())
		}
	}
	if shown != len(Common) {
		t.Errorf("%d flags are shown, want %d", shown, len(Common))
	}
}

func TestDurationInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 10 * time.Second: "10s", 10 * time.Minute: "10m", 90 * time.Second: "1m30s",
		720 * time.Hour: "720h", time.Hour + time.Minute: "1h1m", time.Hour + time.Second: "1h0m1s", 500 * time.Millisecond: "500ms"} {
		if got := words(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
}

var commented = regexp.MustCompile(`(?m)^( *)# ([a-z_]+: )`)

// TestShippedFileIsComplete: configs/aftercare.yaml holds every key but the secrets; with all comment signs taken away it is valid, and what
// it says is a default is one.
func TestShippedFileIsComplete(t *testing.T) {
	text, err := os.ReadFile("../../configs/aftercare.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := keys(Default())
	path := file(t, commented.ReplaceAllString(string(text), "$1$2"))
	places, problems := readFile(viper.New(), path, all)
	cfg, more := Load(path, nil, nil)
	if problems = append(problems, more...); len(problems) > 0 {
		t.Fatal(problems)
	}
	now := keys(cfg)
	for i, k := range all {
		example := k.text() == "" || k.path == "gateway.tls.client_auth"
		secret := strings.HasSuffix(k.path, ".token") || strings.HasSuffix(k.path, ".password")
		if _, there := places[k.path]; there == secret {
			t.Errorf("%s: in the file %t, want %t", k.path, there, !secret)
		}
		if !example && now[i].text() != k.text() {
			t.Errorf("%s: the file says %s, the default is %s", k.path, now[i].text(), k.text())
		}
	}
}
