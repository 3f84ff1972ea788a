package gateway

import (
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

// SEC-02: what an edge node may publish and hear in Sparkplug's name space, and nothing beyond it.
func TestSEC02SparkplugMatrix(t *testing.T) {
	in := newInbox(false)
	r := start(t, in, func(c *Config, _ *Deps) { c.MaxSubscriptions = 100 })
	d := r.device(t, 5, "B1", withWill("spBv1.0/demo/NDEATH/B1", 1, false))
	var taken []string
	id := uint16(0)
	for tp, why := range map[string]string{
		"spBv1.0/demo/NBIRTH/B1": "", "spBv1.0/demo/NDATA/B1": "", "spBv1.0/demo/NDEATH/B1": "", "spBv1.0/demo/DBIRTH/B1/T1": "",
		"spBv1.0/demo/DDATA/B1/T2": "", "spBv1.0/demo/DDEATH/B1/T1": "", "devices/demo/hub/B1/reply": "", "devices/demo/drill/T1/reply": "",
		"spBv1.0/demo/DDATA/B1/T3": ReasonTopic, "spBv1.0/demo/DDATA/B2/T1": ReasonTopic, "spBv1.0/demo/NDATA/T1": ReasonTopic,
		"spBv1.0/other/NDATA/B1": ReasonTopic, "spBv1.0/demo/NCMD/B1": ReasonTopic, "spBv1.0/demo/NDATA/B1/x": ReasonTopic,
		"spBv1.0/STATE/host": ReasonState, "spBv1.0/#": ReasonTopic, "devices/demo/drill/T3/reply": ReasonTopic,
		"devices/demo/hub/B1/" + strings.Repeat("x", 300): ReasonTopic, strings.Repeat("a/", 9) + "b": ReasonTopic,
	} {
		id++
		before := len(r.reasons())
		d.send(publish(tp, 1, id))
		if code := d.acked(id); (code == 0) != (why == "") {
			t.Errorf("%s: code %#x", tp, code)
		}
		if why == "" {
			taken = append(taken, tp)
		} else if got := r.reasons(); len(got) != before+1 || got[before] != why {
			t.Errorf("%s: refused %q, want %q", tp, got[before:], why)
		}
	}
	if got := in.topics(); !slices.Equal(got, taken) {
		t.Errorf("ingest got %q", got)
	}
	for filter, ok := range map[string]bool{
		"spBv1.0/demo/NCMD/B1": true, "spBv1.0/demo/NCMD/B1/#": true, "spBv1.0/demo/DCMD/B1/#": true, "spBv1.0/demo/DCMD/B1/+": true,
		"spBv1.0/demo/DCMD/B1/T1": true, "spBv1.0/demo/DCMD/B1/T3": false, "spBv1.0/demo/NCMD/B2": false, "spBv1.0/demo/NCMD/+": false,
		"spBv1.0/demo/DCMD/+/T1": false, "spBv1.0/demo/DCMD/#": false, "spBv1.0/demo/#": false, "spBv1.0/#": false, "#": false,
		"+/+/+/+": false, "+/+/#": false, "$share/x/#": false, "$share/x/spBv1.0/demo/NCMD/B1": false, "$SYS/#": false,
		"spBv1.0/demo/NDATA/B1": false, "spBv1.0/other/DCMD/B1/+": false, "spBv1.0/STATE/host": false, "STATE/host": false,
		"devices/demo/hub/B1/reply": false, "devices/demo/+/B1/command": false,
	} {
		if code := d.subscribe(filter); (code < 0x80) != ok {
			t.Errorf("subscribe %s: code %#x", filter, code)
		}
	}
	d.ping()
	station := fleet.DeviceKey{Tenant: "demo", Serial: "B1"}
	for _, tp := range []string{"spBv1.0/demo/NCMD/B1", "spBv1.0/demo/DCMD/B1/T2"} {
		if !r.Publish(station, tp, nil, nil) {
			t.Errorf("%s: not taken", tp)
		} else if got := d.command().TopicName; got != tp {
			t.Errorf("%s came as %s", tp, got)
		}
	}
	if r.Publish(station, "spBv1.0/demo/DCMD/B1/T3", nil, nil) {
		t.Error("a command for a device that is not its own")
	}
	if code := r.dial(t, 5).connect("demo/B1", "pw-B1", "B1-2", withWill("spBv1.0/demo/DDEATH/B1/T1", 1, false)); code != packets.ErrNotAuthorized.Code {
		t.Errorf("will of a child: code %#x", code)
	}
}
