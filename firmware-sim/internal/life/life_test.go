package life

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/profiletest"
	"aftercare/firmware-sim/internal/signal"
)

var start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).Unix()

const days = 180

// alive makes a device in a home of its own.
func alive(t *testing.T, model, serial string) *Life {
	t.Helper()
	w := NewWeather(1, start, days)
	l, err := New(model, serial, 1, NewHome(1, "home of "+serial, w, start, days), start)
	if err != nil {
		t.Fatal(err)
	}
	l.Befall(days)
	return l
}

// faultKinds returns the kinds that can be inflicted on a model.
func faultKinds(model string) []string {
	var names []string
	for _, k := range kinds {
		if k.Model == model && (k.Sort() == "wear" || k.Sort() == "abrupt") {
			names = append(names, k.Name)
		}
	}
	return names
}

// play steps a device through the simulation.
func play(l *Life, each func(at int64, r *device.Reading, ev []Event)) {
	var r device.Reading
	for at := start; at < start+days*signal.Day; at += l.Interval {
		ev := l.Step(at, &r)
		each(at, &r, ev)
	}
	l.Close(start + days*signal.Day)
}

// Every fault runs its course: readings fit the profile throughout, codes are of the dictionary, and the truth tells onset,
// failure and repair.
func TestFaultsRunTheirCourse(t *testing.T) {
	for _, m := range models {
		t.Run(m.id, func(t *testing.T) {
			p := profiletest.Read(t, m.id)
			sent := map[string]bool{}
			for _, kind := range faultKinds(m.id) {
				k := kindOf(kind)
				l := alive(t, m.id, "X-"+kind)
				onset := start + 40*signal.Day
				l.Inflict(kind, onset)
				l.faults[0].early = 0
				n := 0
				play(l, func(_ int64, r *device.Reading, ev []Event) {
					if n++; len(r.Fields) > 0 && (n%5 == 0 || l.level(kind) > 0.9) {
						p.Check(t, r)
					}
					for name := range r.All() {
						sent[name] = true
					}
					for _, e := range ev {
						if p.FaultCodes[e.Code] == nil {
							t.Fatalf("%s: code %s is not in the dictionary", kind, e.Code)
						}
					}
				})
				i := slices.IndexFunc(l.Conditions, func(c Condition) bool { return c.Kind == kind })
				if i < 0 {
					t.Errorf("%s: nothing in the truth", kind)
					continue
				}
				c := l.Conditions[i]
				if k.pace != byHand && m.id != mower && !k.Abrupt && c.Onset != onset || c.Onset < start {
					t.Errorf("%s: onset %v", kind, time.Unix(c.Onset, 0))
				}
				if c.Failure == 0 || c.Failure < c.Onset || c.End != 0 && c.End <= c.Failure {
					t.Errorf("%s: onset %d, failure %d, end %d", kind, c.Onset, c.Failure, c.End)
				}
				t.Logf("%-26s onset to failure %5.1f days, to repair %5.1f", kind, float64(c.Failure-c.Onset)/signal.Day, float64(c.End-c.Failure)/signal.Day)
			}
			for name := range p.Fields {
				if !sent[name] {
					t.Errorf("nothing ever sends %q", name)
				}
			}
			for name, f := range p.Fields {
				if f.Required != Required(m.id, name) {
					t.Errorf("%s: the profile and Required differ", name)
				}
			}
		})
	}
}

// Until its onset a device does not differ from a twin that never falls ill; after it, it does.
func TestTwins(t *testing.T) {
	for _, m := range models {
		for _, kind := range faultKinds(m.id) {
			onset := start + 95*signal.Day
			well, ill := alive(t, m.id, "T-1"), alive(t, m.id, "T-1")
			ill.Inflict(kind, onset)
			onset = ill.faults[0].start
			var a, b device.Reading
			differs := false
			for at := start; at < start+days*signal.Day && !differs; at += ill.Interval {
				ea := slices.Clone(well.Step(at, &a))
				eb := ill.Step(at, &b)
				differs = !reflect.DeepEqual(a.Fields, b.Fields) || !slices.Equal(ea, eb)
				if differs && at < onset && ill.faults[0].kind.pace != byHand {
					t.Fatalf("%s: differs %v before onset: %v and %v", kind, time.Duration(onset-at)*time.Second, a.Fields, b.Fields)
				}
			}
			if !differs {
				t.Errorf("%s is never felt", kind)
			}
		}
	}
}

func TestKindsFitTheProfiles(t *testing.T) {
	warns := map[string]int{}
	for _, k := range kinds {
		if k.Onset == "" || (k.Failure == "") != (k.Habit || k.Mishap || k.Sort() == "healthy") {
			t.Errorf("%s does not say what onset and failure are", k.Name)
		}
		if k.Model == "" {
			continue
		}
		p := profiletest.Read(t, k.Model)
		if k.Component != "" && p.Components[k.Component] == nil {
			t.Errorf("%s: %s has no component %q", k.Name, k.Model, k.Component)
		}
		if k.Code != "" && p.FaultCodes[k.Code] == nil {
			t.Errorf("%s: %s has no code %q", k.Name, k.Model, k.Code)
		}
		if k.Sort() == "wear" {
			warns[k.Model]++
		}
	}
	for _, m := range models {
		if warns[m.id] < 3 {
			t.Errorf("%s has only %d faults that warn", m.id, warns[m.id])
		}
	}
}
