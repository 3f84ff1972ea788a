// Package device simulates what each product model measures: a reading is a pure function of the device's seed, the
// moment and the faults that are active, so that a second run continues where the first stopped.
//
// It knows neither MQTT nor files. Only firmware-sim imports it. The values stay within the ranges that the profiles in
// configs/models state; a test holds the two together.
package device

import (
	"fmt"
	"slices"
	"time"

	"aftercare/firmware-sim/internal/signal"
)

// Effect is a fault as a device feels it: its kind, how far it has grown (0 to 1) and how long it has lasted.
type Effect struct {
	Kind  string
	Level float64
	Age   time.Duration
}

// Effects are the faults active at a moment.
type Effects []Effect

// level returns how far a fault has grown, 0 when it is not there.
func (e Effects) level(kind string) float64 {
	for _, x := range e {
		if x.Kind == kind {
			return x.Level
		}
	}
	return 0
}

// age returns for how many seconds a fault has lasted, and whether it is there.
func (e Effects) age(kind string) (float64, bool) {
	for _, x := range e {
		if x.Kind == kind {
			return x.Age.Seconds(), true
		}
	}
	return 0, false
}

func (e Effects) has(kind string) bool {
	_, ok := e.age(kind)
	return ok
}

// Moment is what a reading is asked for: the time since the previous reading up to now, in seconds since 1970. What a
// device reports once (how a wash was) is in the reading whose span holds its end.
type Moment struct {
	Prev, At int64
	Effects  Effects
}

// model measures: it appends its fields to r.
type model interface {
	measure(m Moment, r *Reading)
}

// Device is one simulated product. One goroutine uses it.
type Device struct {
	Serial string
	Model  string
	m      model
}

// models lists every simulated model with its constructor.
var models = []struct {
	id    string
	build func(s signal.Seed) model
}{
	{"washer-w7", newWasher},
	{"fridge-f3", newFridge},
	{"mower-m2", newMower},
	{"drill-d18", newDrill},
	{"base-b4", newBase},
	{"printer-p5", newPrinter},
	{"laptop-l4", newLaptop},
	{"ev-charger-e11", newCharger},
}

// Models returns the ids of all simulated models.
func Models() []string {
	ids := make([]string, 0, len(models))
	for _, m := range models {
		ids = append(ids, m.id)
	}
	return ids
}

// New makes a device of a model; the error names a model that is not simulated and those that are.
func New(modelID, serial string, fleetSeed uint64) (*Device, error) {
	for _, m := range models {
		if m.id == modelID {
			return &Device{Serial: serial, Model: modelID, m: m.build(signal.NewSeed(fleetSeed, serial))}, nil
		}
	}
	return nil, fmt.Errorf("device %q: model %q is not simulated, only %v", serial, modelID, Models())
}

// Read measures at a moment. The result is valid until r is used again.
func (d *Device) Read(m Moment, r *Reading) {
	r.Fields = r.Fields[:0]
	d.m.measure(m, r)
}

// Fault is what the simulator knows of one kind of fault: which model can have it and the code the device sends for it.
type Fault struct {
	Kind  string
	Model string
	Code  string // empty: it shows in the readings only
}

var faults = []Fault{
	{"drain-slow", "washer-w7", ""},
	{"drain-blocked", "washer-w7", "E18"},
	{"inlet", "washer-w7", "E17"},
	{"leak", "washer-w7", ""},
	{"unlevel", "washer-w7", ""},
	{"cold-only", "washer-w7", ""},
	{"freezer-door", "fridge-f3", ""},
	{"fridge-door", "fridge-f3", ""},
	{"condenser-dusty", "fridge-f3", ""},
	{"compressor-start", "fridge-f3", "F7"},
	{"fan-iced", "fridge-f3", "F5"},
	{"filter-used", "fridge-f3", ""},
	{"blade-lifted", "mower-m2", ""},
	{"mower-battery-hot", "mower-m2", ""},
	{"stuck", "mower-m2", "M3"},
	{"blade-motor", "mower-m2", "M7"},
	{"blades-worn", "mower-m2", ""},
	{"stored-empty", "mower-m2", ""},
	{"pack-hot", "drill-d18", ""},
	{"gear-worn", "drill-d18", ""},
	{"electronics", "drill-d18", "D2"},
	{"pack-aged", "drill-d18", ""},
	{"base-overheated", "base-b4", ""},
	{"base-fan-still", "base-b4", ""},
	{"base-slot", "base-b4", "B2"},
	{"base-link-weak", "base-b4", ""},
	{"fuser-hot", "printer-p5", ""},
	{"fuser-dead", "printer-p5", "P6"},
	{"toner-low", "printer-p5", ""},
	{"rollers-worn", "printer-p5", ""},
	{"waste-full", "printer-p5", ""},
	{"laptop-battery-hot", "laptop-l4", ""},
	{"drive-failing", "laptop-l4", "L3"},
	{"fan-dusty", "laptop-l4", ""},
	{"laptop-battery-aged", "laptop-l4", ""},
	{"always-full", "laptop-l4", ""},
	{"plug-hot", "ev-charger-e11", ""},
	{"plug-warm", "ev-charger-e11", ""},
	{"residual", "ev-charger-e11", ""},
	{"lock", "ev-charger-e11", "C4"},
	{"relay-stuck", "ev-charger-e11", "C7"},
	{"relay-worn", "ev-charger-e11", ""},
}

// FaultOf returns what is known of a kind of fault.
func FaultOf(kind string) (Fault, bool) {
	i := slices.IndexFunc(faults, func(f Fault) bool { return f.Kind == kind })
	if i < 0 {
		return Fault{}, false
	}
	return faults[i], true
}

// Faults returns all kinds of faults.
func Faults() []Fault { return slices.Clone(faults) }
