package words

import "aftercare/internal/fleet"

// Letter is everything a message may speak of. Of Input, Case may be nil where the event is about none (an order, a test).
type Letter struct {
	Input
	Channel  string // "inbox", "push", "email", "ntfy", "webhook", "fcm"
	Subject  fleet.Topic
	Cover    fleet.Cover     // zero: not known
	Incident *fleet.Incident // of an event about one
	Order    *fleet.Order    // of an event about a visit
	Partner  *fleet.Partner
	Actions  []fleet.Action // with labels still empty: Compose fills them in
	URL      string         // the message's page
	StopURL  string
	HasChart bool       // email: the picture is attached as cid:chart
	Also     []Rendered // other messages that this one takes along, most important first

	operation *fleet.Operation
}

// Composed is a message as one channel shows it.
type Composed struct {
	Rendered
	HTML     string         // email only
	Calendar string         // of an order: the entry's line in a calendar
	Actions  []fleet.Action // with labels in the person's language
	Evidence []fleet.Evidence
	Readings []Reading // the evidence in words
	Fallback string    // the template or language that was missing and what stood in for it; empty: none
}
