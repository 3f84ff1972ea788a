// Package life plays what happens to a fleet over months: homes, seasons and habits, wear that grows with use, failures and
// repairs, and what is odd but healthy. Its devices have a memory and are stepped through time, unlike those of package device,
// which are functions of the moment so that the demo can go on after a restart.
//
// It does no input or output and knows nothing of the server or its rules. Only firmware-sim imports it.
package life

import (
	"slices"
	"strings"
)

// pace is what a fault's growth is counted in.
type pace uint8

const (
	byUse  pace = iota // typical days of use: a washer that is used twice as much wears twice as fast
	byTime             // days
	byHand             // the model says how far it is
)

// Kind is one thing that can be the matter with a device, faulty or not. Days are typical days from onset to failure.
type Kind struct {
	Name      string // "washer/drain-clog"; "healthy/..." must not alarm
	Model     string // empty: several models
	Component string // of the model's profile, where it has one
	Code      string // what the device sends once it has failed
	Abrupt    bool   // seconds to hours of warning, or none
	Habit     bool   // what the owner does; it never fails
	Mishap    bool   // a small thing that is over soon and that the device says itself: true to tell, not wrong to keep quiet about
	Due       bool   // a part at the end of its life; part of every device's life, not drawn
	pace      pace
	days      [2]float64 // from onset to failure, drawn per device; abrupt kinds too
	shape     [2]float64 // growth: level = progress^shape; above 1 it is slow at first
	repair    [2]float64 // days from failure to repair
	Onset     string     // how onset and failure are defined
	Failure   string
}

const wearOnset = "the part begins to wear beyond what is usual"

// kinds lists everything that the truth file may name.
var kinds = []Kind{
	{Name: "washer/drain-clog", Model: washer, Component: "drain-pump", Code: "E18", days: [2]float64{16, 60}, shape: [2]float64{1.3, 2.2}, repair: [2]float64{1, 6},
		Onset: "lint begins to fill the filter faster than it is washed out", Failure: "the water does not drain, E18"},
	{Name: "washer/bearing-wear", Model: washer, Component: "tub-bearing", days: [2]float64{30, 80}, shape: [2]float64{1.6, 2.6}, repair: [2]float64{4, 14},
		Onset: wearOnset, Failure: "the drum shakes so much that the owner stops using it"},
	{Name: "washer/heater-scale", Model: washer, Component: "heating-element", Code: "E27", days: [2]float64{30, 80}, shape: [2]float64{1.1, 1.8}, repair: [2]float64{3, 10},
		Onset: "scale begins to keep washes below the temperature that was chosen", Failure: "the heater burns out, E27"},
	{Name: "washer/door-lock-wear", Model: washer, Component: "door-lock", Code: "E12", days: [2]float64{15, 50}, shape: [2]float64{1, 1.6}, repair: [2]float64{2, 8},
		Onset: "the lock begins to fail now and then (intermittent E12)", Failure: "it does not lock any more"},
	{Name: "washer/hose-leak", Model: washer, Code: "E23", Abrupt: true, days: [2]float64{0, 0}, repair: [2]float64{1, 4},
		Onset: "water runs into the base", Failure: "at once: leak, E23"},
	{Name: "washer/inlet-blocked", Model: washer, Code: "E17", Abrupt: true, days: [2]float64{0, 0}, repair: [2]float64{0.1, 2},
		Onset: "the tap is closed or the sieve blocked", Failure: "at once, E17"},
	{Name: "washer/cold-only", Model: washer, Habit: true, Onset: "the owner begins to wash at 30 °C only"},
	{Name: "washer/part-due", Model: washer, Due: true, Onset: due, Failure: overdue},

	{Name: "fridge/condenser-dust", Model: fridge, days: [2]float64{35, 90}, shape: [2]float64{1.1, 1.9}, repair: [2]float64{2, 9}, pace: byTime,
		Onset: "dust begins to cover the condenser faster than usual", Failure: "the compressor runs without a break and the cold does not hold"},
	{Name: "fridge/seal-wear", Model: fridge, Component: "door-seal", days: [2]float64{25, 80}, shape: [2]float64{1.2, 2}, repair: [2]float64{3, 12},
		Onset: "the seal begins to gape", Failure: "the fridge stands 4 K above its usual temperature"},
	{Name: "fridge/refrigerant-loss", Model: fridge, days: [2]float64{15, 50}, shape: [2]float64{1.3, 2.4}, repair: [2]float64{3, 12}, pace: byTime,
		Onset: "refrigerant begins to escape", Failure: "the freezer stands 9 K above its usual temperature"},
	{Name: "fridge/fan-ice", Model: fridge, Component: "freezer-fan", Code: "F5", days: [2]float64{10, 40}, shape: [2]float64{1, 1.7}, repair: [2]float64{2, 7}, pace: byTime,
		Onset: "ice begins to stop the fan for hours now and then (intermittent)", Failure: "it stands still, F5"},
	{Name: "fridge/start-relay", Model: fridge, Code: "F7", days: [2]float64{5, 30}, shape: [2]float64{0.9, 1.5}, repair: [2]float64{1, 4}, pace: byTime,
		Onset: "the compressor begins to miss starts now and then (intermittent)", Failure: "it does not start any more, F7"},
	{Name: "fridge/sensor-dead", Model: fridge, Code: "F1", Abrupt: true, days: [2]float64{0, 0}, repair: [2]float64{2, 8},
		Onset: "the sensor's cable breaks", Failure: "at once, F1"},
	{Name: "fridge/freezer-door-ajar", Model: fridge, Abrupt: true, days: [2]float64{0.06, 0.15}, repair: [2]float64{0.05, 0.5}, pace: byTime,
		Onset: "the door is left open", Failure: "the food begins to thaw, 1.5 to 3.5 hours later"},
	{Name: "fridge/set-too-cold", Model: fridge, Habit: true, Onset: "the owner sets it 4 K colder than need be"},
	{Name: "fridge/filter-due", Model: fridge, Component: "water-filter", Due: true, Onset: due, Failure: overdue},

	{Name: "mower/blade-drag", Model: mower, Code: "M7", days: [2]float64{8, 30}, shape: [2]float64{1.2, 2.2}, repair: [2]float64{1, 6},
		Onset: "string or grass begins to wind round the disc", Failure: "the motor stops, M7"},
	{Name: "mower/contact-corrosion", Model: mower, Component: "charging-contacts", days: [2]float64{18, 55}, shape: [2]float64{1.3, 2.3}, repair: [2]float64{1, 7}, pace: byTime,
		Onset: "the contacts begin to corrode", Failure: "it charges no more"},
	{Name: "mower/battery-aging", Model: mower, days: [2]float64{25, 60}, shape: [2]float64{1, 1.8}, repair: [2]float64{4, 12},
		Onset: "the battery begins to lose capacity beyond what is usual", Failure: "a round lasts less than half of what it did"},
	{Name: "mower/wheel-wear", Model: mower, Component: "wheel", Code: "M3", days: [2]float64{15, 45}, shape: [2]float64{1, 1.7}, repair: [2]float64{2, 8},
		Onset: "the profile wears off: it gets stuck more often (intermittent M3)", Failure: "it does not get away from the station, M3"},
	{Name: "mower/wire-cut", Model: mower, Code: "M5", Abrupt: true, days: [2]float64{0, 0}, repair: [2]float64{0.5, 5},
		Onset: "the wire is cut", Failure: "at once, M5"},
	{Name: "mower/stored-empty", Model: mower, days: [2]float64{1, 1}, repair: [2]float64{3, 14}, pace: byHand,
		Onset: "put away with a charge below 25 %", Failure: "deep discharge: below 5 %"},
	{Name: "mower/wet-mowing", Model: mower, Habit: true, Onset: "the owner lets it mow in the rain"},
	{Name: "mower/blades-due", Model: mower, Component: "blades", Due: true, Onset: due, Failure: overdue},

	{Name: "drill/pack-aging", Model: drill, Component: "battery-pack", Code: "D4", days: [2]float64{25, 75}, shape: [2]float64{1.2, 2.2}, repair: [2]float64{3, 10},
		Onset: "a cell begins to lose capacity faster than the others", Failure: "the cell is weak, D4"},
	{Name: "drill/gear-wear", Model: drill, Component: "gearbox", days: [2]float64{20, 65}, shape: [2]float64{1.4, 2.5}, repair: [2]float64{3, 10},
		Onset: wearOnset, Failure: "a tooth breaks: the tool is not usable"},
	{Name: "drill/vents-clogged", Model: drill, Code: "D2", days: [2]float64{15, 50}, shape: [2]float64{1.1, 1.9}, repair: [2]float64{1, 5},
		Onset: "dust begins to fill the vents", Failure: "it switches off under load, D2"},
	{Name: "drill/pack-hot", Model: drill, Component: "battery-pack", Abrupt: true, days: [2]float64{0.004, 0.02}, repair: [2]float64{0.1, 1}, pace: byTime,
		Onset: "the pack begins to heat up on the charger", Failure: "above 60 °C, 6 to 30 minutes later"},
	{Name: "drill/charged-hot", Model: drill, Habit: true, Onset: "the owner begins to charge right after hard work"},
	{Name: "drill/pack-due", Model: drill, Component: "battery-pack", Due: true, Onset: due, Failure: overdue},
	{Name: "drill/gearbox-due", Model: drill, Component: "gearbox", Due: true, Onset: due, Failure: overdue},

	{Name: "base/fan-wear", Model: base, Component: "fan", days: [2]float64{20, 65}, shape: [2]float64{1.3, 2.2}, repair: [2]float64{2, 8}, pace: byTime,
		Onset: "the fan's bearing begins to brake it", Failure: "the fan stands still"},
	{Name: "base/slot-corrosion", Model: base, Component: "charging-slot", Code: "B2", days: [2]float64{12, 45}, shape: [2]float64{1, 1.6}, repair: [2]float64{1, 6}, pace: byTime,
		Onset: "a slot begins to fail now and then (intermittent B2)", Failure: "it does not charge any more, B2"},
	{Name: "base/antenna-fade", Model: base, days: [2]float64{15, 50}, shape: [2]float64{1, 1.8}, repair: [2]float64{2, 9}, pace: byTime,
		Onset: "the aerial's contact begins to fade", Failure: "no tool is heard any more"},
	{Name: "base/overheat", Model: base, Abrupt: true, days: [2]float64{0.01, 0.06}, repair: [2]float64{0.1, 1}, pace: byTime,
		Onset: "something covers it, it heats up", Failure: "above 70 °C, 15 to 90 minutes later"},
	{Name: "base/crowded", Model: base, Habit: true, Onset: "more tools than slots are kept at it"},

	{Name: "printer/roller-wear", Model: printer, Component: "feed-roller", Code: "P2", days: [2]float64{20, 60}, shape: [2]float64{1.1, 1.8}, repair: [2]float64{1, 6},
		Onset: "the roller begins to slip: more jams a page", Failure: "it feeds no sheet, P2"},
	{Name: "printer/fuser-wear", Model: printer, Component: "fuser", Code: "P6", days: [2]float64{20, 60}, shape: [2]float64{1.3, 2.2}, repair: [2]float64{2, 7},
		Onset: "the fuser begins to hold its temperature less well", Failure: "it does not heat, P6"},
	{Name: "printer/toner-leak", Model: printer, Component: "waste-box", days: [2]float64{12, 40}, shape: [2]float64{1, 1.5}, repair: [2]float64{1, 5},
		Onset: "the seal begins to let toner into the waste box", Failure: "toner soils the pages"},
	{Name: "printer/fuser-overheat", Model: printer, Component: "fuser", Abrupt: true, days: [2]float64{0.005, 0.03}, repair: [2]float64{0.1, 2}, pace: byTime,
		Onset: "the thermostat sticks", Failure: "above 230 °C, 7 to 43 minutes later"},
	{Name: "printer/no-sleep", Model: printer, Habit: true, Onset: "sleep is switched off: it stays warm all night"},
	{Name: "printer/toner-low", Model: printer, Due: true, Onset: "less than 15 % left", Failure: "empty"},
	{Name: "printer/drum-due", Model: printer, Component: "drum", Due: true, Onset: "less than 15 % left", Failure: "less than 2 % left"},
	{Name: "printer/waste-full", Model: printer, Component: "waste-box", Due: true, Onset: "more than 80 % full", Failure: "full"},

	{Name: "laptop/fan-dust", Model: laptop, Component: "fan", days: [2]float64{30, 85}, shape: [2]float64{1.1, 1.9}, repair: [2]float64{2, 10},
		Onset: "dust begins to fill the vents", Failure: "it throttles under load, above 97 °C"},
	{Name: "laptop/fan-bearing", Model: laptop, Component: "fan", Code: "L5", days: [2]float64{12, 45}, shape: [2]float64{1, 1.6}, repair: [2]float64{2, 8},
		Onset: "the fan begins to stall now and then (intermittent)", Failure: "it stands still, L5"},
	{Name: "laptop/battery-aging", Model: laptop, Component: "battery", days: [2]float64{30, 85}, shape: [2]float64{1.2, 2.2}, repair: [2]float64{4, 14},
		Onset: "the battery begins to lose capacity beyond what is usual", Failure: "less than 60 % of what it had"},
	{Name: "laptop/drive-wear", Model: laptop, Component: "drive", Code: "L3", days: [2]float64{20, 70}, shape: [2]float64{1, 1.6}, repair: [2]float64{1, 6},
		Onset: "the drive begins to wear many times faster than usual", Failure: "read errors, L3"},
	{Name: "laptop/battery-hot", Model: laptop, Component: "battery", Abrupt: true, days: [2]float64{0.004, 0.02}, repair: [2]float64{0.1, 1}, pace: byTime,
		Onset: "a cell begins to heat up", Failure: "above 60 °C, 6 to 30 minutes later"},
	{Name: "laptop/always-full", Model: laptop, Habit: true, Onset: "the owner leaves it plugged in at 100 % day and night"},

	{Name: "charger/plug-wear", Model: charger, Component: "cable", days: [2]float64{25, 75}, shape: [2]float64{1.3, 2.3}, repair: [2]float64{2, 9},
		Onset: "the contact's resistance begins to grow", Failure: "it stops a charge because the plug is too hot"},
	{Name: "charger/insulation", Model: charger, Component: "cable", days: [2]float64{15, 55}, shape: [2]float64{1.2, 2}, repair: [2]float64{2, 9}, pace: byTime,
		Onset: "moisture begins to get into the cable; worse in the rain", Failure: "the protection trips"},
	{Name: "charger/lock-wear", Model: charger, Code: "C4", days: [2]float64{15, 50}, shape: [2]float64{1, 1.6}, repair: [2]float64{1, 6},
		Onset: "the lock begins to fail now and then (intermittent C4)", Failure: "it locks no more, C4"},
	{Name: "charger/relay-weld", Model: charger, Component: "main-relay", Code: "C7", Abrupt: true, days: [2]float64{0, 0}, repair: [2]float64{1, 5},
		Onset: "a contact welds", Failure: "at once, C7"},
	{Name: "charger/short-charges", Model: charger, Habit: true, Onset: "the owner begins to plug in for minutes many times a day"},
	{Name: "charger/relay-due", Model: charger, Component: "main-relay", Due: true, Onset: due, Failure: overdue},

	{Name: "car/battery-12v", Model: car, Code: "P0562", days: [2]float64{25, 75}, shape: [2]float64{1.2, 2.2}, repair: [2]float64{1, 5}, pace: byTime,
		Onset: "the 12 V battery begins to lose strength beyond what is usual", Failure: "it does not start, P0562"},
	{Name: "car/tyre-leak", Model: car, days: [2]float64{8, 40}, shape: [2]float64{0.9, 1.2}, repair: [2]float64{0.5, 4}, pace: byTime,
		Onset: "one tyre begins to lose air", Failure: "60 kPa below the others"},
	{Name: "car/coolant-loss", Model: car, Code: "P0217", days: [2]float64{15, 50}, shape: [2]float64{1.3, 2.3}, repair: [2]float64{2, 8},
		Onset: "coolant begins to escape", Failure: "the engine is too hot, P0217"},
	{Name: "car/traction-aging", Model: car, Component: "drive-battery", days: [2]float64{40, 95}, shape: [2]float64{1, 1.7}, repair: [2]float64{5, 20},
		Onset: "a module begins to lose capacity beyond what is usual", Failure: "22 % of capacity lost"},
	{Name: "car/misfire", Model: car, Code: "P0301", Abrupt: true, days: [2]float64{0, 0}, repair: [2]float64{1, 6},
		Onset: "an ignition coil breaks", Failure: "at once, P0301"},
	{Name: "car/puncture", Model: car, Abrupt: true, days: [2]float64{0.02, 0.1}, repair: [2]float64{0.1, 1}, pace: byTime,
		Onset: "a nail: one tyre loses its air", Failure: "60 kPa below the others, half an hour to 2.4 hours later"},
	{Name: "car/never-plugged", Model: car, Habit: true, Onset: "the owner stops charging it from the wall"},
	{Name: "car/oil-due", Model: car, Component: "engine-oil", Due: true, Onset: due, Failure: overdue},
	{Name: "car/brake-pads-due", Model: car, Component: "brake-pads", Due: true, Onset: "thinner than 4 mm", Failure: "thinner than 2 mm"},

	{Name: "washer/door-caught", Model: washer, Code: "E12", Mishap: true, Onset: "laundry is caught in the door"},
	{Name: "mower/stuck", Model: mower, Code: "M3", Mishap: true, Onset: "it is stuck, until somebody frees it"},
	{Name: "base/slot-dirty", Model: base, Code: "B2", Mishap: true, Onset: "a tool is not well in its slot"},
	{Name: "printer/jam", Model: printer, Code: "P2", Mishap: true, Onset: "a sheet is caught, until somebody pulls it out"},
	{Name: "charger/plug-not-in", Model: charger, Code: "C4", Mishap: true, Onset: "the plug is not fully in"},

	{Name: "healthy/party", Onset: "guests: many washes, doors open often"},
	{Name: "healthy/holiday", Onset: "nobody at home for 2 to 3 weeks; some things are switched off"},
	{Name: "healthy/move", Onset: "the household moves: off for days, then another room, hose and floor"},
	{Name: "healthy/heat-wave", Onset: "a week 9 K warmer than the season"},
	{Name: "healthy/cold-snap", Onset: "a week 9 K colder than the season"},
	{Name: "healthy/sensor-glitch", Onset: "one value of one reading is far off"},
	{Name: "healthy/firmware", Onset: "an update shifts the level of a value slightly, for good"},
	{Name: "healthy/clock-jump", Onset: "the device's clock is hours ahead for some hours"},
	{Name: "healthy/outage", Onset: "the home has no internet; what was stored comes late"},
	{Name: "healthy/guest", Model: charger, Onset: "another car charges for some days"},
	{Name: "healthy/winter-storage", Onset: "put away; some are switched off"},
	{Name: "healthy/dock", Model: laptop, Onset: "a new dock: plugged in all day, charge held at 80 %, a warmer processor"},
	{Name: "healthy/busy", Onset: "two weeks of far more work than usual"},
}

const (
	due     = "80 % of the life that the profile states"
	overdue = "110 % of it"
)

// Model names.
const (
	washer  = "washer-w7"
	fridge  = "fridge-f3"
	mower   = "mower-m2"
	drill   = "drill-d18"
	base    = "base-b4"
	printer = "printer-p5"
	laptop  = "laptop-l4"
	charger = "ev-charger-e11"
	car     = "car-c6"
)

// Kinds returns everything that the truth file may name.
func Kinds() []Kind { return slices.Clone(kinds) }

// kindOf returns a kind by name; one that is not there is a mistake in this package.
func kindOf(name string) *Kind {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		panic("no such kind: " + name)
	}
	return &kinds[i]
}

// Sort says in one word what a kind is: wear, abrupt, due, habit, mishap or healthy.
func (k Kind) Sort() string {
	switch {
	case strings.HasPrefix(k.Name, "healthy/"):
		return "healthy"
	case k.Abrupt:
		return "abrupt"
	case k.Due:
		return "due"
	case k.Mishap:
		return "mishap"
	case k.Habit:
		return "habit"
	default:
		return "wear"
	}
}
