package device

import (
	"math"

	"aftercare/firmware-sim/internal/signal"
)

// fridge is the fridge-freezer F3: a compressor that cycles, doors that open around meals, a defrost a day.
type fridge struct {
	s       signal.Seed
	period  int64   // of the compressor, seconds
	duty    float64 // usual running time in percent
	opens   float64 // door openings a day
	defrost float64 // hour of the daily defrost
	fridgeC float64
	freezeC float64
	litres  float64 // water a day
}

func newFridge(s signal.Seed) model {
	return &fridge{s: s, period: int64(s.Between(1, 0, 35, 55) * signal.Minute), duty: s.Between(2, 0, 33, 42),
		opens: s.Between(3, 0, 18, 45), defrost: s.Between(4, 0, 1, 5), fridgeC: s.Between(5, 0, 4, 6),
		freezeC: s.Between(6, 0, -19, -17.6), litres: s.Between(7, 0, 0.5, 2.5)}
}

// mealtime is the share of a day's door openings up to an hour: little at night, more around 7, 12 and 18.5.
func mealtime(hour float64) float64 {
	bell := func(at, width float64) float64 { return 1 / (1 + math.Exp(-(hour-at)/width)) }
	return 0.1*hour/24 + 0.9*(bell(7, 0.5)+bell(12, 0.7)+bell(18.5, 0.8))/3
}

func (f *fridge) measure(m Moment, r *Reading) {
	fx := m.Effects
	day, hour := signal.LocalDay(m.At)
	ambient := 20.5 + 1.5*math.Sin(2*math.Pi*(hour-11)/24) + 0.8*f.s.Wander(10, m.At, signal.Day)
	duty := signal.Clamp(f.duty+0.9*(ambient-20)+1.5*f.s.Wander(11, m.At, 2*signal.Hour)+32*fx.level("condenser-dusty"), 10, 97)
	phase := float64((m.At+int64(f.s.U(12, 0)*float64(f.period)))%f.period) / float64(f.period)
	running := phase < duty/100
	saw := math.Abs(phase-duty/100) - 0.3 // coldest when the compressor stops
	cold := f.fridgeC + 1.2*saw + 0.2*f.s.Noise(13, m.At/30)
	freezer := f.freezeC + 1.4*saw + 0.15*f.s.Noise(14, m.At/30)

	sinceDefrost := hour - f.defrost
	defrosting := sinceDefrost >= 0 && sinceDefrost < 0.4
	if sinceDefrost >= 0 && sinceDefrost < 0.9 {
		freezer += 3.2 * math.Sin(math.Pi*sinceDefrost/0.9)
		running = running && !defrosting
	}
	if shopping := hour - 17.5; signal.Weekday(day) == 5 && shopping >= 0 && shopping < 1.5 {
		freezer += 1.6 * (1 - shopping/1.5) // the week's groceries
		cold += 2 * (1 - shopping/1.5)
	}
	door, freezerDoor := 0.0, 0.0
	if f.s.U(15, m.At/10) < 0.012 {
		door = f.s.Between(16, m.At/10, 3, 40)
	} else if f.s.U(17, m.At/10) < 0.002 {
		freezerDoor = f.s.Between(18, m.At/10, 3, 25)
	}
	cold, freezer, door, freezerDoor, running = f.faults(fx, cold, freezer, door, freezerDoor, running)

	r.AddNumber("fridge_c", signal.Clamp(cold, -5, 30), 1)
	r.AddNumber("freezer_c", signal.Clamp(freezer, -30, 25), 1)
	r.AddNumber("ambient_c", ambient, 1)
	power := 1.4
	if running {
		power = 78 + 12*fx.level("condenser-dusty") + 2*f.s.Noise(19, m.At)
	}
	r.AddNumber("compressor_w", power, 1)
	if fx.has("compressor-start") {
		duty = 0
	}
	r.AddNumber("compressor_duty", duty, 1)
	r.AddNumber("door_s", math.Min(door, signal.Day), 0)
	r.AddNumber("freezer_door_s", math.Min(freezerDoor, signal.Day), 0)
	r.AddInteger("door_openings", int64(f.opens*(float64(signal.DaysSinceAnchor(day))+mealtime(hour)/mealtime(24))))
	r.AddBool("defrosting", defrosting)
	used := math.Mod(f.s.Between(20, 0, 0, 370)+f.litres*(float64(signal.DaysSinceAnchor(day))+hour/24), 380)
	if l, ok := fx.age("filter-used"); ok {
		used = 398 + f.litres*l/signal.Day // nobody has changed it
	}
	r.AddNumber("filter_l", used, 1)
}

// faults bends the temperatures. An open door had been open for a while when the story begins: the device counts itself.
func (f *fridge) faults(fx Effects, cold, freezer, door, freezerDoor float64, running bool) (float64, float64, float64, float64, bool) {
	if age, ok := fx.age("freezer-door"); ok {
		freezerDoor = age + 150
		freezer += 11.5 * (1 - math.Exp(-freezerDoor/120))
	}
	if age, ok := fx.age("fridge-door"); ok {
		door = age + 310
		cold += 6 * (1 - math.Exp(-door/600))
	}
	if age, ok := fx.age("compressor-start"); ok {
		running = false
		freezer += math.Min(30, age/signal.Hour*1.7)
		cold += math.Min(14, age/signal.Hour*1.1)
	}
	if fx.has("fan-iced") {
		cold += 2.5
	}
	return cold, freezer, door, freezerDoor, running
}
