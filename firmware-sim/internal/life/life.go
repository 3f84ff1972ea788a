package life

import (
	"fmt"
	"math"
	"slices"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

// Condition is a line of the truth: what was the matter from when to when. Times are seconds since 1970, 0 is never.
type Condition struct {
	Kind, Component     string
	Onset, Failure, End int64
	Abrupt              bool
}

// Service is a repair or a new part, entered when it was done.
type Service struct {
	At        int64
	Component string
}

// Event is a code that a device sends. At is in milliseconds since 1970.
type Event struct {
	At   int64
	Code string
}

// machine is the physics of one model: it advances its state from l.prev to l.at and says what it measures.
type machine interface {
	step(l *Life, r *device.Reading)
	// renewed is told that a fault was mended or a part replaced.
	renewed(l *Life, kind string)
}

// Life is one device from the start of the simulation on. One goroutine uses it.
type Life struct {
	Serial, Model string
	Home          *Home
	Firmware      string
	Interval      int64 // seconds between two reports
	Conditions    []Condition
	Services      []Service

	seed     signal.Seed
	m        machine
	start    int64
	prev, at int64
	faults   []*fault
	parts    []*part
	spells   spells
	blips    []blip
	known    []string // codes that were told and not taken back
	events   []Event
}

// blip is a code that goes away by itself.
type blip struct {
	code  string
	until int64
}

// models lists the constructors; each draws the device's own level from the seed.
var models = []struct {
	id       string
	interval int64
	build    func(l *Life) machine
}{
	{washer, 600, newWasher}, {fridge, 600, newFridge}, {mower, 600, newMower}, {drill, 600, newDrill}, {base, 600, newBase},
	{printer, 600, newPrinter}, {laptop, 600, newLaptop}, {charger, 600, newCharger}, {car, 1800, newCar},
}

// New makes a device that is switched on at start.
func New(model, serial string, seed uint64, home *Home, start int64) (*Life, error) {
	for _, m := range models {
		if m.id == model {
			l := &Life{Serial: serial, Model: model, Home: home, Interval: m.interval, Firmware: "2.3.0", seed: signal.NewSeed(seed, serial),
				start: start, at: start - m.interval}
			l.m = m.build(l)
			return l, nil
		}
	}
	return nil, fmt.Errorf("device %q: model %q is not simulated", serial, model)
}

// Step advances the device to a moment (seconds since 1970) and measures. Events are the codes it sends before the reading;
// they and r are valid until the next step.
func (l *Life) Step(at int64, r *device.Reading) []Event {
	l.prev, l.at = l.at, at
	l.events = l.events[:0]
	r.Fields = r.Fields[:0]
	l.mend()
	for _, f := range l.faults {
		f.await(l)
		if f.kind.pace == byTime {
			f.grow(l, float64(at-max(l.prev, min(f.start, at)))/signal.Day)
		}
	}
	l.m.step(l, r)
	l.glitch(r)
	l.judge()
	l.announce()
	return l.events
}

// Close ends the simulation at a moment: what is still the matter becomes a condition without an end.
func (l *Life) Close(at int64) {
	for _, f := range l.faults {
		if f.start < at && f.ended == 0 {
			l.Conditions = append(l.Conditions, f.condition(0))
		}
	}
	for _, p := range l.parts {
		if p.onset != 0 {
			l.Conditions = append(l.Conditions, p.condition(0))
		}
	}
	for _, x := range l.allSpells() {
		if x.From < at {
			l.Conditions = append(l.Conditions, Condition{Kind: x.Kind, Onset: x.From, End: min(x.To, at)})
		}
	}
	slices.SortStableFunc(l.Conditions, func(a, b Condition) int { return int(a.Onset - b.Onset) })
}

// allSpells returns what is odd or habit for this device: its own spells, and those of its home and the weather that it feels.
func (l *Life) allSpells() spells {
	all := slices.Clone(l.spells)
	for _, x := range append(slices.Clone(l.Home.spells), l.Home.weather.spells...) {
		if felt(l.Model, x.Kind) {
			all = append(all, x)
		}
	}
	return all
}

// felt says whether a model takes part in what happens to its home.
func felt(model, kind string) bool {
	switch kind {
	case "healthy/party":
		return model == washer || model == fridge
	case "healthy/busy":
		return model == printer || model == drill || model == car || model == charger || model == laptop
	case "healthy/heat-wave", "healthy/cold-snap":
		return model != washer && model != printer
	default:
		return true
	}
}

// on reports whether the device or its home is in a spell.
func (l *Life) on(kind string) bool { return l.onAt(kind, l.at) }

func (l *Life) onAt(kind string, at int64) bool {
	_, ok := l.spells.now(kind, at)
	return ok || l.Home.now(kind, at)
}

// work is how much is done on a day (its noon) against a usual one.
func (l *Life) work(day int64) float64 {
	noon := signal.At(day, 12)
	switch {
	case l.onAt("healthy/holiday", noon) || l.onAt("healthy/move", noon):
		return 0
	case l.onAt("healthy/busy", noon):
		return 2.2
	default:
		return 1
	}
}

// Off reports whether the device is switched off at the moment of its last step.
func (l *Life) Off() bool {
	if l.on("healthy/move") {
		return true
	}
	_, hour := signal.LocalDay(l.at)
	own := l.seed.U(990, 0)
	switch l.Model {
	case washer, laptop:
		night := hour < 5.5 || hour > 23.2
		return own < 0.4 && l.on("healthy/holiday") || own > 0.7 && night
	case printer:
		return own < 0.4 && (hour < 6.8 || hour > 19) || own < 0.6 && l.on("healthy/holiday")
	case base, drill:
		return false
	case mower:
		// One that runs empty in its rest was left on: from one that is off nobody could know.
		drains := slices.ContainsFunc(l.faults, func(f *fault) bool { return f.kind.Name == "mower/stored-empty" })
		return own < 0.4 && !drains && l.on("healthy/winter-storage")
	default:
		return false
	}
}

// Link returns how the device's clock is wrong, in seconds; mostly 0.
func (l *Life) ClockOff() int64 {
	if x, ok := l.spells.now("healthy/clock-jump", l.at); ok {
		return int64(l.seed.Between(991, x.From, 0.3, 30) * signal.Hour)
	}
	return 0
}

// updated is 1 once the firmware update with the slight shift is in.
func (l *Life) updated() float64 {
	for _, x := range l.spells {
		if x.Kind == "healthy/firmware" && l.at >= x.From {
			return 1
		}
	}
	return 0
}

// Update returns when the device takes its update, 0 for never.
func (l *Life) Update() int64 {
	for _, x := range l.spells {
		if x.Kind == "healthy/firmware" {
			return x.From
		}
	}
	return 0
}

func (l *Life) noise(ch uint32, period int64) float64 { return l.seed.Noise(ch, l.at/period) }

// chance draws once for this step: true with a rate a day.
func (l *Life) chance(ch uint32, perDay float64) bool {
	return l.seed.U(ch, l.at/60) < 1-math.Exp(-perDay*float64(l.at-l.prev)/signal.Day)
}

// required lists what a reading must hold; anything else may be missing now and then.
var required = map[string][]string{
	washer: {"cycles"}, fridge: {"fridge_c", "freezer_c"}, mower: {"state", "battery_pct"}, drill: {"charge_pct", "pack_c"}, base: {"temp_c"},
	printer: {"pages"}, laptop: {"charge_pct"}, charger: {"state", "power_kw"}, car: {"odometer_km", "battery_12v_v"},
}

// Required reports whether a model's reading is refused without a field.
func Required(model, field string) bool { return slices.Contains(required[model], field) }

// Hears reports whether a base station hears its tools.
func (l *Life) Hears() bool { return !l.down("base/antenna-fade") }

// Away reports whether a tool is where its base station cannot hear it.
func (l *Life) Away() bool {
	d, ok := l.m.(*drills)
	return ok && d.away(l)
}

// Stored returns when the device is put away for the winter.
func (l *Life) Stored() []Spell {
	var out []Spell
	for _, x := range l.spells {
		if x.Kind == "healthy/winter-storage" {
			out = append(out, x)
		}
	}
	return out
}
