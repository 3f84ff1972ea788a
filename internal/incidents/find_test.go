package incidents

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// slowTail sums the definition in rational numbers.
func slowTail(k, n int, p *big.Rat) float64 {
	q, sum := new(big.Rat).Sub(big.NewRat(1, 1), p), new(big.Rat)
	for i := max(k, 0); i <= n; i++ {
		term := new(big.Rat).SetInt(new(big.Int).Binomial(int64(n), int64(i)))
		for range i {
			term.Mul(term, p)
		}
		for range n - i {
			term.Mul(term, q)
		}
		sum.Add(sum, term)
	}
	f, _ := sum.Float64()
	return f
}

func TestTheTailIsTheBinomials(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "n")
		k := rapid.IntRange(-1, n+1).Draw(t, "k")
		p := big.NewRat(rapid.Int64Range(0, 200).Draw(t, "p"), 200)
		f, _ := p.Float64()
		got, want := tail(k, n, f), slowTail(k, n, p)
		if math.Abs(got-want) > 1e-9*want+1e-12 {
			t.Fatalf("P(at least %d of %d at %v) = %v, want %v", k, n, f, got, want)
		}
	})
}

func TestTheTailOfLargeFleets(t *testing.T) {
	for _, c := range []struct {
		k, n int
		p    float64
	}{{200, 100_000, 0.001}, {50, 100_000, 0.001}, {1, 1_000_000, 1e-6}, {9, 1_000_000, 1e-5}} {
		got := tail(c.k, c.n, c.p)
		rest := 1 - sum(c.k-1, c.n, c.p, -1) // the other way round
		if math.IsNaN(got) || math.Abs(got-rest) > 1e-8 {
			t.Errorf("P(at least %d of %d at %v) = %v, %v by the complement", c.k, c.n, c.p, got, rest)
		}
	}
}

func TestTheUpperBoundCovers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5000).Draw(t, "n")
		x := rapid.IntRange(0, n-1).Draw(t, "x")
		p := upper(x, n)
		if p <= float64(x)/float64(n) || p > 1 {
			t.Fatalf("upper bound %v of %d of %d", p, x, n)
		}
		if at := 1 - tail(x+1, n, p); math.Abs(at-0.05) > 1e-6 {
			t.Fatalf("so few as %d of %d at %v have the probability %v, want 0.05", x, n, p, at)
		}
	})
	if p := upper(0, 1000); math.Abs(p-0.002991) > 1e-5 { // the rule of three
		t.Errorf("upper bound of 0 in 1000 is %v", p)
	}
	if p := upper(0, 0); p != 1 {
		t.Errorf("upper bound of nothing is %v", p)
	}
}

// never is for problems that are no maintenance.
func never(group) float64 { panic("asked for the rate at their age") }

// fleetOf makes the cells of firmwares x batches, size devices each.
func fleetOf(firmwares, batches, size int) sample {
	var s sample
	for f := range firmwares {
		for b := range batches {
			s.cells = append(s.cells, cell{place: place{fmt.Sprint("2.", f), fmt.Sprint("B", b)}, devices: size})
		}
	}
	s.past = 12 * float64(firmwares*batches*size)
	return s
}

// happen draws the cases of a window at a rate, higher by a factor in one group, and those of before.
func happen(r *rand.Rand, s sample, rate float64, bad place, factor float64) sample {
	s.cells = slices.Clone(s.cells)
	draw := func(n int, p float64) (k int) {
		for range n {
			if r.Float64() < p {
				k++
			}
		}
		return k
	}
	for i := range s.cells {
		x := &s.cells[i]
		p := rate
		if bad.has(x.place) {
			p = min(1, rate*factor)
		}
		x.affected = draw(x.devices, p)
		x.hard, x.before = x.affected, draw(12*x.devices, rate)
	}
	s.tests = 200
	return s
}

var nowhere = place{"none", "none"}

// TestFalseIncidentsAreRarerThanAlpha: weeks of fleets in which nothing is wrong. At the shipped alpha hardly any false incident
// can be seen, so the test's own promise is looked at with a large one, too.
func TestFalseIncidentsAreRarerThanAlpha(t *testing.T) {
	for _, c := range []struct {
		alpha float64
		weeks int
	}{{1e-4, 2000}, {0.2, 2000}} {
		cfg := DefaultConfig()
		cfg.Alpha, cfg.Ratio, cfg.WholeRatio = c.alpha, 1, 1
		wrong := 0
		r := rand.New(rand.NewPCG(1, 2))
		for week := range c.weeks {
			f := fleetOf(3, 4, 25)
			f.tests = 0
			s := happen(r, f, []float64{0.002, 0.01, 0.05, 0.2}[week%4], nowhere, 1)
			s.tests = len(cfg.groups(&s))
			if len(cfg.find(s, never)) > 0 {
				wrong++
			}
		}
		t.Logf("alpha %v: %d false incidents in %d weeks of 300 devices in 20 groups, without the ratio", c.alpha, wrong, c.weeks)
		if float64(wrong) > c.alpha*float64(c.weeks)+0.5 {
			t.Errorf("alpha %v: %d false incidents in %d weeks", c.alpha, wrong, c.weeks)
		}
	}
}

// TestThePowerOfTheTest says in its log how often a bad group is found, and that it is the right one.
func TestThePowerOfTheTest(t *testing.T) {
	cfg := DefaultConfig()
	bad := place{firmware: "2.1"}
	for _, size := range []int{25, 100} { // 100 and 400 devices with the bad firmware
		for _, factor := range []float64{3, 5, 10, 20, 40} {
			r := rand.New(rand.NewPCG(3, 4))
			const weeks = 100
			found, right := 0, 0
			for range weeks {
				for _, o := range cfg.find(happen(r, fleetOf(3, 4, size), 0.01, bad, factor), never) {
					found++
					if o.place == bad {
						right++
					}
				}
			}
			t.Logf("%d of %d devices at %2.0f times 1 %% a week: found in %d of %d weeks, the firmware named in %d", 4*size, 12*size, factor, found, weeks, right)
			if factor >= 20 && (found < 85 || right < found-3) {
				t.Errorf("%d devices at %v times the normal rate: found %d, right %d of %d", 4*size, factor, found, right, weeks)
			}
			if factor == 3 && found > weeks/2 {
				t.Errorf("three times the normal rate is found %d times: not what is promised", found)
			}
		}
	}
}

// TestTheGroupThatExplainsItIsNamed: the firmware when it explains all, the batch when that does, both when only their devices
// have it.
func TestTheGroupThatExplainsItIsNamed(t *testing.T) {
	cfg := DefaultConfig()
	for _, bad := range []place{{firmware: "2.1"}, {batch: "B2"}, {"2.1", "B2"}} {
		r := rand.New(rand.NewPCG(5, 6))
		wrong := 0
		for range 100 {
			found := cfg.find(happen(r, fleetOf(3, 4, 50), 0.005, bad, 80), never)
			if len(found) != 1 || found[0].place != bad {
				wrong++
			}
		}
		if wrong > 3 {
			t.Errorf("%+v: %d of 100 times something else was named", bad, wrong)
		}
	}
}

func TestABatchWithNothingButTheFirmwareIsNotNamed(t *testing.T) {
	cfg := DefaultConfig()
	s := sample{past: 4000, tests: 20, cells: []cell{
		{place: place{"2.0", "A"}, devices: 200}, {place: place{"2.1", "B"}, devices: 50, affected: 15, hard: 15},
		{place: place{"2.1", "C"}, devices: 50, affected: 16, hard: 16}}}
	found := cfg.find(s, never)
	if len(found) != 1 || found[0].place != (place{firmware: "2.1"}) || found[0].affected != 31 || found[0].devices != 100 {
		t.Errorf("found %+v", found)
	}
	s.cells = s.cells[:2] // firmware 2.1 and batch B are the same devices
	found = cfg.find(s, never)
	if len(found) != 1 || found[0].place != (place{firmware: "2.1"}) {
		t.Errorf("found %+v", found)
	}
}

func TestTwoIncidentsOfOneProblem(t *testing.T) {
	s := fleetOf(4, 3, 60)
	for i := range s.cells {
		if x := &s.cells[i]; x.firmware == "2.1" || x.batch == "B2" && x.firmware != "2.1" {
			x.affected, x.hard = 40, 40
		}
	}
	found := DefaultConfig().find(s, never)
	if len(found) != 2 {
		t.Fatalf("found %+v", found)
	}
	for _, want := range []place{{firmware: "2.1"}, {batch: "B2"}} {
		if !slices.ContainsFunc(found, func(o outbreak) bool { return o.place == want }) {
			t.Errorf("%+v is missing in %+v", want, found)
		}
	}
}

func TestWhatIsNoIncident(t *testing.T) {
	bad := func(do func(*sample, *Config)) (sample, Config) {
		s, cfg := fleetOf(2, 2, 100), DefaultConfig()
		s.tests = 50
		do(&s, &cfg)
		return s, cfg
	}
	for name, do := range map[string]func(*sample, *Config){
		"too few with the problem": func(s *sample, c *Config) {
			c.Floor = 1e-9
			s.cells[0].affected, s.cells[0].hard, s.past = 4, 4, 1e9
		},
		"a group of too few devices": func(s *sample, _ *Config) {
			s.cells = append(s.cells, cell{place: place{"9", "Z"}, devices: 9, affected: 9, hard: 9})
		},
		"a season: everybody has it": func(s *sample, _ *Config) {
			for i := range s.cells {
				s.cells[i].affected, s.cells[i].hard, s.cells[i].before = 20, 20, 30
			}
		},
		"always so in this group": func(s *sample, _ *Config) { s.cells[0].affected, s.cells[0].hard, s.cells[0].before = 30, 30, 12*30 },
		"a whole model that has no past": func(s *sample, _ *Config) {
			s.past = 0
			for i := range s.cells {
				s.cells[i].affected, s.cells[i].hard = 90, 90
			}
		},
		"a new rule that finds what was there": func(s *sample, _ *Config) {
			for i := range s.cells {
				s.cells[i].affected, s.cells[i].hard = 9, 9
			}
		},
		"maintenance that is due on all of them": func(s *sample, _ *Config) {
			for i := range s.cells {
				s.cells[i].affected, s.cells[i].before = 90, 1
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, cfg := bad(do)
			if found := cfg.find(s, never); len(found) > 0 {
				t.Errorf("found %+v", found)
			}
		})
	}
}

func TestAWholeModelThatFails(t *testing.T) {
	s := fleetOf(2, 2, 100)
	s.tests = 10
	for i := range s.cells {
		s.cells[i].affected, s.cells[i].hard, s.cells[i].before = 30, 30, 2
	}
	found := DefaultConfig().find(s, never)
	if len(found) != 1 || found[0].place != (place{}) {
		t.Errorf("found %+v", found)
	}
}

func TestMaintenanceIsComparedAtEqualAge(t *testing.T) {
	s := fleetOf(1, 4, 100)
	s.tests = 20
	s.cells[2].affected = 40
	for _, c := range []struct {
		rate float64
		want int
	}{{0.01, 1}, {0.4, 0}, {1, 0}, {-1, 0}} {
		asked := 0
		found := DefaultConfig().find(s, func(g group) float64 { asked++; return c.rate })
		if len(found) != c.want || asked == 0 {
			t.Errorf("where %v is normal at their age: found %+v", c.rate, found)
		}
	}
}

func TestTheRateAtAnAge(t *testing.T) {
	now := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	if got := (&ages{step: 7 * 24 * time.Hour}).class(now.Add(-100*24*time.Hour), now); got != 14 {
		t.Errorf("class %d", got)
	}
	a := ages{group: map[int]int{0: 50, 3: 50}, others: map[int]int{0: 1000, 3: 1000}, had: map[int]int{3: 500}}
	if r := a.rate(); r < 0.25 || r > 0.28 {
		t.Errorf("rate %v, want a little above a quarter", r)
	}
	a = ages{group: map[int]int{7: 10}, others: map[int]int{6: 100, 7: 100, 8: 100}, had: map[int]int{6: 80}}
	if r := a.rate(); r < 0.8 || r > 0.9 {
		t.Errorf("rate %v: what is due is not due on the day", r)
	}
	for name, a := range map[string]ages{"nobody else is so old": {group: map[int]int{9: 10}}, "too few are": {group: map[int]int{9: 10}, others: map[int]int{9: 19}},
		"the age is not known": {group: map[int]int{-1: 10}, others: map[int]int{-1: 1000}}} {
		if r := a.rate(); r != 1 {
			t.Errorf("%s: rate %v", name, r)
		}
	}
}

func TestGroupsAddUp(t *testing.T) {
	cfg := DefaultConfig()
	rapid.Check(t, func(t *rapid.T) {
		var s sample
		seen := map[place]bool{}
		for range rapid.IntRange(0, 12).Draw(t, "cells") {
			p := place{rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "firmware"), rapid.SampledFrom([]string{"", "A", "B"}).Draw(t, "batch")}
			if seen[p] {
				continue
			}
			seen[p] = true
			n := rapid.IntRange(0, 40).Draw(t, "devices")
			s.cells = append(s.cells, cell{place: p, devices: n, affected: rapid.IntRange(0, n).Draw(t, "affected")})
		}
		for _, g := range cfg.groups(&s) {
			var devices, affected int
			for _, x := range s.cells {
				if g.has(x.place) {
					devices, affected = devices+x.devices, affected+x.affected
				}
			}
			if devices != g.devices || affected != g.affected {
				t.Fatalf("group %+v, its cells have %d devices, %d affected", g, devices, affected)
			}
		}
		seenGroup := map[place]bool{}
		for _, o := range cfg.find(s, func(group) float64 { return -1 }) {
			if seenGroup[o.place] || o.affected < cfg.MinAffected || o.devices < cfg.MinDevices {
				t.Fatalf("found %+v", o)
			}
			seenGroup[o.place] = true
		}
	})
}
