package rules

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules/detect"
)

// TestAnomalyAgainstTheDetector: anomaly gives what the detector says of the values in order, over restores, resends and late readings.
func TestAnomalyAgainstTheDetector(t *testing.T) {
	const one, two = `anomaly(drain_s)`, `anomaly(drain_s, vibration_mm_s)`
	tr := newTrial(t, one, two)
	var slow detect.Anomaly
	cfg := detect.DefaultMulti(2)
	cfg.Train = multiTraining
	multi, err := detect.NewMulti(cfg)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	highest, highest2 := 0.0, 0.0
	for i := range 700 {
		v, w := 50+5*math.Sin(float64(i)/20)+rng.NormFloat64(), 3+rng.NormFloat64()/3
		if i > 600 {
			v, w = v+40, w+4
		}
		fs := fmt.Sprintf("drain_s=%.2f", v)
		if i%3 > 0 {
			fs += fmt.Sprintf(" vibration_mm_s=%.3f", w)
		}
		r := tr.life.reading(fleet.Telemetry, time.Duration(i)*10*time.Minute, fs)
		tr.send(r)
		row := []float64{r.Fields[0].Value.Float, math.NaN()}
		if len(r.Fields) > 1 {
			row[1] = r.Fields[1].Value.Float
		}
		want := slow.Step(row[0])
		score := multi.Next(row).Score
		want2 := score / (1 + score)
		highest, highest2 = max(highest, want), max(highest2, want2)
		switch i % 50 {
		case 3:
			tr.send(r) // a resend
			tr.send(tr.life.reading(fleet.Telemetry, time.Duration(i)*10*time.Minute-5*time.Minute, "drain_s=900"))
		case 7:
			tr.restored(t)
		case 9: // a reading without the fields
			tr.send(tr.life.reading(fleet.Telemetry, time.Duration(i)*10*time.Minute+time.Minute, "cycles=5i"))
		}
		at := r.Time.UnixMilli() + 1
		if got := tr.value(one, at); got != want {
			t.Fatalf("reading %d: %s is %v, want %v", i, one, got, want)
		}
		if got := tr.value(two, at); got != want2 {
			t.Fatalf("reading %d: %s is %v, want %v", i, two, got, want2)
		}
	}
	if highest < 0.5 || highest2 < 0.5 {
		t.Errorf("the jump scored %.2f and %.2f: nothing was tested", highest, highest2)
	}
}
