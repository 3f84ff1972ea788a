package signal

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestNoiseIsBoundedAndCentred(t *testing.T) {
	s := NewSeed(1, "WM-0001")
	var sum, squares float64
	const n = 20000
	for i := range int64(n) {
		v := s.Noise(3, i)
		if v < -3 || v > 3 {
			t.Fatalf("step %d: %v", i, v)
		}
		sum += v
		squares += v * v
	}
	if mean := sum / n; math.Abs(mean) > 0.05 {
		t.Errorf("mean %v", mean)
	}
	if dev := math.Sqrt(squares / n); math.Abs(dev-1) > 0.05 {
		t.Errorf("deviation %v", dev)
	}
}

func TestDevicesDiffer(t *testing.T) {
	a, b := NewSeed(1, "WM-0001"), NewSeed(1, "WM-0002")
	if a == b || a == NewSeed(2, "WM-0001") {
		t.Error("same seed for another device or fleet")
	}
}

func TestWeekday(t *testing.T) {
	day, hour := LocalDay(1795305600) // Sunday 2026-11-22 00:00 UTC
	if Weekday(day) != 6 || hour != 1 {
		t.Errorf("weekday %d, hour %v", Weekday(day), hour)
	}
}

func twice(day int64) []Slot {
	s := Seed(7)
	start := At(day, 9+s.Between(1, day, 0, 1))
	return []Slot{{Start: start, End: start + Hour}, {Start: start + 5*Hour, End: start + 7*Hour}}
}

// What was asked before must not change what a schedule answers, and totals never go down.
func TestScheduleIsAFunctionOfTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		used, fresh := NewSchedule(twice), NewSchedule(twice)
		base := int64(20700) * Day
		for range rapid.IntRange(1, 8).Draw(t, "questions") {
			used.Done(base + rapid.Int64Range(-40*Day, 40*Day).Draw(t, "earlier"))
		}
		at := base + rapid.Int64Range(-30*Day, 30*Day).Draw(t, "at")
		c1, s1 := used.Done(at)
		c2, s2 := fresh.Done(at)
		if c1 != c2 || s1 != s2 {
			t.Fatalf("at %d: %d uses %d s, fresh %d and %d", at, c1, s1, c2, s2)
		}
		later := at + rapid.Int64Range(0, 3*Day).Draw(t, "later")
		c3, s3 := used.Done(later)
		if c3 < c1 || s3 < s1 {
			t.Fatalf("totals went down from %d, %d to %d, %d", c1, s1, c3, s3)
		}
	})
}

func TestEveryUseIsReportedOnce(t *testing.T) {
	s := NewSchedule(twice)
	from := int64(20700) * Day
	seen := map[int64]bool{}
	for at := from; at < from+10*Day; at += 600 {
		if x, ok := s.Ended(at-600, at); ok {
			if seen[x.N] {
				t.Fatalf("use %d twice", x.N)
			}
			seen[x.N] = true
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d of 20 uses reported", len(seen))
	}
}
