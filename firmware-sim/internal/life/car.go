package life

import (
	"math"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

// cars is the plug-in hybrid C6. Its control unit reports when a trip has ended and at each interval while parked. Battery
// voltages and tyre pressures follow the temperature, as they do.
type cars struct {
	diary
	km, starts, cycles       float64
	perTrip, rate, plugs     float64
	health, traction         float64
	crank, rest              float64
	tyre                     [4]float64 // at 15 °C, kPa
	full                     float64    // what the owner fills up to
	lastCrank, coolant, warm float64
	idle                     float64 // days since the last trip
	refill                   int64
	oil, brakes              *part
}

func newCar(l *Life) machine {
	s := l.seed
	c := &cars{km: s.Between(1, 0, 4000, 130000), perTrip: s.Between(2, 0, 7, 32), rate: s.Between(3, 0, 1.1, 3.2), plugs: s.Between(4, 0, 0.55, 0.97),
		health: s.Between(5, 0, 86, 100), traction: 80, crank: s.Between(6, 0, 9.9, 10.9), rest: s.Between(7, 0, 12.55, 12.85),
		full: s.Between(8, 0, 235, 265), lastCrank: 10.4, coolant: 10, warm: s.Between(9, 0, 86, 93)}
	c.starts, c.cycles = math.Floor(c.km/9), math.Floor(c.km/120)
	for i := range c.tyre {
		c.tyre[i] = c.full - s.Between(10, int64(i), 0, 8)
	}
	c.oil = l.newPart("car/oil-due", "engine-oil", 30000, s.Between(11, 0, 500, 21000))
	c.brakes = l.newPart("car/brake-pads-due", "brake-pads", 12, s.Between(12, 0, 0.5, 6.8)).limits(l, 8.0/12, 10.0/12)
	return c
}

func (c *cars) plan(l *Life) func(day int64) []use {
	return func(day int64) []use {
		if l.work(day) == 0 {
			return nil
		}
		rate := c.rate * math.Min(1.6, l.work(day))
		if signal.Weekday(day) >= 5 {
			rate *= 0.6
		}
		return l.draw(15, day, min(4, l.count(13, day, rate)), 6.8, 3.6, 12, 95)
	}
}

func (c *cars) step(l *Life, r *device.Reading) {
	dt := float64(l.at - l.prev)
	outside := l.Home.weather.Outside(l.at)
	now := c.advance(l, c.plan(l))
	if l.down("car/coolant-loss", "car/misfire", "car/puncture", "car/battery-12v") {
		now, c.closed = nil, nil
	}
	c.coolant = outside + (c.coolant-outside)*math.Exp(-dt/5400)
	c.idle += dt / signal.Day
	for _, u := range c.closed {
		c.idle = 0
		c.trip(l, u, outside)
	}
	c.park(l, dt)
	if now != nil {
		return // no report while it drives
	}
	c.report(l, r, outside)
}

// trip is what a trip changes.
func (c *cars) trip(l *Life, u use, outside float64) {
	s := l.seed
	km := c.perTrip * u.size * float64(u.end-u.start) / (50 * signal.Minute)
	if s.U(20, u.k) < 0.05 {
		km *= 3 // a long one
	}
	c.km += km
	c.starts++
	c.oil.spend(l, km)
	c.brakes.spend(l, km/1000*s.Between(21, 0, 0.09, 0.26))
	l.used(km / (c.perTrip * math.Max(0.8, c.rate) * 1.1) * 0.95)
	electric := math.Min(c.traction-8, km*1.9)
	c.traction -= math.Max(0, electric)
	c.cycles += math.Max(0, electric) / 100
	c.health -= math.Max(0, electric) / 100 * 0.006
	cold := math.Max(-15, math.Min(0, outside-12))
	c.lastCrank = c.crank + 0.035*cold - 2.6*l.level("car/battery-12v")*(1-0.03*cold) + 0.12*s.Noise(22, u.k)
	load := math.Min(1, float64(u.end-u.start)/2400)
	loss := l.level("car/coolant-loss")
	c.coolant = outside + (c.warm-outside)*load + 1.3*s.Noise(23, u.k) + 1.2*l.updated()
	if s.U(24, u.k) < 0.25+0.5*loss { // hills, traffic: then it lacks
		c.coolant += 3*s.U(25, u.k) + loss*s.Between(26, 0, 17, 27)*load
	}
}

// park charges it overnight and lets tyres lose what tyres lose; the owner pumps them up every few months.
func (c *cars) park(l *Life, dt float64) {
	s := l.seed
	day, hour := signal.LocalDay(l.at)
	plugged := s.U(30, day) < c.plugs && !l.on("car/never-plugged") && l.work(day) > 0
	if plugged && (hour > 20 || hour < 5) {
		c.traction = math.Min(100, c.traction+dt/signal.Hour*22)
	}
	for i := range c.tyre {
		c.tyre[i] -= s.Between(31, int64(i), 0.5, 2) / 30 * dt / signal.Day
	}
	if c.refill == 0 {
		c.refill = day + int64(s.Between(32, 0, 20, 100))
	}
	if day >= c.refill {
		for i := range c.tyre {
			c.tyre[i] = c.full - s.Between(33, day*4+int64(i), 0, 5)
		}
		c.refill = day + int64(s.Between(34, day, 70, 110))
	}
}

func (c *cars) report(l *Life, r *device.Reading, outside float64) {
	s := l.seed
	aged := l.level("car/battery-12v")
	rest := c.rest - 0.011*c.idle + 0.004*(outside-15) - 0.75*aged + 0.04*l.noise(40, 1)
	if len(c.closed) > 0 {
		rest += 0.5 // surface charge after a trip
	}
	r.AddNumber("odometer_km", c.km, 1)
	r.AddBool("parked", len(c.closed) == 0)
	r.AddNumber("battery_12v_v", signal.Clamp(rest, 7, 15), 2)
	r.AddNumber("crank_min_v", signal.Clamp(c.lastCrank, 4, 13), 2)
	r.AddNumber("traction_pct", signal.Clamp(c.traction+0.2*l.noise(41, 60), 0, 100), 1)
	lost := 22 * l.level("car/traction-aging")
	r.AddNumber("traction_health_pct", signal.Clamp(c.health-lost+0.5*l.noise(42, signal.Day)+0.06*math.Min(0, outside-8)+0.6*s.Noise(53, l.at/(13*signal.Day)), 20, 104), 1)
	r.AddInteger("traction_cycles", int64(c.cycles))
	r.AddNumber("coolant_c", signal.Clamp(c.coolant+0.3*l.noise(43, 1), -45, 145), 1)
	r.AddNumber("oil_life_km", c.oil.used, 1)
	r.AddNumber("brake_pad_mm", math.Max(0.3, 12-c.brakes.used+0.06*l.noise(44, 1)), 1)
	leaks := int(s.U(45, 0) * 4)
	for i, name := range [4]string{"tyre_fl_kpa", "tyre_fr_kpa", "tyre_rl_kpa", "tyre_rr_kpa"} {
		p := c.tyre[i]
		if i == leaks {
			p -= 62*l.level("car/tyre-leak") + 90*l.level("car/puncture")
		}
		warm := outside
		if len(c.closed) > 0 {
			warm += 18 // rolling warms a tyre
		}
		r.AddNumber(name, (p+101)*(warm+273)/288-101+0.8*l.noise(46+uint32(i), 1)+1.2*l.updated(), 1)
	}
	r.AddInteger("starts", int64(c.starts))
	r.AddNumber("outside_c", outside+0.5*l.noise(52, 60), 1)
}

func (c *cars) renewed(l *Life, kind string) {
	switch kind {
	case "car/battery-12v":
		c.lastCrank = c.crank
	case "car/tyre-leak", "car/puncture":
		for i := range c.tyre {
			c.tyre[i] = c.full
		}
	case "car/traction-aging":
		c.health, c.cycles = 99, 0
	}
}
