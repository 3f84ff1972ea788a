package fleet

import "time"

// Text is what a rule says to people in one language: templates for the five parts of a message, in this order.
type Text struct {
	What      string `yaml:"what" json:"what"`           // what is happening; alone it is the lock-screen line, at most 80 characters
	Why       string `yaml:"why" json:"why"`             // two or three readings beside what is normal
	Otherwise string `yaml:"otherwise" json:"otherwise"` // what happens if nothing is done
	Do        string `yaml:"do" json:"do"`               // what to do now: one thing first, with the time it takes
	Cost      string `yaml:"cost" json:"cost"`           // what it costs and who pays; may be empty
	Clear     string `yaml:"clear" json:"clear"`         // the all-clear, one sentence
}

// Texts is a rule's text by language.
type Texts map[string]Text

// In returns the text for a locale ("de-AT" looks up "de"), English if there is none.
func (t Texts) In(locale string) Text {
	if len(locale) >= 2 {
		if s, ok := t[locale[:2]]; ok {
			return s
		}
	}
	return t["en"]
}

// Message is a rendered message to one person on one channel.
type Message struct {
	ID       string // the outbox row's id: the same on every retry
	Tenant   string
	CaseID   string
	Ref      string // the incident or work order, when it is about one
	Device   DeviceKey
	PersonID string
	Channel  string // "inbox", "push", "email", "ntfy", "webhook", "fcm"
	Topic    string // one of the Event constants
	Subject  Topic
	Kind     Kind
	Severity Severity
	Locale   string
	Title    string // the lock-screen line
	Body     string // the other parts, one paragraph each, separated by an empty line
	Do       string // inbox: what to do now, in a line, as lists show it under the title; may be empty
	HTML     string // email: the whole message as a page, with the chart as cid:chart; empty: the channel has none
	Chart    []byte // email: PNG; may be nil
	URL      string // the message's page; empty when there is no public address
	StopURL  string // one-click unsubscribe from this topic on this channel (RFC 8058)
	Receipt  string // token with which the device says that the message arrived or was opened; empty: it cannot
	Actions  []Action
	TTL      time.Duration // after so long it is of no use any more
	Collapse string        // at most 32 characters of base64url: a newer message takes the place of an older one with the same
	Evidence []Evidence    // at most three
	Rule     string        // that spoke
	RuleHash string
	At       time.Time
	ReadAt   time.Time
	Merged   []string // ids of the messages it tells as well
	// Attachments go with an e-mail (of each its Name, Type and Body); other channels leave them out. They are not kept.
	Attachments []Attachment
}

// Action is a button of a message.
type Action struct {
	Verdict Verdict
	Label   string // in the person's language
	URL     string // opens the message's page at this answer; never answers by itself
	Token   string // what a POST to /m/answer carries
}

// Delivery is one row of a message's fate on one channel.
type Delivery struct {
	OutboxID string
	CaseID   string
	Ref      string
	PersonID string
	Channel  string
	Endpoint string // which of several, said without its secret: "push: Chrome on Android", "email: j***@example.org"
	Topic    string // one of the Event constants
	Subject  Topic
	State    string // "sent", "held", "skipped", "merged", "dead"; what follows is in the times below
	Reason   string
	Trace    []Step // what each stage said, in order
	At       time.Time
	Attempts int

	DeliveredAt time.Time // the device has it
	OpenedAt    time.Time
	ActedAt     time.Time
	Acted       Verdict
}

// DeadLetter is an outbox row that was given up.
type DeadLetter struct {
	Row      OutboxRow
	Endpoint string // which of several, said without its secret; empty: not known
	Reason   string
	At       time.Time // when it was given up
}

// Step is what one stage of the sending decision said.
type Step struct {
	Stage   string `json:"stage"`
	Verdict string `json:"verdict"` // "go", "hold", "skip", "merge"
	Reason  string `json:"reason,omitempty"`
}

// Refusal is a message a device sent that was neither stored nor quarantined, as the quarantine page shows it.
type Refusal struct {
	At     time.Time
	Door   string // "gateway", "bridge"
	Source string // identity or address
	Topic  string
	Reason string
}

// Quarantined is a payload that ingest kept aside, with the reason.
type Quarantined struct {
	Seq      uint64    `json:"-"`
	At       time.Time `json:"at"`
	Device   DeviceKey `json:"device"`
	Model    string    `json:"model"`
	Topic    string    `json:"topic"`
	Reason   string    `json:"reason"` // machine code, also the counter's label
	Detail   string    `json:"detail"` // for people: which field, which value
	Firmware string    `json:"firmware,omitempty"`
	// ContentType is the message's, as sent; empty: the payload is read by the model's profile, as it is then.
	ContentType string `json:"content_type,omitempty"`
	Cut         int    `json:"cut,omitempty"` // bytes the payload had if only its beginning was kept: it cannot be tried again
	Payload     []byte `json:"payload"`
}

// Point is one value of a series at one time; a series is what charts draw.
type Point struct {
	At    time.Time
	Value float64
}
