package fleetfile

import (
	"fmt"
	"strings"
	"testing"
)

const two = `{"tenant":"demo","broker":"tcp://127.0.0.1:1883","devices":[
	{"model":"base-b4","serial":"BS-1","secret":"hush","parent":""},{"model":"drill-d18","serial":"DR-1","secret":"","parent":"BS-1"}]}`

func TestChildrenSpeakThroughTheirStation(t *testing.T) {
	f, err := Parse([]byte(two))
	if err != nil {
		t.Fatal(err)
	}
	if s := f.Speakers(); len(s) != 1 || s[0].Serial != "BS-1" || f.Username(s[0]) != "demo/BS-1" {
		t.Errorf("speakers %v", s)
	}
	if c := f.Children("BS-1"); len(c) != 1 || f.Topic(c[0], "event") != "devices/demo/drill-d18/DR-1/event" {
		t.Errorf("children %v", c)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	f, err := Parse([]byte(two))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, f.Devices); strings.Contains(s, "hush") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "tenant",
		`{"tenant":"d","devices":[{"serial":"A"}]}`:                                        "devices[0]",
		`{"tenant":"d","devices":[{"serial":"A","model":"m"},{"serial":"A","model":"m"}]}`: "twice",
		`{"tenant":"d","devices":[{"serial":"A","model":"m","parent":"B"}]}`:               `"B"`,
		`{"tenant":"d","devices":[{"serial":"A","model":"m"}],"extra":1}`:                  "extra",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something about %s", text, err, want)
		}
	}
}
