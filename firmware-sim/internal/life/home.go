package life

import (
	"math"

	"aftercare/firmware-sim/internal/signal"
)

// Spell is a time in which something is so.
type Spell struct {
	Kind     string
	From, To int64 // seconds since 1970; To is exclusive
}

func (s Spell) holds(at int64) bool { return s.From <= at && at < s.To }

// spells are few; they are looked through at every step.
type spells []Spell

func (s spells) now(kind string, at int64) (Spell, bool) {
	for _, x := range s {
		if x.holds(at) && x.Kind == kind {
			return x, true
		}
	}
	return Spell{}, false
}

// Weather is what all homes have in common: the season of package signal with a heat wave and a cold snap.
type Weather struct{ spells spells }

// NewWeather draws a week of heat and a week of cold within the days of a simulation: the heat late, the cold early in it.
func NewWeather(seed uint64, start int64, days int) *Weather {
	s := signal.NewSeed(seed, "weather")
	at := func(ch uint32, lo, hi float64) int64 {
		return start + int64(s.Between(ch, 0, lo, hi)*float64(days))*signal.Day
	}
	hot, cold := at(1, 0.72, 0.9), at(2, 0.1, 0.3)
	return &Weather{spells{{"healthy/heat-wave", hot, hot + 7*signal.Day}, {"healthy/cold-snap", cold, cold + 6*signal.Day}}}
}

// Outside returns the temperature in the shade; the waves come and go within a day.
func (w *Weather) Outside(at int64) float64 {
	t := signal.Outside(at)
	for i, x := range w.spells {
		if !x.holds(at) {
			continue
		}
		edge := math.Min(1, float64(min(at-x.From, x.To-at))/signal.Day)
		t += []float64{9, -9}[i] * edge
	}
	return t
}

// Home is a household or an office: its rooms, its water, its habits, its connection, and what happens to it.
type Home struct {
	seed    signal.Seed
	weather *Weather
	room    float64 // °C in the evening, heated
	moved   float64 // by how much the room after a move differs, K
	hard    float64 // water hardness, 0 to 1
	spells  spells
	moveEnd int64 // 0: never moves
}

// NewHome draws a home and what happens to it from start on.
func NewHome(seed uint64, name string, w *Weather, start int64, days int) *Home {
	s := signal.NewSeed(seed, name)
	h := &Home{seed: s, weather: w, room: s.Between(1, 0, 18.5, 23), moved: s.Between(2, 0, -2.5, 2.5), hard: s.U(3, 0)}
	span := float64(days)
	add := func(ch uint32, share float64, kind string, shortest, longest float64) {
		if s.U(ch, 0) >= share*math.Min(1, span/120) {
			return
		}
		length := s.Between(ch, 1, shortest, longest)
		from := start + int64(s.Between(ch, 2, 0.06, 0.94)*span*signal.Day)
		to := from + int64(length*signal.Day)
		if to < start+int64(span*signal.Day) {
			h.spells = append(h.spells, Spell{kind, from, to})
		}
	}
	add(10, 0.45, "healthy/holiday", 14, 21)
	add(11, 0.3, "healthy/party", 0.8, 2)
	add(12, 0.1, "healthy/move", 2, 5)
	add(13, 0.2, "healthy/busy", 8, 16)
	for i := range uint32(4) {
		add(14+i, 0.55, "healthy/outage", 0.06, 1.6)
	}
	for _, x := range h.spells {
		if x.Kind == "healthy/move" {
			h.moveEnd = x.To
		}
	}
	return h
}

func (h *Home) now(kind string, at int64) bool {
	_, ok := h.spells.now(kind, at)
	return ok
}

// settled returns 1 after the move, 0 before it and without one.
func (h *Home) settled(at int64) float64 {
	if h.moveEnd != 0 && at >= h.moveEnd {
		return 1
	}
	return 0
}

// Room returns the temperature of the living rooms: cooler at night, while nobody is in, and warmer with the summer.
func (h *Home) Room(at int64) float64 {
	_, hour := signal.LocalDay(at)
	t := h.room + h.moved*h.settled(at) + 0.9*math.Cos(2*math.Pi*(hour-16)/24)
	if out := h.weather.Outside(at); out > 18 {
		t += 0.45 * (out - 18)
	} else if h.now("healthy/holiday", at) {
		t -= 3
	}
	return t + 0.6*h.seed.Wander(20, at, 12*signal.Hour) + 0.6*h.seed.Wander(21, at, 4*signal.Day)
}

// Offline reports whether the home has no internet.
func (h *Home) Offline(at int64) bool { return h.now("healthy/outage", at) }
