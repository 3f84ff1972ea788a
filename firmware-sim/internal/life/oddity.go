package life

import (
	"math"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

// Befall draws the oddities that are the device's own, not its home's, and its winter.
func (l *Life) Befall(days int) {
	s, span := l.seed, float64(days)
	add := func(ch uint32, share float64, kind string, shortest, longest float64) {
		if s.U(ch, 0) >= share*math.Min(1, span/120) {
			return
		}
		from := l.start + int64(s.Between(ch, 1, 0.1, 0.95)*span*signal.Day)
		l.spells = append(l.spells, Spell{kind, from, from + int64(s.Between(ch, 2, shortest, longest)*signal.Day)})
	}
	step := float64(l.Interval) / signal.Day
	add(900, 0.25, "healthy/sensor-glitch", step, step)
	add(903, 0.15, "healthy/sensor-glitch", step, step)
	add(906, 0.06, "healthy/clock-jump", 0.05, 0.4)
	switch l.Model {
	case charger:
		add(909, 0.35, "healthy/guest", 2, 5)
	case laptop:
		add(912, 0.3, "healthy/dock", 20, 200)
	case drill:
		if s.U(915, 0) < 0.25 {
			l.spells = append(l.spells, Spell{"healthy/winter-storage", l.start, l.start + int64(s.Between(916, 0, 0.25, 0.4)*span*signal.Day)})
		}
	case mower:
		l.store(days)
	}
	if l.Model == washer || l.Model == fridge || l.Model == laptop || l.Model == mower || l.Model == car {
		when := l.start + int64((0.55+0.06*s.U(918, 0))*span*signal.Day) // all within some days
		l.spells = append(l.spells, Spell{"healthy/firmware", when, when + signal.Day})
	}
}

// store notes the days on which a mower is put away.
func (l *Life) store(days int) {
	m, ok := l.m.(*mowers)
	if !ok {
		return
	}
	first, _ := signal.LocalDay(l.start)
	var from int64
	for d := first; d <= first+int64(days); d++ {
		switch {
		case !m.season(d) && from == 0:
			from = max(l.start, signal.At(d, 0))
		case m.season(d) && from != 0:
			l.spells = append(l.spells, Spell{"healthy/winter-storage", from, signal.At(d, 0)})
			from = 0
		}
	}
	if from != 0 {
		l.spells = append(l.spells, Spell{"healthy/winter-storage", from, signal.At(first+int64(days)+1, 0)})
	}
}

// Adopt gives the owner a habit for a while.
func (l *Life) Adopt(kind string, from, to int64) {
	l.spells = append(l.spells, Spell{kindOf(kind).Name, from, to})
}

// glitches lists what a sensor's single wrong value looks like, within what the profile lets pass.
var glitches = map[string][]struct {
	field string
	value float64
}{
	washer:  {{"power_w", 2900}, {"water_temp_c", 98}},
	fridge:  {{"fridge_c", 21}, {"freezer_c", 3}, {"ambient_c", 48}},
	mower:   {{"battery_c", 74}, {"contact_ohm", 30}, {"tilt_deg", 88}},
	drill:   {{"pack_c", 71}, {"motor_c", 140}, {"capacity_pct", 41}},
	base:    {{"temp_c", 88}, {"fan_rpm", 7400}, {"link_dbm", -110}},
	printer: {{"fuser_c", 246}, {"toner_pct", 0}, {"waste_pct", 100}},
	laptop:  {{"cpu_c", 104}, {"battery_c", 66}, {"battery_health_pct", 31}},
	charger: {{"plug_c", 96}, {"residual_ma", 14}},
	car:     {{"battery_12v_v", 8.2}, {"tyre_fl_kpa", 60}, {"coolant_c", 131}},
}

// glitch puts one value of this reading far off, if it is to be.
func (l *Life) glitch(r *device.Reading) {
	x, ok := l.spells.now("healthy/sensor-glitch", l.at)
	if !ok || len(r.Fields) == 0 {
		return
	}
	list := glitches[l.Model]
	g := list[int(l.seed.U(920, x.From)*float64(len(list)))]
	r.Replace(g.field, g.value)
}
