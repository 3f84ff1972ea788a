package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

// send publishes with QoS 1 and, in MQTT 5, says what the payload is written in.
func (d *rawDevice) send(topic string, payload []byte, contentType string) byte {
	d.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, ProtocolVersion: d.v, TopicName: topic, PacketID: 7, Payload: payload}
	pk.Properties.ContentType = contentType
	var b bytes.Buffer
	if err := pk.PublishEncode(&b); err != nil {
		d.t.Fatal(err)
	}
	d.write(b.Bytes())
	return d.answer(packets.Puback).ReasonCode
}

// spoken is one way to say the same: two reports, the second a second later with one more wash.
type spoken struct {
	serial      string
	model       string
	contentType string
	payloads    func(t *testing.T, at time.Time) [][]byte
}

func text(s string) [][]byte { return [][]byte{[]byte(s)} }

// spokens says it in every format. What each report holds: cycles, running, power_w, water_temp_c, drum.load_kg and note.
func spokens() []spoken {
	object := func(at time.Time, cycles int) map[string]any {
		return map[string]any{"ts": at.UnixMilli(), "cycles": cycles, "running": true, "power_w": 12.5, "water_temp_c": 20, "drum": map[string]any{"load_kg": 4}, "note": "ok"}
	}
	marshal := func(t *testing.T, f func(any) ([]byte, error), v any) [][]byte {
		b, err := f(v)
		if err != nil {
			t.Error(err)
		}
		return [][]byte{b}
	}
	both := func(at time.Time) []any { return []any{object(at, 7), object(at.Add(time.Second), 8)} }
	lines := func(_ *testing.T, at time.Time) [][]byte {
		return text(fmt.Sprintf("anything,serial=OTHER cycles=7i,running=true,power_w=12.5,water_temp_c=20,drum.load_kg=4,note=\"ok\" %d\n"+
			"anything cycles=8i,running=true,power_w=12.5,water_temp_c=20,drum.load_kg=4,note=\"ok\" %d\n", at.UnixNano(), at.Add(time.Second).UnixNano()))
	}
	return []spoken{
		{"FM-JSON", "washer-w7", "", func(t *testing.T, at time.Time) [][]byte {
			return append(marshal(t, json.Marshal, object(at, 7)), marshal(t, json.Marshal, object(at.Add(time.Second), 8))...)
		}},
		{"FM-LIST", "washer-w7", "application/json; charset=utf-8", func(t *testing.T, at time.Time) [][]byte { return marshal(t, json.Marshal, both(at)) }},
		{"FM-BATCH", "washer-w7", "", func(t *testing.T, at time.Time) [][]byte {
			return marshal(t, json.Marshal, map[string]any{"readings": both(at)})
		}},
		{"FM-SENML", "washer-w7", "application/senml+json", func(_ *testing.T, at time.Time) [][]byte {
			return text(fmt.Sprintf(`[{"bn":"urn:dev:ser:FM-SENML:","bt":%d.%03d,"bver":10,"n":"cycles","v":7},{"n":"running","vb":true},{"n":"power_w","u":"W","v":12.5},
				{"n":"water_temp_c","u":"Cel","v":20},{"n":"drum/load_kg","v":4},{"n":"note","vs":"ok"},
				{"n":"cycles","v":8,"t":1},{"n":"running","vb":true,"t":1},{"n":"power_w","v":12.5,"t":1},{"n":"water_temp_c","v":20,"t":1},{"n":"drum/load_kg","v":4,"t":1},{"n":"note","vs":"ok","t":1}]`,
				at.Unix(), at.UnixMilli()%1000))
		}},
		{"FM-SENCBOR", "washer-w7", "application/senml+cbor", func(t *testing.T, at time.Time) [][]byte {
			const bn, bt, n, v, vs, vb, rel = -2, -3, 0, 2, 3, 4, 6
			type r = map[int]any
			return marshal(t, cbor.Marshal, []r{{bn: "urn:dev:ser:FM-SENCBOR:", bt: float64(at.UnixMilli()) / 1000, n: "cycles", v: 7}, {n: "running", vb: true},
				{n: "power_w", v: 12.5}, {n: "water_temp_c", v: 20}, {n: "drum/load_kg", v: 4}, {n: "note", vs: "ok"},
				{n: "cycles", v: 8, rel: 1}, {n: "running", vb: true, rel: 1}, {n: "power_w", v: 12.5, rel: 1}, {n: "water_temp_c", v: 20, rel: 1}, {n: "drum/load_kg", v: 4, rel: 1}, {n: "note", vs: "ok", rel: 1}})
		}},
		{"FM-CBOR", "washer-w7", "application/cbor", func(t *testing.T, at time.Time) [][]byte { return marshal(t, cbor.Marshal, both(at)) }},
		{"FM-LINE", "washer-w7", "text/vnd.influxdata.line-protocol", lines},
		{"FM-PROFILE", "washer-line", "", lines},
	}
}

// TestFormats: the same two reports in each format that a content type or the model's profile names are the same rows in the database, with
// the types of the profile. (SEC-08, REL-12)
func TestFormats(t *testing.T) {
	t.Parallel()
	dir, models := t.TempDir(), filepath.Join(t.TempDir(), "models")
	shipped(t, "models", models)
	write(t, filepath.Join(models, "washer-line.yaml"),
		strings.Replace(read(t, filepath.Join(models, "washer-w7.yaml")), "model: washer-w7\n", "model: washer-line\nformat: line\n", 1))
	devices := make([]fleet.Device, 0, len(spokens()))
	for _, f := range spokens() {
		devices = append(devices, fleet.Device{Key: fleet.DeviceKey{Tenant: tenant, Serial: f.serial}, Model: f.model, Region: "GB", OwnerID: ownerID})
	}
	h := settleFleet(t, dir, devices, "AFTERCARE_MODELS="+models)
	addr := freePort(t)
	p := start(t, dir, nil, "--history.embedded.listen", addr, "--models", models)
	at := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	for _, f := range spokens() {
		d := p.dial(t, 5)
		if code := d.connect(f.serial, h.secrets[f.serial], nil); code != 0 {
			t.Fatalf("%s: refused with %#x", f.serial, code)
		}
		for _, payload := range f.payloads(t, at) {
			if code := d.send("devices/"+tenant+"/"+f.model+"/"+f.serial+"/telemetry", payload, f.contentType); code != 0 {
				t.Errorf("%s: PUBACK says %#x", f.serial, code)
			}
		}
	}
	var aside struct {
		Quarantined []struct{ Serial, Reason, Detail string }
	}
	if p.api(t, "/quarantine", &aside); len(aside.Quarantined) > 0 {
		t.Errorf("put aside: %+v", aside.Quarantined)
	}
	db := database(t, dir, addr)
	for _, f := range spokens() {
		eventually(t, 20*time.Second, func() error { return sameReports(db.of(f.model, f.serial), f.serial, at) })
	}
	for model := range map[string]bool{"washer-w7": true, "washer-line": true} {
		want := map[string]string{"cycles": "integer", "running": "boolean", "power_w": "float", "water_temp_c": "float", "drum.load_kg": "float", "note": "string"}
		got := db.types(model)
		for field, typ := range want {
			if got[field] != typ {
				t.Errorf("%s of %s is stored as %q, want %q", field, model, got[field], typ)
			}
		}
		if len(got) != len(want) {
			t.Errorf("the fields of %s: %v", model, got)
		}
	}
	p.conserved(t)
}

// sameReports says what is wrong with the rows of one device.
func sameReports(rows []map[string]any, serial string, at time.Time) error {
	if len(rows) != 2 {
		return fmt.Errorf("%s: %d rows, want 2: %v", serial, len(rows), rows)
	}
	for i, row := range rows {
		want := fmt.Sprint(map[string]any{"measurement": row["measurement"], "serial": serial, "tenant": tenant, "time": at.Add(time.Duration(i) * time.Second).UnixNano(),
			"cycles": 7 + i, "running": true, "power_w": 12.5, "water_temp_c": 20, "drum.load_kg": 4, "note": "ok"})
		if got := fmt.Sprint(row); got != want {
			return fmt.Errorf("%s: row %d is\n%s, want\n%s", serial, i, got, want)
		}
	}
	return nil
}
