package rules

import (
	"math"
	"slices"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"pgregory.net/rapid"
)

// point is a value at a time (ms).
type point struct {
	t int64
	v float64
}

// obvious is the slow version of the window functions over the points not older than from.
func obvious(points []point, from int64) (count, sum, lowest, highest float64) {
	lowest, highest = math.Inf(1), math.Inf(-1)
	for _, p := range points {
		if p.t >= from {
			count++
			sum += p.v
			lowest, highest = min(lowest, p.v), max(highest, p.v)
		}
	}
	return count, sum, lowest, highest
}

// TestWindowsAgainstTheObviousVersion: a window of length W holds exactly the points of the running bucket and the fifteen
// before it, which is between 15/16 W and W, whatever order (within the window) they came in.
func TestWindowsAgainstTheObviousVersion(t *testing.T) {
	set := loadPack(t, `r | when: 'avg(drain_s, "1h") + min(drain_s, "1h") + max(drain_s, "1h") + sum(drain_s, "1h") + count(drain_s, "1h") > 1e9'`)
	p := set.programs["washer-w7"]
	a := &p.aggs[0]
	rapid.Check(t, func(t *rapid.T) {
		fresh := newDevice(fleet.DeviceKey{}, p, slices.Clone(p.blank))
		d := &fresh
		now := t0.UnixMilli()
		points := make([]point, 0, 80)
		for range rapid.IntRange(1, 80).Draw(t, "n") {
			now += rapid.Int64Range(0, 1_500_000).Draw(t, "step")
			pt := point{t: now - rapid.SampledFrom([]int64{0, 0, 0, 60_000, 600_000, 7_200_000}).Draw(t, "back"), v: rapid.Float64Range(-100, 100).Draw(t, "v")}
			a.add(d, pt.t, pt.v)
			points = append(points, pt)
			at := now + rapid.SampledFrom([]int64{0, 1000, 1_000_000, 9_000_000}).Draw(t, "look")
			from := (floorDiv(at, a.width) - buckets + 1) * a.width
			count, sum, lowest, highest := obvious(points, from)
			if got := a.counted(d, at); got != count {
				t.Fatalf("count %v, want %v", got, count)
			}
			if got := a.summed(d, at); math.Abs(got-sum) > 1e-9 {
				t.Fatalf("sum %v, want %v", got, sum)
			}
			if got := a.smallest(d, at); got != lowest && !(math.IsNaN(got) && count == 0) {
				t.Fatalf("min %v, want %v", got, lowest)
			}
			if got := a.largest(d, at); got != highest && !(math.IsNaN(got) && count == 0) {
				t.Fatalf("max %v, want %v", got, highest)
			}
			full, _, _, _ := obvious(points, at-a.window.Milliseconds()+1)
			most, _, _, _ := obvious(points, at-a.window.Milliseconds()*15/16)
			if count > full || count < most {
				t.Fatalf("count %v is not between that of 15/16 of the window (%v) and of all of it (%v)", count, most, full)
			}
		}
	})
}

func TestOneWindowIsShared(t *testing.T) {
	set := loadPack(t, `a | when: avg(drain_s, "24h") > 1`, `b | when: avg(drain_s, "1d") > 2 and count(drain_s, "24h") > 3`)
	p := set.programs["washer-w7"]
	if len(p.aggs) != 1 || p.aggs[0].sum < 0 || p.aggs[0].min >= 0 {
		t.Errorf("windows %+v", p.aggs)
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "15m": 15 * minute, "1.5h": 90 * minute, "14d": 14 * day, "2w": 14 * day, "1d12h": 36 * hour,
	} {
		if got, err := parseDuration(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "5", "h", "-1h", "1y", "1h ", "0s", "1..5h", "9999999999d", "1h-1m"} {
		if got, err := parseDuration(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
	for d, want := range map[time.Duration]string{30 * day: "30d", minute: "1m", 90 * minute: "1h30m", time.Second: "1s"} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
}

func TestDedupe(t *testing.T) {
	var d dedupe
	for i, c := range []struct {
		boot, seq int64
		want      verdict
	}{
		{1, 10, fresh}, {1, 10, resend}, {1, 12, fresh}, {1, 11, fresh}, {1, 11, resend}, {1, 10, resend},
		{1, 80, fresh}, {1, 12, resend}, {1, 13, fresh}, {1, 300, fresh}, {1, 80, unsure}, {1, 299, fresh}, {1, 172, unsure}, {1, 173, fresh},
		{2, 0, fresh}, {1, 173, resend}, {1, 301, fresh}, {2, 0, resend}, {2, 1, fresh}, {5, 1, fresh}, {1, 9, unsure}, {2, 1, resend},
	} {
		if got := d.seen(c.boot, c.seq); got != c.want {
			t.Errorf("%d: boot %d seq %d: %v, want %v", i, c.boot, c.seq, got, c.want)
		}
	}
}

func TestDedupeAgainstTheObviousVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d dedupe
		seen, high := map[int64]bool{}, int64(math.MinInt64)
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			seq := rapid.Int64Range(0, 400).Draw(t, "seq")
			want := fresh
			switch {
			case high != math.MinInt64 && seq <= high-recent:
				want = unsure
			case seen[seq]:
				want = resend
			}
			if got := d.seen(1, seq); got != want {
				t.Fatalf("seq %d below %d: %v, want %v", seq, high, got, want)
			}
			seen[seq], high = true, max(high, seq)
		}
	})
}
