package life

import (
	"fmt"
	"math"
	"testing"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

// dayMeans plays a device up to a moment and returns the mean of a field on each day it was sent; from says when to begin.
func dayMeans(l *Life, field string, from, to int64, keep func() bool) []float64 {
	var means []float64
	var r device.Reading
	var day int64
	sum, n := 0.0, 0.0
	for at := from; at < to; at += l.Interval {
		l.Step(at, &r)
		if d, _ := signal.LocalDay(at); d != day {
			if n > 0 {
				means = append(means, sum/n)
			}
			day, sum, n = d, 0, 0
		}
		if v, ok := r.Number(field); ok && keep() {
			sum, n = sum+v, n+1
		}
	}
	return means
}

func spread(v []float64) (mean, sd, lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, x := range v {
		mean += x / float64(len(v))
		lo, hi = math.Min(lo, x), math.Max(hi, x)
	}
	for _, x := range v {
		sd += (x - mean) * (x - mean) / float64(len(v))
	}
	return mean, math.Sqrt(sd), lo, hi
}

// Half-way to failure some ill devices still measure what healthy ones of their model do, so that no limit for all tells them
// apart, while they are far from what they measured themselves.
func TestNoLimitForAllWouldDo(t *testing.T) {
	for _, c := range []struct{ model, kind, field string }{
		{washer, "washer/drain-clog", "drain_s"},
		{washer, "washer/bearing-wear", "vibration_mm_s"},
		{fridge, "fridge/condenser-dust", "compressor_duty"},
		{fridge, "fridge/seal-wear", "fridge_c"},
		{mower, "mower/battery-aging", "round_min"},
		{drill, "drill/pack-aging", "capacity_pct"},
		{drill, "drill/gear-wear", "gear_mm_s"},
		{base, "base/antenna-fade", "link_dbm"},
		{laptop, "laptop/battery-aging", "battery_health_pct"},
		{charger, "charger/insulation", "residual_ma"},
		{car, "car/battery-12v", "crank_min_v"},
		{car, "car/traction-aging", "traction_health_pct"},
	} {
		lo, hi := math.Inf(1), math.Inf(-1)
		hidden := 0
		onset := start + 60*signal.Day
		always := func() bool { return true }
		for i := range 16 {
			well := alive(t, c.model, fmt.Sprintf("N-%d", i))
			mean, _, _, _ := spread(dayMeans(well, c.field, start+30*signal.Day, onset+50*signal.Day, always))
			lo, hi = math.Min(lo, mean), math.Max(hi, mean)
		}
		for i := range 16 {
			ill := alive(t, c.model, fmt.Sprintf("N-%d", i))
			ill.Inflict(c.kind, onset)
			f := ill.faults[0]
			f.early = 0
			before, sd, _, _ := spread(dayMeans(ill, c.field, start+20*signal.Day, f.start, always))
			half, _, _, _ := spread(dayMeans(ill, c.field, f.start, start+150*signal.Day, func() bool { return f.p > 0.4 && f.p < 0.6 }))
			if half > lo && half < hi && math.Abs(half-before) > 2*sd {
				hidden++
			}
		}
		if hidden < 2 {
			t.Errorf("%s: %s: %d of 16 devices hide within %.4g to %.4g while far from their own past", c.kind, c.field, hidden, lo, hi)
		}
		t.Logf("%-24s %d of 16", c.kind, hidden)
	}
}
