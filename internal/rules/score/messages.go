package score

import (
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Message is a line of what a replay writes of messages: one that was asked for, what became of it, or what its reader did.
type Message struct {
	At       time.Time      `json:"at"`
	State    string         `json:"state"` // asked; held; sent, skipped, merged, dead, withdrawn, waiting (at the end); did
	ID       string         `json:"id"`
	Message  string         `json:"message"` // the same on all channels of a person
	Event    string         `json:"event"`
	Device   string         `json:"device"`
	Problem  string         `json:"problem"`
	Kind     fleet.Kind     `json:"kind"`
	Severity fleet.Severity `json:"severity"`
	Channel  string         `json:"channel"`
	Endpoint string         `json:"endpoint"`
	Detail   string         `json:"detail"` // begins with the event
	Case     string         `json:"case"`
	Ref      string         `json:"ref"`
	Person   string         `json:"person"`
	Did      string         `json:"did"` // opened, or an answer
}

// Told is what owners really heard, after cases have put the findings of one problem together.
type Told struct {
	Problems     int     `json:"problems"` // messages in the inbox that something is the matter or worse
	AllClears    int     `json:"all_clears"`
	Rings        int     `json:"rings"` // what reached a phone, all-clears among them
	Held         int     `json:"held"`  // over quiet hours
	Skipped      int     `json:"skipped"`
	PerUnit      float64 `json:"problems_per_device_month"`
	False        int     `json:"false"` // of the problems: the telling that led to it was false
	FalsePerUnit float64 `json:"false_per_device_month"`
}

// messages judges what was sent by the last telling before it of the same device and problem.
func (j *judge) messages(r *Result) {
	if j.in.Messages == nil {
		return
	}
	byProblem := map[string][]*telling{}
	for _, t := range j.tellings {
		if t.reaches {
			key := t.f.Device.Serial + " " + t.f.Problem
			byProblem[key] = append(byProblem[key], t)
		}
	}
	told := &Told{}
	for i := range j.in.Messages {
		m := &j.in.Messages[i]
		switch {
		case m.State == "held":
			told.Held++
		case m.State == "asked", m.State == "did", m.State == "waiting":
		case m.State != "sent":
			told.Skipped++
		case m.Channel != "inbox":
			told.Rings++
		case strings.HasPrefix(m.Detail, "cleared"):
			told.AllClears++
		default:
			told.Problems++
			var last *telling
			for _, t := range byProblem[m.Device+" "+m.Problem] {
				if !t.f.Received.After(m.At) {
					last = t
				}
			}
			if last == nil || last.isFalse() {
				told.False++
			}
		}
	}
	told.PerUnit, told.FalsePerUnit = perMonth(told.Problems, r.Months), perMonth(told.False, r.Months)
	r.Messages = told
}
