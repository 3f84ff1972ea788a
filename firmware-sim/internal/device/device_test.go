package device

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"aftercare/firmware-sim/internal/profiletest"
)

var summer = time.Date(2026, 7, 4, 9, 0, 0, 0, time.UTC).Unix()
var autumn = time.Date(2026, 11, 8, 9, 0, 0, 0, time.UTC).Unix()

func TestReadingsFitTheProfiles(t *testing.T) {
	for _, model := range Models() {
		t.Run(model, func(t *testing.T) {
			p := profiletest.Read(t, model)
			kinds := []string{""}
			for _, f := range Faults() {
				if f.Model == model {
					kinds = append(kinds, f.Kind)
				}
			}
			sent := map[string]bool{}
			for i, kind := range kinds {
				d, err := New(model, string(rune('a'+i)), 1)
				if err != nil {
					t.Fatal(err)
				}
				var r Reading
				for _, from := range []int64{summer, autumn} {
					for at := from; at < from+6*86400; at += 600 {
						m := Moment{Prev: at - 600, At: at}
						if kind != "" {
							m.Effects = Effects{{Kind: kind, Level: min(1, float64(at-from+1)/86400), Age: time.Duration(at-from) * time.Second}}
						}
						d.Read(m, &r)
						p.Check(t, &r)
						for _, f := range r.Fields {
							sent[f.Name] = true
						}
					}
				}
			}
			for name := range p.Fields {
				if !sent[name] {
					t.Errorf("nothing ever sends %q", name)
				}
			}
			for _, name := range p.Chart {
				if _, ok := p.Fields[name]; !ok {
					t.Errorf("chart names %q, which is no field", name)
				}
			}
		})
	}
}

// Every fault must be felt: in the readings, or as a code of the dictionary.
func TestEveryFaultShows(t *testing.T) {
	for _, f := range Faults() {
		if f.Code != "" {
			if _, ok := profiletest.Read(t, f.Model).FaultCodes[f.Code]; !ok {
				t.Errorf("%s: code %s is not in the dictionary of %s", f.Kind, f.Code, f.Model)
			}
			continue
		}
		d, err := New(f.Model, "x-1", 1)
		if err != nil {
			t.Fatal(err)
		}
		var well, ill Reading
		differs := false
		for at := autumn; at < autumn+5*86400 && !differs; at += 600 {
			d.Read(Moment{Prev: at - 600, At: at}, &well)
			healthy := append([]Field(nil), well.Fields...)
			d.Read(Moment{Prev: at - 600, At: at, Effects: Effects{{Kind: f.Kind, Level: 1, Age: time.Hour}}}, &ill)
			differs = !reflect.DeepEqual(healthy, ill.Fields)
		}
		if !differs {
			t.Errorf("%s changes nothing", f.Kind)
		}
	}
}

func TestReadingsAreAFunctionOfSeedAndTime(t *testing.T) {
	for _, model := range Models() {
		a, _ := New(model, "S-1", 7)
		b, _ := New(model, "S-1", 7)
		other, _ := New(model, "S-2", 7)
		var ra, rb, ro Reading
		for i := range int64(500) { // b is asked something else in between
			b.Read(Moment{Prev: summer, At: summer + i*7777}, &rb)
		}
		same := true
		for at := autumn; at < autumn+2*86400; at += 1800 {
			m := Moment{Prev: at - 1800, At: at}
			a.Read(m, &ra)
			b.Read(m, &rb)
			other.Read(m, &ro)
			if !reflect.DeepEqual(ra.Fields, rb.Fields) {
				t.Fatalf("%s at %d: %v and %v", model, at, ra.Fields, rb.Fields)
			}
			same = same && reflect.DeepEqual(ra.Fields, ro.Fields)
		}
		if same {
			t.Errorf("%s: two devices measure the same", model)
		}
	}
}

func TestCountersNeverGoDown(t *testing.T) {
	for model, names := range map[string][]string{"washer-w7": {"cycles"}, "fridge-f3": {"door_openings"}, "mower-m2": {"mowed_m2"},
		"drill-d18": {"motor_h", "pack_cycles"}, "printer-p5": {"pages", "jams"}, "laptop-l4": {"battery_cycles"},
		"ev-charger-e11": {"energy_kwh", "relay_cycles"}} {
		d, _ := New(model, "S-3", 1)
		last := map[string]float64{}
		var r Reading
		for at := summer; at < summer+9*86400; at += 300 {
			d.Read(Moment{Prev: at - 300, At: at}, &r)
			for _, n := range names {
				v, ok := r.Number(n)
				if !ok || v < last[n] {
					t.Fatalf("%s.%s went from %v to %v at %d", model, n, last[n], v, at)
				}
				last[n] = v
			}
		}
		for n, v := range last {
			if v == 0 {
				t.Errorf("%s.%s never moved", model, n)
			}
		}
	}
}

func TestJSON(t *testing.T) {
	var r Reading
	r.AddNumber("a", -1.25, 1)
	r.AddInteger("b", 7)
	r.AddBool("c", true)
	r.AddText("d", "idle")
	got := string(r.AppendJSON(nil, 1700000000123, 3, 44))
	if want := `{"ts":1700000000123,"boot":3,"seq":44,"a":-1.3,"b":7,"c":true,"d":"idle"}`; got != want {
		t.Errorf("got %s", got)
	}
	if !json.Valid([]byte(got)) {
		t.Error("not JSON")
	}
	if s, ok := r.Text("d"); !ok || s != "idle" {
		t.Errorf("text %q, %v", s, ok)
	}
}

func TestUnknownModelIsNamed(t *testing.T) {
	if _, err := New("toaster", "T-1", 1); err == nil {
		t.Error("a toaster was made")
	}
}

func BenchmarkRead(b *testing.B) {
	d, _ := New("fridge-f3", "FR-1", 1)
	var r Reading
	var buf []byte
	b.ReportAllocs()
	for i := range b.N {
		at := autumn + int64(i%2000)*600
		d.Read(Moment{Prev: at - 600, At: at}, &r)
		buf = r.AppendJSON(buf[:0], at*1000, 1, int64(i))
	}
}
