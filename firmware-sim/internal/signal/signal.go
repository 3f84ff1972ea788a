// Package signal makes values that look measured and are pure functions of (seed, channel, time): noise, daily and
// yearly patterns, schedules of uses. The same seed and time always give the same value, whatever was asked before.
//
// It knows no device and does no input or output. Only firmware-sim imports it.
package signal

import (
	"hash/fnv"
	"math"
)

// Seconds of the calendar units used here.
const (
	Minute = 60
	Hour   = 3600
	Day    = 86400
)

// zone is the fixed offset of local time in seconds: all simulated households live by Central European winter time.
const zone = Hour

// anchor is the day (since 1970) from which running totals are counted: 2025-01-01. Earlier times count as the anchor.
const anchor = 20089

// Seed identifies one device's randomness.
type Seed uint64

// NewSeed derives a device's seed from the fleet's seed and its serial.
func NewSeed(fleet uint64, serial string) Seed {
	h := fnv.New64a()
	_, _ = h.Write([]byte(serial)) // a hash never fails to write
	return Seed(mix(h.Sum64() ^ mix(fleet)))
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb
	return x ^ (x >> 31)
}

// U returns a uniform value in [0, 1) for channel ch at step n.
func (s Seed) U(ch uint32, n int64) float64 {
	return float64(mix(uint64(s)^mix(uint64(ch)<<32^uint64(n)))>>11) / (1 << 53)
}

// Between returns a uniform value in [lo, hi).
func (s Seed) Between(ch uint32, n int64, lo, hi float64) float64 { return lo + (hi-lo)*s.U(ch, n) }

// Noise returns a bell-shaped value of about unit standard deviation, never beyond ±3: the sum of three uniforms (each of
// variance 1/12), scaled by 2.
func (s Seed) Noise(ch uint32, n int64) float64 {
	x := mix(uint64(s) ^ mix(uint64(ch)<<32^uint64(n)))
	const m = 1<<21 - 1
	sum := float64(x&m) + float64(x>>21&m) + float64(x>>42&m)
	return (sum/m - 1.5) * 2
}

// Wander returns slow noise: values drawn every period seconds, joined by cosine.
func (s Seed) Wander(ch uint32, at, period int64) float64 {
	n := floorDiv(at, period)
	f := float64(at-n*period) / float64(period)
	w := (1 - math.Cos(math.Pi*f)) / 2
	return s.Noise(ch, n)*(1-w) + s.Noise(ch, n+1)*w
}

// LocalDay returns the local day number since 1970 and the hour of the day as a fraction.
func LocalDay(at int64) (day int64, hour float64) {
	day = floorDiv(at+zone, Day)
	return day, float64(at+zone-day*Day) / Hour
}

// Weekday returns 0 for Monday to 6 for Sunday of a local day number (1970-01-01 was a Thursday).
func Weekday(day int64) int { return int(((day+3)%7 + 7) % 7) }

// YearFraction returns where in the year a local day lies, 0 to 1, near enough for weather.
func YearFraction(day int64) float64 { return math.Mod(float64(day), 365.2425) / 365.2425 }

// DaysSinceAnchor returns the whole local days since the anchor, never negative.
func DaysSinceAnchor(day int64) int64 { return max(0, day-anchor) }

// Outside is the weather all devices share: degrees Celsius outside in the shade.
func Outside(at int64) float64 {
	const weather = Seed(0x5eed)
	day, hour := LocalDay(at)
	season := 10 - 10*math.Cos(2*math.Pi*(YearFraction(day)-0.055))
	daily := -3.5 * math.Cos(2*math.Pi*(hour-2.5)/24)
	return season + daily + 2.5*weather.Wander(1, at, 2*Day)
}

// Rain says whether it rains, in blocks of three hours.
func Rain(at int64) bool { return Seed(0x5eed).U(2, floorDiv(at, 3*Hour)) < 0.16 }

// Clamp bounds v to [lo, hi].
func Clamp(v, lo, hi float64) float64 { return math.Max(lo, math.Min(hi, v)) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}
