package detect

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// noisy is n rows of a machine: a level that jitters, one that wanders, one that repeats and one that stands still.
func noisy(n int, seed uint64) [][]float64 {
	r := rand.New(rand.NewPCG(seed, 7))
	rows, wander := make([][]float64, n), 0.0
	for i := range rows {
		wander += r.NormFloat64() * 0.05
		rows[i] = []float64{32 + 0.4*r.NormFloat64(), 70 + wander + 0.05*r.NormFloat64(), 5*math.Sin(float64(i)/7) + r.NormFloat64(), 3}
	}
	return rows
}

func multi(t testing.TB, channels int) *Multi {
	t.Helper()
	m, err := NewMulti(DefaultMulti(channels))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func answers(t testing.TB, rows [][]float64) []Answer {
	t.Helper()
	m, out := multi(t, len(rows[0])), make([]Answer, len(rows))
	for i, row := range rows {
		out[i] = m.Next(row)
	}
	return out
}

func alarms(a []Answer) (n int) {
	for _, x := range a {
		if x.Alarm {
			n++
		}
	}
	return n
}

func TestMultiQuietOnAHealthyMachine(t *testing.T) {
	total := 0
	for seed := range uint64(10) {
		total += alarms(answers(t, noisy(4000, seed)))
	}
	if total > 10*4000/20 {
		t.Errorf("%d of 40000 rows in alarm: more than 5 %%", total)
	}
}

// TestMultiSeesAChange: in each channel that can change, up and down, is found soon, named, and over when it is over.
func TestMultiSeesAChange(t *testing.T) {
	for channel, step := range map[int]float64{0: 2, 1: -8, 2: 20, 3: 0.001} {
		rows := noisy(1400, 3)
		for _, row := range rows[800:1100] {
			row[channel] += step
		}
		a := answers(t, rows)
		if n := alarms(a[:800]); n > 20 {
			t.Errorf("channel %d: %d rows in alarm before anything happened", channel, n)
		}
		if n := alarms(a[830:1100]); n < 250 {
			t.Errorf("channel %d: %d of 270 rows in alarm", channel, n)
		}
		if got := a[850].Channel; got != channel {
			t.Errorf("channel %d: %d was named", channel, got)
		}
		if a[850].Score < 1 {
			t.Errorf("channel %d: score %v in the alarm", channel, a[850].Score)
		}
		if channel != 3 && a[1300].Alarm { // rounding is exact: what stood still takes longer to be back there
			t.Errorf("channel %d: the alarm goes on after the change is over", channel)
		}
	}
}

// TestMultiLearnsWhatStays: a level that stays is in alarm for Hold rows, and normal from then on.
func TestMultiLearnsWhatStays(t *testing.T) {
	rows := noisy(2000, 5)
	for _, row := range rows[600:] {
		row[0] += 4
	}
	a := answers(t, rows)
	if n := alarms(a[600:1130]); n < DefaultMulti(4).Hold-20 {
		t.Errorf("%d rows in alarm after the step", n)
	}
	if n := alarms(a[1130:]); n > 40 {
		t.Errorf("%d of 870 rows in alarm at a level that has stayed", n)
	}
}

// TestMultiLooksNotAhead: what comes later changes nothing that was said; training rows are never in alarm.
func TestMultiLooksNotAhead(t *testing.T) {
	rows := noisy(1200, 9)
	whole := answers(t, rows)
	for _, row := range rows[700:] {
		row[0], row[2] = -1000, 1e9
	}
	for i, a := range answers(t, rows)[:700] {
		if a != whole[i] {
			t.Fatalf("row %d: %+v, and %+v before other rows followed", i, a, whole[i])
		}
	}
	if a := whole[:DefaultMulti(4).Train]; alarms(a) > 0 || a[len(a)-1].Score != 0 {
		t.Error("training rows were judged")
	}
}

// TestMultiKnowsNoUnits: degrees Celsius or Fahrenheit, the alarms are the same.
func TestMultiKnowsNoUnits(t *testing.T) {
	rows := noisy(1500, 11)
	for _, row := range rows[900:1200] {
		row[1] -= 8
	}
	want := answers(t, rows)
	for _, row := range rows {
		for c := range row {
			row[c] = row[c]*1024 + 32
		}
	}
	for i, a := range answers(t, rows) {
		if a.Alarm != want[i].Alarm || math.Abs(a.Score-want[i].Score) > 1e-3*(1+want[i].Score) {
			t.Fatalf("row %d: %+v, in other units %+v", i, want[i], a)
		}
	}
}

// TestMultiWithoutValues: missing values neither alarm nor hide a change in another channel; a channel that had none in
// training is left out.
func TestMultiWithoutValues(t *testing.T) {
	rows := noisy(1200, 13)
	for i, row := range rows {
		if i%3 == 0 {
			row[0] = math.NaN()
		}
		if i < 450 {
			row[2] = math.Inf(1)
		}
		if i >= 800 {
			row[0] += 2
		}
	}
	a := answers(t, rows)
	if n := alarms(a[:800]); n > 20 {
		t.Errorf("%d rows in alarm before anything happened", n)
	}
	if n := alarms(a[850:1200]); n < 320 || a[900].Channel != 0 {
		t.Errorf("%d of 350 rows in alarm, channel %d named", n, a[900].Channel)
	}
}

func TestMultiConfigMistakes(t *testing.T) {
	for name, spoil := range map[string]func(*MultiConfig){
		"channels": func(c *MultiConfig) { c.Channels = 0 },
		"train":    func(c *MultiConfig) { c.Train = minTrain - 1 },
		"fast":     func(c *MultiConfig) { c.Fast = math.NaN() },
		"slow":     func(c *MultiConfig) { c.Slow = c.Fast },
		"spread":   func(c *MultiConfig) { c.Spread = 0 },
		"limit":    func(c *MultiConfig) { c.Limit = -1 },
		"clear":    func(c *MultiConfig) { c.Clear = 1.1 },
		"hold":     func(c *MultiConfig) { c.Hold = 0 },
	} {
		c := DefaultMulti(3)
		spoil(&c)
		if _, err := NewMulti(c); err == nil {
			t.Errorf("%s: %+v was accepted", name, c)
		}
	}
}

func TestMultiAllocatesNothing(t *testing.T) {
	rows := noisy(401, 1)
	m := multi(t, 4)
	for _, row := range rows[:400] {
		m.Next(row)
	}
	if n := testing.AllocsPerRun(1000, func() { m.Next(rows[400]) }); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}

// FuzzMulti: whatever bits come as numbers, scores are numbers, not below 0, and an alarm ends after Hold rows.
func FuzzMulti(f *testing.F) {
	f.Add([]byte("12345678abcdefgh\x7f\xff\xff\xff\xff\xff\xff\xff\x7f\xf0\x00\x00\x00\x00\x00\x00"))
	huge := []byte{0x5f, 0x20, 0, 0, 0, 0, 0, 0, 0xdf, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	f.Add(huge)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 8 {
			return
		}
		cfg := DefaultMulti(2)
		cfg.Train, cfg.Hold = minTrain, 50
		m, err := NewMulti(cfg)
		if err != nil {
			t.Fatal(err)
		}
		at, long, row := 0, 0, make([]float64, 2)
		for range 400 {
			for c := range row {
				if at+8 > len(b) {
					at = 0
				}
				row[c] = math.Float64frombits(binary.BigEndian.Uint64(b[at:]))
				at += 8
			}
			a := m.Next(row)
			if !(a.Score >= 0) {
				t.Fatalf("score %v", a.Score)
			}
			if long++; !a.Alarm {
				long = 0
			}
			if long > cfg.Hold {
				t.Fatalf("%d rows in alarm", long)
			}
		}
	})
}

// BenchmarkMulti8 is the price of a row of eight channels.
func BenchmarkMulti8(b *testing.B) {
	rows := make([][]float64, 4096)
	for i, row := range noisy(4096, 2) {
		rows[i] = append(row, row...)
	}
	m := multi(b, 8)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Next(rows[i%len(rows)])
	}
}
