package fleet

import "time"

// CaseVerb is what can be done to a case. Which of them goes in which state, and who may, stands in the table of package cases.
type CaseVerb string

// The verbs of people.
const (
	VerbAssign   CaseVerb = "assign"      // CaseAct.To has it from now on
	VerbTake     CaseVerb = "acknowledge" // the actor has it from now on
	VerbStart    CaseVerb = "start"
	VerbWait     CaseVerb = "wait" // CaseAct.WaitFor
	VerbResume   CaseVerb = "resume"
	VerbComment  CaseVerb = "comment"
	VerbAttach   CaseVerb = "attach"
	VerbSnooze   CaseVerb = "snooze"
	VerbUnsnooze CaseVerb = "unsnooze"
	VerbResolve  CaseVerb = "resolve"
	VerbClose    CaseVerb = "close"
	VerbReopen   CaseVerb = "reopen"
	VerbMerge    CaseVerb = "merge" // into CaseAct.Into
	VerbSplit    CaseVerb = "split" // the episodes of CaseAct.Rule
	VerbMaintain CaseVerb = "maintenance"
)

// CaseAct is one thing that somebody does to a case. Members that the verb does not need are left empty.
type CaseAct struct {
	Tenant string
	CaseID string
	Do     CaseVerb
	Actor  string // "agent:<name>", "owner:<id>", "partner:<id>"
	Note   string // why, in the actor's words; may be empty but for a comment
	At     time.Time

	To      string     // assign: "agent:<name>"; empty: nobody
	WaitFor string     // wait: one of the Wait constants
	Until   time.Time  // snooze, maintenance: until then
	From    time.Time  // maintenance; zero: from At
	Worse   bool       // snooze: until the case gets worse
	Device  bool       // snooze, unsnooze: all that the device has now, and what it gets while the snooze lasts
	Outcome Outcome    // resolve
	Cause   string     // resolve as repaired: what it was
	Part    string     // resolve as part_replaced or firmware_updated: which
	Into    string     // merge: the case that goes on
	Rule    string     // split
	File    Attachment // attach
}

// Attachment is a file that somebody added to a case.
type Attachment struct {
	ID   string
	Name string // safe to offer for download
	Type string // media type, found from the content
	Size int
	At   time.Time
	By   string
	Body []byte // nil in lists
}

// RefBack is the OutboxRow.Ref of an opened message that says that a problem is back after its all-clear. When it is due nobody
// asks what was meant to be sent before, only what was heard: Heard.TellAgain.
const RefBack = "back"

// Heard is what somebody heard last of a case on one channel; a zero Event means nothing yet.
type Heard struct {
	Event string // EventOpened, EventEscalated, EventReminder or EventCleared
	At    time.Time
}

// LastHeard looks through what became of a case's messages, oldest first. An empty personID stands for everybody.
func LastHeard(deliveries []Delivery, personID, channel string) (h Heard) {
	for i := range deliveries {
		d := &deliveries[i]
		if d.State != "sent" && d.State != "merged" || d.Channel != channel || personID != "" && d.PersonID != personID {
			continue
		}
		switch d.Topic {
		case EventOpened, EventEscalated, EventReminder, EventCleared:
			h = Heard{d.Topic, d.At}
		}
	}
	return h
}

// TellAgain reports whether to tell somebody that a problem is back: to who heard nothing of it yet, because the first message
// did not leave before the problem was over, and to who heard that a fault was over. Who heard that the problem is there and no
// all-clear since knows, and what is milder than a fault is not told twice. The reason is for people, also when it is true.
func (h Heard) TellAgain(s Severity) (bool, string) {
	switch {
	case h.Event == "":
		return true, "nothing was heard of it yet"
	case h.Event != EventCleared:
		return false, "told before, and no all-clear has left since"
	case s < Fault:
		return false, "told before, and it is no fault"
	default:
		return true, "told before that it was over"
	}
}
