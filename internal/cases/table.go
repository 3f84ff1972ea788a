package cases

import (
	"slices"
	"strings"

	"aftercare/internal/fleet"
)

// The verbs of rules, of the clock and of incidents, beside those of people.
const (
	verbClear   fleet.CaseVerb = "clear"   // its last condition ended
	verbReturn  fleet.CaseVerb = "return"  // a condition began, or goes on, in a case that was over
	verbRemind  fleet.CaseVerb = "remind"  // a promised time has passed, or an escalation is due
	verbAdopt   fleet.CaseVerb = "adopt"   // it is a child of an incident from now on
	verbRelease fleet.CaseVerb = "release" // and is no more
)

// Who acts: the part of an actor before the colon.
const (
	byRules     = "rules"
	byClock     = "clock"
	byIncidents = "incidents"
	byAgent     = "agent"
	byOwner     = "owner"
	byPartner   = "partner"
)

// transition is a row of the table: who may do what in which states, and what comes of it.
type transition struct {
	verb fleet.CaseVerb
	from []fleet.CaseState // none: any
	to   fleet.CaseState   // empty: the state stays
	who  []string
}

var (
	untaken = []fleet.CaseState{fleet.CaseNew, fleet.CaseReopened}
	taken   = []fleet.CaseState{fleet.CaseAcked, fleet.CaseInProgress, fleet.CaseWaiting}
	ended   = []fleet.CaseState{fleet.CaseResolved, fleet.CaseWatching}
	anyOpen = fleet.OpenStates()
	helpers = []string{byAgent, byPartner}
	people  = []string{byAgent, byPartner, byOwner}
)

// table is all there is: what is not in it is refused. The first row that fits counts. A case that is resolved as repaired goes on
// to watching when its fix is to be proven. A closed case opens again by a rule only, and only while the proof of its fix lasts.
var table = []transition{
	{fleet.VerbAssign, anyOpen, "", []string{byAgent}},
	{fleet.VerbTake, untaken, fleet.CaseAcked, helpers},
	{fleet.VerbTake, taken, "", helpers},
	{fleet.VerbStart, anyOpen, fleet.CaseInProgress, helpers},
	{fleet.VerbWait, anyOpen, fleet.CaseWaiting, people},
	{fleet.VerbResume, []fleet.CaseState{fleet.CaseWaiting}, fleet.CaseInProgress, helpers},
	{fleet.VerbSnooze, anyOpen, "", []string{byAgent, byOwner}},
	{fleet.VerbUnsnooze, anyOpen, "", []string{byAgent, byOwner, byClock}},
	{fleet.VerbResolve, anyOpen, fleet.CaseResolved, people},
	{fleet.VerbClose, ended, fleet.CaseClosed, []string{byAgent, byClock}},
	{fleet.VerbReopen, ended, fleet.CaseReopened, []string{byAgent, byClock}},
	{fleet.VerbMerge, append(slices.Clone(anyOpen), ended...), fleet.CaseClosed, []string{byAgent}},
	{fleet.VerbSplit, anyOpen, "", []string{byAgent}},
	{fleet.VerbComment, nil, "", people},
	{fleet.VerbAttach, nil, "", people},
	{fleet.VerbMaintain, nil, "", []string{byAgent}},
	{verbClear, untaken, fleet.CaseResolved, []string{byRules}},
	{verbClear, taken, "", []string{byRules}}, // who has it says when it is over
	{verbReturn, ended, fleet.CaseReopened, []string{byRules}},
	{verbReturn, []fleet.CaseState{fleet.CaseClosed}, fleet.CaseReopened, []string{byRules}},
	{verbRemind, anyOpen, "", []string{byClock}},
	{verbUpdated, anyOpen, fleet.CaseResolved, []string{byIncidents}},
	{verbAdopt, anyOpen, "", []string{byIncidents, byAgent, byRules}},
	{verbRelease, nil, "", []string{byIncidents, byAgent, byRules}},
}

// Next says where a case goes when actor does verb in state from. What the table does not know is CodeConflict with a sentence that says
// what would have to be different.
func Next(from fleet.CaseState, verb fleet.CaseVerb, actor string) (fleet.CaseState, error) {
	who, _, _ := strings.Cut(actor, ":")
	var states, actors []string
	for _, t := range table {
		if t.verb != verb {
			continue
		}
		fits := len(t.from) == 0 || slices.Contains(t.from, from)
		if fits && slices.Contains(t.who, who) {
			if t.to == "" {
				return from, nil
			}
			return t.to, nil
		}
		if fits {
			actors = append(actors, t.who...)
		}
		for _, s := range t.from {
			states = append(states, said(s))
		}
	}
	switch {
	case len(actors) > 0:
		return from, fleet.Errorf(fleet.CodeConflict, "%q may not %s a case: that is for %s", actor, verb, strings.Join(actors, ", "))
	case len(states) > 0:
		return from, fleet.Errorf(fleet.CodeConflict, "the case is %s: %s is for cases that are %s", said(from), verb, strings.Join(states, ", "))
	}
	return from, fleet.Errorf(fleet.CodeInvalid, "%q cannot be done to a case", verb)
}

// said is a code in words.
func said[S ~string](s S) string { return strings.ReplaceAll(string(s), "_", " ") }
