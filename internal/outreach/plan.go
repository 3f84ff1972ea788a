package outreach

import (
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// verdict is what a stage says about a message.
type verdict uint8

const (
	proceed verdict = iota
	skip            // it is not sent, for good
	hold            // not before plan.until
	merge           // it waits for another one that takes it along, until plan.until
)

func (v verdict) String() string { return [...]string{"go", "skip", "hold", "merge"}[v] }

// plan is one message row at sending time: what was loaded for it, then what the stages decided. Stages are pure.
type plan struct {
	row    fleet.OutboxRow
	now    time.Time
	config *Config
	known  []string // channels that are set up
	links  bool     // whether messages have links, and so receipts
	target target

	kase      *fleet.Case     // nil when there is none
	back      bool            // of news of an end: the problem is back, in a newer case
	incident  *fleet.Incident // of the case, or of a row about one; nil when there is none
	order     *fleet.Order    // of a row about a visit
	partner   *fleet.Partner
	device    *fleet.Device // nil when it is not registered, or the row is about none
	person    *fleet.Person // whom the row is for; nil when there is none, or not known
	household []fleet.Person
	before    []fleet.Delivery // of the case or the incident, where a stage asks for them
	cover     fleet.Cover
	zone      *time.Location
	zoneHers  bool

	contacts map[string]time.Time // of the household in the last seven days, by message
	free     []*plan              // other messages that wait for the person on the channel, may go along, and nobody works on
	leased   []*plan              // and those that somebody works on
	along    bool                 // it is asked whether this one may go along with another
	bound    bool                 // it was going along with another when the process died, and that one is not done
	sending  time.Time            // until when a message of the problem is under way to where this one says that it is over

	topic    fleet.Topic
	want     fleet.Want
	endpoint fleet.Endpoint   // of a row for one channel
	fan      []fleet.Endpoint // of a row that has yet to be spread over the channels
	elsewise bool             // it is this endpoint that bars the message: another may do
	until    time.Time        // the end of a hold
	trace    []fleet.Step
}

// target is what outreach keeps in the body of the rows it makes. The endpoint's secret stays in the registry.
type target struct {
	Address string      `json:"address,omitempty"`
	From    time.Time   `json:"from,omitzero"`     // since when it has been due: what giving up is measured from
	Made    time.Time   `json:"made,omitzero"`     // when the message was decided for the person: the digest after it takes it
	Parent  string      `json:"parent,omitempty"`  // the person's message, whose page all its channels show
	Before  []string    `json:"before,omitempty"`  // the rows of the same message to endpoints before this one
	Root    string      `json:"root,omitempty"`    // the row that cases asked for
	Instead int         `json:"instead,omitempty"` // how many persons of the household were written to before
	Since   time.Time   `json:"since,omitzero"`    // from when on somebody may have opened it, with Instead
	Topic   fleet.Topic `json:"topic,omitempty"`   // of a row that is held
	Tried   bool        `json:"tried,omitempty"`   // of a row that is held: it may have been sent before
	With    string      `json:"with,omitempty"`    // the row it was taken along with
	WithTry int         `json:"withTry,omitempty"` // at that one's try after so many
}

// inbox is the channel name of what the core saves itself.
const inbox = "inbox"

// channel names where the row goes, for records and metrics.
func (p *plan) channel() string { return channelOf(p.row) }

// outside says whether the row is for an endpoint, which may ring, and not for the inbox.
func (p *plan) outside() bool { return p.row.Channel != "" }

// message is the id of the person's message, the same on all its channels. Of an incident each person has one.
func (p *plan) message() string {
	switch {
	case p.target.Parent != "":
		return p.target.Parent
	case p.row.Topic == fleet.EventIncident && p.person != nil:
		return fleet.ID("msg", p.row.Ref, p.person.ID)
	}
	return p.row.ID
}

// stage is one question of the sending decision.
type stage struct {
	name string
	ask  func(*plan) (verdict, string)
}

// stages run in this order until one does not proceed.
var stages = []stage{
	{"still true", stillTrue},
	{"incident", covered},
	{"whom", whom},
	{"entitlement", entitled},
	{"consent", consented},
	{"preference", preferred},
	{"budget", affordable},
	{"quiet hours", awake},
	{"digest", digested},
	{"company", accompanied},
	{"channel", routed},
}

// decide runs the stages and returns the verdict with the reason that people read; what each said is in the trace.
func (p *plan) decide() (verdict, string) {
	for _, s := range stages {
		v, reason := s.ask(p)
		p.trace = append(p.trace, fleet.Step{Stage: s.name, Verdict: v.String(), Reason: reason})
		if v != proceed {
			return v, reason
		}
	}
	return proceed, ""
}

// rank orders topics as the household's budget does.
func rank(t fleet.Topic) int {
	if i := slices.Index(fleet.Topics(), t); i >= 0 {
		return i
	}
	return len(fleet.Topics())
}
