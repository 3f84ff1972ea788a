package rules

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"aftercare/internal/fleet"
	"pgregory.net/rapid"
)

// TestStoreKeepsWhatIsPutIn: every place the builder gave out holds its own value, whatever is set around it.
func TestStoreKeepsWhatIsPutIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &builder{p: &program{}}
		var nums, times, counts, texts []int
		row := func(to *[]int, at, n int) {
			for i := range n {
				*to = append(*to, at+i)
			}
		}
		for range rapid.IntRange(1, 12).Draw(t, "rows") {
			switch n := rapid.IntRange(1, 9).Draw(t, "n"); rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				row(&nums, b.nums(n), n)
			case 1:
				row(&times, b.times(n), n)
			case 2:
				row(&counts, b.counts(n), n)
			default:
				row(&texts, b.texts(n), n)
			}
		}
		st := newStore(b.p, slices.Clone(b.p.blank))
		for _, i := range nums {
			if !math.IsNaN(st.num(i)) {
				t.Fatal("a number is known at first")
			}
		}
		for _, i := range texts {
			if st.text(i) != "" {
				t.Fatal("a text is known at first")
			}
		}
		want := map[string]string{}
		set := func(kind string, at []int, set func(i int) string) {
			for _, i := range at {
				if rapid.Bool().Draw(t, "set") {
					want[fmt.Sprint(kind, i)] = set(i)
				}
			}
		}
		for range 2 {
			set("num", nums, func(i int) string {
				v := rapid.Float64().Draw(t, "v")
				st.setNum(i, v)
				return fmt.Sprint(v)
			})
			set("time", times, func(i int) string {
				v := rapid.SampledFrom([]int64{never, later, math.MinInt64 / 2, -1, 0, 1_767_225_600_123}).Draw(t, "v")
				st.setTime(i, v)
				return fmt.Sprint(v)
			})
			set("count", counts, func(i int) string {
				v := rapid.Uint32().Draw(t, "v")
				st.setCount(i, v)
				return fmt.Sprint(min(v, 65535))
			})
			set("text", texts, func(i int) string {
				v := rapid.String().Draw(t, "v")
				st.setText(i, v)
				return v
			})
		}
		check := func(kind string, at []int, get func(i int) string) {
			for _, i := range at {
				if w, ok := want[fmt.Sprint(kind, i)]; ok && get(i) != w {
					t.Fatalf("%s %d is %s, want %s", kind, i, get(i), w)
				}
			}
		}
		check("num", nums, func(i int) string { return fmt.Sprint(st.num(i)) })
		check("num", nums, func(i int) string { return fmt.Sprint(st.nums(i, 1).at(0)) })
		check("time", times, func(i int) string { return fmt.Sprint(st.time(i)) })
		check("count", counts, func(i int) string { return fmt.Sprint(st.count(i)) })
		check("text", texts, st.text)
	})
}

// TestAFullBucketKeepsItsMean: beyond 65,535 readings a bucket counts and adds no more, so avg is right and count a lower bound.
func TestAFullBucketKeepsItsMean(t *testing.T) {
	set := loadPack(t, `r | when: avg(drain_s, "24h") + max(drain_s, "24h") + count(drain_s, "24h") > 1e9`)
	p := set.programs["washer-w7"]
	d := newDevice(fleet.DeviceKey{}, p, slices.Clone(p.blank))
	a, now := &p.aggs[0], t0.UnixMilli()
	for range 70_000 {
		a.add(&d, now, 3)
	}
	a.add(&d, now, 9)
	if n, sum, most := a.counted(&d, now), a.summed(&d, now), a.largest(&d, now); n != 65_535 || sum/n != 3 || most != 9 {
		t.Errorf("count %v, sum %v, max %v", n, sum, most)
	}
}

// TestRosterIsAMap: what was added is found, nothing else is, and nothing moves.
func TestRosterIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, obvious := newRoster(), map[fleet.DeviceKey]*device{}
		for range rapid.IntRange(1, 900).Draw(t, "n") {
			key := fleet.DeviceKey{Tenant: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tenant"), Serial: fmt.Sprint(rapid.IntRange(0, 600).Draw(t, "serial"))}
			if got := r.get(key); got != obvious[key] {
				t.Fatalf("%v: %p, want %p", key, got, obvious[key])
			}
			if obvious[key] == nil {
				obvious[key] = r.add(device{key: r.own(key)})
			}
		}
		if r.n != len(obvious) {
			t.Fatalf("%d devices, want %d", r.n, len(obvious))
		}
		for i := range r.n {
			if d := r.at(i); obvious[d.key] != d {
				t.Fatalf("%v has moved", d.key)
			}
		}
	})
}
