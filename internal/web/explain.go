package web

import (
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// auditTime is how the history writes times.
const auditTime = "2006-01-02 15:04 UTC"

// explain turns the detail of a line of the history, which is written for everybody, into the page's words. What it does not know it
// shows as it is.
func (p *casePage) explain(a *fleet.Audit, e *event, people *names) {
	say := func(texts ...string) {
		for _, t := range texts {
			if t != "" {
				e.Lines = append(e.Lines, t)
			}
		}
	}
	head, rest, _ := strings.Cut(a.Detail, ": ")
	switch a.Action {
	case "assigned":
		if to := strings.TrimPrefix(head, "to "); to == "nobody" {
			e.Title = p.T("action.unassigned")
		} else {
			e.Title = p.Fill("action.assigned.to", p.actor(to, people))
		}
		say(rest)
	case "waiting":
		e.Title = upperFirst(p.orHuman("wait.", strings.TrimPrefix(head, "for the ")))
		say(rest)
	case "resolved":
		e.Title += ": " + p.orHuman("outcome.", head)
		say(strings.Split(rest, ": ")...)
	case "snoozed":
		say(p.untilWords(head), rest)
	case "maintenance":
		say(p.spanWords(head), rest)
	case "attached":
		say(rest)
		e.File = p.fileLink(head, a.At)
	case "order":
		_, state, _ := strings.Cut(head, " ")
		e.Title += ": " + p.orHuman("order.", state)
		say(rest)
	case "ordered":
	case "merged":
		e.Link = &link{p.T("link.mergedinto"), "/cases/" + p.Case.Device.Tenant + "/" + strings.TrimPrefix(head, "into ")}
		say(rest)
	case "took_in":
		id, problem, _ := strings.Cut(head, ", ")
		e.Link = &link{upperFirst(humanise(problem)), "/cases/" + p.Case.Device.Tenant + "/" + id}
		say(rest)
	case "split":
		if rule, id, ok := strings.Cut(head, " into "); ok {
			e.Link = &link{humanise(rule), "/cases/" + p.Case.Device.Tenant + "/" + id}
		}
		say(rest)
	case "adopt", "release":
		e.Link = &link{p.T("link.incident"), "/incidents/" + p.Case.Device.Tenant + "/" + head}
		say(rest)
	case "answered":
		say(p.orHuman("answer.", strings.ReplaceAll(head, " ", "_")), rest)
	case "late":
		what, by, _ := strings.Cut(a.Detail, "; promised until ")
		say(p.orHuman("late.", strings.ReplaceAll(what, " ", "_")))
		if t, err := time.Parse(auditTime, by); err == nil {
			say(p.Fill("late.by", p.When(t)))
		}
	case "reminded":
		to := strings.TrimPrefix(head, "to ")
		say(p.Fill("reminded.to", p.orHuman("to.", p.actor(to, people))))
	default:
		say(a.Detail)
	}
	if a.Action == "opened" && strings.HasPrefix(a.Detail, "split off from ") {
		e.Lines = nil
		e.Link = &link{p.T("link.splitfrom"), "/cases/" + p.Case.Device.Tenant + "/" + strings.TrimPrefix(head, "split off from ")}
		say(rest)
	}
}

// untilWords is the end of a snooze: "until 2026-01-02 15:04 UTC or until it gets worse".
func (v *view) untilWords(text string) string {
	rest, whole := strings.CutPrefix(text, "the whole device ")
	var out string
	at, worse := strings.CutSuffix(rest, " or until it gets worse")
	t, err := time.Parse(auditTime, strings.TrimPrefix(at, "until "))
	switch {
	case rest == "until it gets worse":
		out = v.T("snoozed.worse")
	case err != nil:
		return text
	default:
		out = v.Fill("snoozed.until", v.When(t))
		if worse {
			out += ", " + v.T("snoozed.orworse")
		}
	}
	if whole {
		out += " (" + v.T("snoozed.device") + ")"
	}
	return out
}

// spanWords is a maintenance window: "from 2026-01-02 15:04 UTC until 2026-01-02 17:04 UTC".
func (v *view) spanWords(text string) string {
	a, b, ok := strings.Cut(strings.TrimPrefix(text, "from "), " until ")
	from, err1 := time.Parse(auditTime, a)
	until, err2 := time.Parse(auditTime, b)
	if !ok || err1 != nil || err2 != nil {
		return text
	}
	return v.Fill("span.from", v.When(from)) + " " + v.Fill("span.until", v.When(until))
}

// fileLink leads to the attachment of a name that was added at a time.
func (p *casePage) fileLink(name string, at time.Time) *link {
	for _, f := range p.files {
		if f.Name == name && f.At.Sub(at).Abs() < time.Minute {
			return &link{f.Name + ", " + p.size(f.Size), caseURL(&p.Case) + "/files/" + f.ID}
		}
	}
	return nil
}

// size is a file's size for people.
func (v *view) size(n int) string {
	switch {
	case n < 1000:
		return itoa(n) + "\u00a0" + v.T("bytes")
	case n < 1_000_000:
		return v.Loc.Number(float64(n)/1000, 2) + "\u00a0kB"
	default:
		return v.Loc.Number(float64(n)/1e6, 2) + "\u00a0MB"
	}
}
