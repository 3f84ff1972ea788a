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
	Device   DeviceKey
	PersonID string
	Channel  string // "inbox", "ntfy", "webhook"
	Topic    string // "opened", "escalated", "cleared"
	Kind     Kind
	Severity Severity
	Locale   string
	Title    string // the lock-screen line
	Body     string // the other parts, one paragraph each, separated by an empty line
	At       time.Time
	ReadAt   time.Time
}

// Delivery is one row of a message's fate on one channel.
type Delivery struct {
	OutboxID string
	CaseID   string
	PersonID string
	Channel  string
	State    string // "sent", "held", "skipped", "dead"
	Reason   string
	At       time.Time
	Attempts int
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
