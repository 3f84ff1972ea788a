package main

import (
	"os"
	"strings"
	"testing"
)

// TestDevicesPage: every payload that configs/devices/README.md shows to firmware developers is what lint says of it. A fence
// "json lint --class event" holds payloads, one a line, that are stored; with "fails" each of them is put into quarantine.
func TestDevicesPage(t *testing.T) {
	text, err := os.ReadFile("../../configs/devices/README.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for i, block := range strings.Split(string(text), "```") {
		info, payloads, _ := strings.Cut(block, "\n")
		_, flags, marked := strings.Cut(info, " lint")
		if i%2 == 0 || !marked {
			continue
		}
		flags, fails := strings.CutSuffix(flags, " fails")
		for _, payload := range strings.Split(strings.TrimSpace(payloads), "\n") {
			checked++
			out, err := runLint(t, payload+"\n", append([]string{"--model", "washer-w7"}, strings.Fields(flags)...)...)
			if strings.Contains(out, "QUARANTINED") != fails || (err != nil) != fails || strings.Contains(out, "time corrected\n") {
				t.Errorf("%s\n%v\n%s", payload, err, out)
			}
		}
	}
	if checked < 11 {
		t.Errorf("only %d payloads are checked", checked)
	}
}
