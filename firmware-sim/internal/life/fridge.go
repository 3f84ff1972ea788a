package life

import (
	"math"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

// fridges is the fridge-freezer F3: a compressor that works against room, doors and groceries; two compartments that follow with
// their own lag, so that a fridge that was off takes half a day to become cold.
type fridges struct {
	duty, opens, litres, defrost float64
	setFridge, setFreezer, near  float64
	cold, freezer                float64 // without noise, °C
	load                         float64 // from doors and groceries, fading, in percent of running time
	openings                     float64
	period                       int64
	filter                       *part
}

func newFridge(l *Life) machine {
	s := l.seed
	f := &fridges{duty: s.Between(1, 0, 28, 46), opens: s.Between(2, 0, 14, 50), litres: s.Between(3, 0, 0.5, 2.8), defrost: s.Between(4, 0, 1, 5),
		setFridge: s.Between(5, 0, 3.6, 6.4), setFreezer: s.Between(6, 0, -20.5, -17.4), near: s.Between(7, 0, -1, 3),
		openings: math.Floor(s.Between(8, 0, 2000, 90000)), period: int64(s.Between(9, 0, 35, 55) * signal.Minute)}
	f.cold, f.freezer = f.setFridge, f.setFreezer
	f.filter = l.newPart("fridge/filter-due", "water-filter", 400, s.Between(10, 0, 0, 300))
	return f
}

// meals is how many of a day's door openings fall into an hour, as a multiple of the mean.
func meals(hour float64) float64 {
	bell := func(at, width float64) float64 { return math.Exp(-(hour - at) * (hour - at) / 2 / width / width) }
	return 0.25 + 3*bell(7.2, 0.7) + 2*bell(12.3, 0.8) + 3.2*bell(18.7, 1)
}

// faultLoad is what faults add to the running time, in percent.
func (f *fridges) faultLoad(l *Life) float64 {
	return 40*l.level("fridge/condenser-dust") + 27*l.level("fridge/seal-wear") + 58*l.level("fridge/refrigerant-loss")
}

func (f *fridges) step(l *Life, r *device.Reading) {
	s := l.seed
	day, hour := signal.LocalDay(l.at)
	dt := float64(l.at - l.prev)
	ambient := l.Home.Room(l.at) + f.near
	crowd := 1.0
	if l.on("healthy/party") {
		crowd = 5
	}
	if l.work(day) == 0 {
		crowd = 0
	}
	opened := math.Floor(f.opens*crowd*meals(hour)*dt/signal.Day + s.U(20, l.at/600))
	if crowd == 0 {
		opened = 0
	}
	f.openings += opened
	l.used(opened / f.opens / 1.1)
	f.load = f.load*math.Exp(-dt/5400) + 0.35*opened
	if signal.Weekday(day) == 5 && hour > 17.5 && hour-17.5 < dt/3600+0.001 && crowd > 0 {
		f.load += s.Between(21, day, 4, 12) // the week's groceries
	}
	off := l.Off()
	colder := 0.0
	if l.on("fridge/set-too-cold") {
		colder = 4
	}
	demand := f.duty + 1.15*(ambient-20) + f.load + 1.6*s.Wander(22, l.at, 2*signal.Hour) + f.faultLoad(l) + 2.2*colder
	stopped := l.down("fridge/start-relay") || off
	missed := s.U(23, l.at/2400) < 0.4*l.level("fridge/start-relay")
	duty := signal.Clamp(demand, 8, 100)
	if stopped {
		duty = 0
	} else if missed {
		duty *= 0.45
	}
	f.warm(l, dt, ambient, demand, duty, colder, stopped)
	f.report(l, r, hour, ambient, duty, missed || stopped, opened)
}

// warm moves both compartments towards where they are bound for.
func (f *fridges) warm(l *Life, dt, ambient, demand, duty, colder float64, stopped bool) {
	short := math.Max(0, demand-93) + math.Max(0, math.Min(demand, 93)-duty)*0.35
	coldTo := f.setFridge - colder + 0.12*short + 0.05*f.load + 3.2*l.level("fridge/seal-wear")
	freezeTo := f.setFreezer - colder + 0.2*short + 0.02*f.load + 8.5*math.Pow(l.level("fridge/refrigerant-loss"), 1.5)
	tau, tauF := 2.5*signal.Hour, 4.0*signal.Hour
	if l.seed.U(24, l.at/(4*signal.Hour)) < 0.65*l.level("fridge/fan-ice") || l.down("fridge/fan-ice") {
		coldTo += 3.5 // no cold air comes down from the freezer
	}
	if stopped {
		coldTo, freezeTo, tau, tauF = ambient-2, ambient-2, 9*signal.Hour, 20*signal.Hour
	}
	if age, ok := l.since("fridge/freezer-door-ajar"); ok {
		freezeTo, tauF = freezeTo+16*math.Min(1, 0.3+age/5400), 1.3*signal.Hour
	}
	f.cold += (coldTo - f.cold) * (1 - math.Exp(-dt/tau))
	f.freezer += (freezeTo - f.freezer) * (1 - math.Exp(-dt/tauF))
}

func (f *fridges) report(l *Life, r *device.Reading, hour, ambient, duty float64, still bool, opened float64) {
	s := l.seed
	phase := float64((l.at+int64(s.U(12, 0)*float64(f.period)))%f.period) / float64(f.period)
	running := phase < duty/100 && !still
	saw := math.Abs(phase-duty/100) - 0.3
	cold := f.cold + 1.1*saw + 0.2*l.noise(30, 1) + 0.3*l.updated() + 0.25*s.Wander(42, l.at, 3*signal.Day)
	freezer := f.freezer + 1.3*saw + 0.15*l.noise(31, 1) + 0.35*s.Wander(43, l.at, 5*signal.Day)
	since := hour - f.defrost
	defrosting := since >= 0 && since < 0.4 && duty > 0
	if since >= 0 && since < 0.9 && duty > 0 {
		freezer += 3.2 * math.Sin(math.Pi*since/0.9)
		running = running && !defrosting
	}
	door, freezerDoor := 0.0, 0.0
	if opened > 0 && s.U(32, l.at) < 0.12 {
		door = s.Between(33, l.at, 3, 45)
	} else if s.U(34, l.at) < 0.002 && opened > 0 {
		freezerDoor = s.Between(35, l.at, 3, 25)
	}
	if l.on("healthy/party") && s.U(36, l.at) < 0.2 {
		door = s.Between(37, l.at, 20, 160)
	}
	if age, ok := l.since("fridge/freezer-door-ajar"); ok {
		freezerDoor = age
	}
	if l.down("fridge/sensor-dead") {
		cold = -14.9
	}
	power := 1.4
	if running {
		power = 76 + 14*l.level("fridge/condenser-dust") - 17*l.level("fridge/refrigerant-loss") + 0.5*(ambient-20) + 2*l.noise(38, 1) + 4*(s.U(39, 0)-0.5)
	}
	r.AddNumber("fridge_c", signal.Clamp(cold, -14.9, 40), 1)
	r.AddNumber("freezer_c", signal.Clamp(freezer, -35, 40), 1)
	r.AddNumber("ambient_c", ambient+0.1*l.noise(40, 1), 1)
	r.AddNumber("compressor_w", power, 1)
	r.AddNumber("compressor_duty", signal.Clamp(duty+1.2*l.noise(41, 1)*min(1, duty), 0, 100), 1)
	r.AddNumber("door_s", door, 0)
	r.AddNumber("freezer_door_s", math.Min(freezerDoor, signal.Day), 0)
	r.AddInteger("door_openings", int64(f.openings))
	r.AddBool("defrosting", defrosting)
	f.filter.spend(l, f.litres*opened/f.opens)
	r.AddNumber("filter_l", f.filter.used, 1)
}

func (f *fridges) renewed(*Life, string) {}
