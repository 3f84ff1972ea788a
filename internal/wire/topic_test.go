package wire

import (
	"testing"

	"aftercare/internal/fleet"
)

func TestParseTopic(t *testing.T) {
	got, err := ParseTopic("devices/demo/washer-w7/WM-0001/telemetry")
	want := Topic{Tenant: "demo", Model: "washer-w7", Serial: "WM-0001", Class: fleet.Telemetry}
	if err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, bad := range []string{
		"", "devices", "devices/", "devices/demo/m/s", "devices/demo/m/s/telemetry/x", "devices/demo/m/s/command",
		"devices/+/m/s/telemetry", "devices/demo/m/#", "$SYS/broker", "$share/g/devices/demo/m/s/telemetry",
		"devices/de mo/m/s/telemetry", "devices/demo/m,x=1/s/telemetry", "devices/demo//s/telemetry",
		"devices/demo/m/s\n/telemetry", "xdevices/demo/m/s/telemetry",
	} {
		if _, err := ParseTopic(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func FuzzParseTopic(f *testing.F) {
	f.Add("devices/demo/washer-w7/WM-0001/telemetry")
	f.Add("devices/a/b/c/status")
	f.Fuzz(func(t *testing.T, s string) {
		topic, err := ParseTopic(s)
		if err == nil && topic.String() != s {
			t.Errorf("%q read as %q", s, topic.String())
		}
	})
}
