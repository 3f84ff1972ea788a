package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWhatCannotBeProvenIsNoMistake(t *testing.T) {
	for _, cond := range []string{
		`drain_s > 5 and prev(drain_s) < 5`,
		`(drain_s > 5 or door_open) and (drain_s < 3 or mode == "eco")`,
		`drain_s >= 5 and drain_s <= 5`,
		`mode in ["a", "b"] and mode != "a"`,
		`mode not in ["a"] and mode in ["a", "c"]`,
		`drain_s != 5 and drain_s != 6`,
		`not (drain_s > 5 and drain_s < 3) and drain_s > 1`,
		`age(drain_s) >= 0 and 5 < drain_s < 7`,
		`(door_open ? drain_s > 5 : drain_s < 3) and door_open`,
		`drain_s > 5 and cycles < 5 and drain_s < cycles`,
	} {
		if _, problems := loadText(packYAML("a | when: '" + cond + "'")); len(problems) > 0 {
			t.Errorf("%s: %v", cond, problems)
		}
	}
}

// drawCondition makes a condition over two fields, a text and a truth value.
func drawCondition(t *rapid.T, depth int) string {
	if depth > 0 && rapid.IntRange(0, 2).Draw(t, "joined") > 0 {
		l, r := drawCondition(t, depth-1), drawCondition(t, depth-1)
		return fmt.Sprintf(rapid.SampledFrom([]string{"(%s and %s)", "(%s or %s)", "not (%s and %s)", "not (%s or %s)"}).Draw(t, "form"), l, r)
	}
	switch rapid.IntRange(0, 5).Draw(t, "part") {
	case 0:
		return rapid.SampledFrom([]string{"door_open", "not door_open", "door_open == false", "true != door_open"}).Draw(t, "truth")
	case 1:
		return "mode " + rapid.SampledFrom([]string{`== "a"`, `!= "a"`, `in ["a", "b"]`, `not in ["b", "c"]`, `== "c"`}).Draw(t, "text")
	case 2:
		return fmt.Sprintf("%d %s drain_s", rapid.IntRange(0, 4).Draw(t, "k"), rapid.SampledFrom([]string{"<", "<=", ">", ">=", "==", "!="}).Draw(t, "op"))
	default:
		return fmt.Sprintf("%s %s %d", rapid.SampledFrom([]string{"drain_s", "vibration_mm_s"}).Draw(t, "field"),
			rapid.SampledFrom([]string{"<", "<=", ">", ">=", "==", "!="}).Draw(t, "op"), rapid.IntRange(-1, 4).Draw(t, "k"))
	}
}

// TestWhatIsCalledImpossibleNeverHappens tries conditions on all devices there can be, as far as the conditions can tell them apart.
func TestWhatIsCalledImpossibleNeverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		when, clr := drawCondition(t, 3), drawCondition(t, 2)
		_, problems := loadText(packYAML("a | when: '" + when + "'"))
		var claimed string
		if len(problems) == 0 {
			_, problems = loadText(packYAML("a | when: '" + when + "' | clear: '" + clr + "'"))
			claimed = "(" + when + ") and not (" + clr + ")"
			if len(problems) == 0 || !strings.Contains(problems[0].Message, "never opens") {
				return
			}
		} else if part, ok := strings.CutSuffix(problems[0].Message, " is never true"); !ok || strings.HasSuffix(part, "...") {
			return // clipped
		} else {
			claimed = part
		}
		set := unchecked(t, claimed)
		happens := false
		for _, drain := range []string{"0", "0.5", "1", "2", "2.5", "3", "4", "9"} {
			for _, mode := range []string{"a", "b", "c", "d"} {
				for _, door := range []string{"true", "false"} {
					for _, vib := range []string{"-2", "-1", "0", "1.5", "2", "4"} {
						l := &life{t: nil, s: NewState(set), lag: time.Second}
						r := l.reading(0, 0, fmt.Sprintf("drain_s=%s mode=%s door_open=%s vibration_mm_s=%s", drain, mode, door, vib))
						happens = happens || len(l.sendReading(r)) > 0
					}
				}
			}
		}
		if happens {
			t.Fatalf("%s, clear %s: %v, but it happens", when, clr, problems)
		}
	})
}

// unchecked loads a condition whatever can be proven about it: as a choice, which is not looked into.
func unchecked(t *rapid.T, cond string) *Set {
	set, problems := loadText(packYAML("a | when: 'drain_s > -1 ? (" + cond + ") : false'"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}
