package fleet

import "time"

// Topic is what a message is about, as people set their wishes by it. The order is that of the household's contact budget:
// what comes first goes first.
type Topic string

// The topics.
const (
	TopicSafety      Topic = "safety"
	TopicFault       Topic = "fault" // has failed, or is about to; known faults of many devices too
	TopicWarranty    Topic = "warranty"
	TopicMaintenance Topic = "maintenance"
	TopicTip         Topic = "tip"
	TopicReview      Topic = "review"
)

// Topics returns all in order of priority.
func Topics() []Topic {
	return []Topic{TopicSafety, TopicFault, TopicWarranty, TopicMaintenance, TopicTip, TopicReview}
}

// TopicOf is what a finding of this kind and severity is to its owner; empty for what owners never hear of.
func TopicOf(k Kind, s Severity) Topic {
	switch {
	case s < Watch:
		return ""
	case k == KindSafety || s == Danger:
		return TopicSafety
	case k == KindFault || k == KindMaintenance && s >= Fault:
		return TopicFault
	case k == KindMaintenance:
		return TopicMaintenance
	case k == KindUsage:
		return TopicTip
	default:
		return ""
	}
}

// Events are why a message is asked for: OutboxRow.Topic and Message.Topic.
const (
	EventOpened         = "opened"
	EventEscalated      = "escalated"
	EventCleared        = "cleared"
	EventReminder       = "reminder"        // "not now" has run out, the case is still open
	EventWarranty       = "warranty"        // the cover ends soon, and something is open that it would pay for
	EventVisit          = "visit"           // a visit was booked, moved or called off
	EventIncident       = "incident"        // the fault is known, of many devices: Ref is the incident
	EventIncidentNews   = "incident_news"   // what an agent has to say of it
	EventIncidentFixed  = "incident_fixed"  // and that it is over
	EventConfirmedFixed = "confirmed_fixed" // the repair was watched and holds
	EventReview         = "review"          // after that only
)

// Verdict is what an owner says of a message.
type Verdict string

// The verdicts: the buttons of a message.
const (
	VerdictFixed   Verdict = "fixed"
	VerdictNotTrue Verdict = "not_true"
	VerdictBook    Verdict = "book"
	VerdictOrder   Verdict = "order" // the part
	VerdictNotNow  Verdict = "not_now"
	VerdictStop    Verdict = "stop" // these messages
	VerdictShow    Verdict = "show" // the page with the steps: no answer, only a link
)

// Verdicts returns those that are answers.
func Verdicts() []Verdict {
	return []Verdict{VerdictFixed, VerdictNotTrue, VerdictBook, VerdictOrder, VerdictNotNow, VerdictStop}
}

// Answer is a verdict given: it is kept with the case and in the record of the rule that spoke.
type Answer struct {
	Tenant    string
	MessageID string
	CaseID    string
	PersonID  string
	Verdict   Verdict
	Rule      string
	RuleHash  string
	Topic     Topic
	Note      string // what the person wrote; cleaned, may be empty
	At        time.Time
}

// RuleRecord counts what people and outcomes said of one version of a rule.
type RuleRecord struct {
	Tenant   string
	Rule     string
	RuleHash string
	What     string // a verdict, or an outcome as "outcome:<code>"
	N        int64
}

// Preference is a person's wish for one topic on one channel. Without one the channel's default counts.
type Preference struct {
	Topic   Topic
	Channel string // "inbox" too; empty: all channels
	Want    Want
}

// Want is how a person wants to hear of a topic.
type Want string

// The wishes.
const (
	WantNow    Want = "now"
	WantDigest Want = "digest" // with others, at the person's digest time
	WantNever  Want = "never"  // it does not count for safety on the inbox
)

// Consent is what a person agreed to, word for word, and when she took it back. Rows are added, never changed but for
// WithdrawnAt.
type Consent struct {
	ID          string
	Tenant      string
	PersonID    string
	Purpose     Purpose
	Text        string // version of the text: "tips-2026-11"
	Source      string // "owner page", "import", "agent:<name>"
	GivenAt     time.Time
	WithdrawnAt time.Time // zero: it holds
}

// Purpose is what a consent is for. Service messages about the person's own device need none.
type Purpose string

// The purposes.
const (
	PurposeTips    Purpose = "tips"    // how to get more out of the product
	PurposeReview  Purpose = "review"  // to be asked for a review
	PurposePartner Purpose = "partner" // to hand name and address to a service partner
)

// Household is who lives together: its members share the contact budget, and one may hear in the place of another.
type Household struct {
	Tenant  string
	ID      string
	Members []Person // in the order in which they hear when nobody answers
}

// Ownership is whose a device was, and when. To is zero for the present owner.
type Ownership struct {
	Device   DeviceKey
	PersonID string
	From, To time.Time
}

// Session is somebody's way into the owner pages. The token itself is not kept.
type Session struct {
	ID        string
	Tenant    string
	PersonID  string
	Hash      []byte
	Agent     string // the browser, for the person to recognise it
	CreatedAt time.Time
	UsedAt    time.Time
	ExpiresAt time.Time
	RevokedAt time.Time
}

// Cover is who pays for what, on a date: the answer of the warranty terms.
type Cover struct {
	Kind  string    // "manufacturer", "statutory", "contract", "none"
	By    string    // "maker", "seller", "insurer"; empty with none
	Name  string    // of whom: the brand or the seller
	Until time.Time // the last day, zero with none that ever was
	Days  int       // days left on the date asked for, 0 on the last day; negative: so long over
	Pays  bool      // whether it pays for this finding: wear and what the owner broke are left out
	Text  Words     // one sentence for the owner: who pays until when
}

// Partner is a service company.
type Partner struct {
	ID         string
	Tenant     string
	Name       string
	Locale     string
	Zone       string
	Email      string
	Webhook    string
	Secret     Secret   // of the webhook
	Regions    []string // "DE", "DE-BY"; empty: everywhere
	Categories []string // skills: "washing-machine"; empty: all
	Models     []string // only these; empty: all of the categories
	Paused     bool     // gets no new orders
}

// OrderState is how far a work order has come.
type OrderState string

// The states of a work order.
const (
	OrderOffered   OrderState = "offered"
	OrderAccepted  OrderState = "accepted"
	OrderDeclined  OrderState = "declined"
	OrderDone      OrderState = "done"
	OrderCancelled OrderState = "cancelled"
)

// Order is a work order: one visit of one partner for one case.
type Order struct {
	ID        string
	Tenant    string
	Version   int64
	CaseID    string
	Device    DeviceKey
	PartnerID string
	State     OrderState
	Problem   string    // the rule's problem, for the partner's own records
	Summary   string    // one line in the partner's language
	Part      string    // to bring along; may be empty
	Cover     Cover     // who pays
	From, To  time.Time // the visit
	Contact   string    // name of the owner and how to reach her: only with her consent
	Reason    string    // why declined or cancelled
	Outcome   Outcome   // what the partner reported
	FixCause  string
	FixPart   string
	Note      string
	CreatedAt time.Time
	UpdatedAt time.Time
	By        string // who ordered it: "agent:<name>", "owner:<id>"
}

// Why an order ended without anybody's own words: Order.Reason. Pages and messages say them in the reader's language.
const (
	ReasonNoAnswer = "no answer in time"
	ReasonOver     = "the problem is over"
	ReasonIncident = "known fault" // what follows it, after a colon, is the incident's title
)

// ErrandOver is the Topic of the errand that calls off the order of a case that is over.
const ErrandOver = "over"

// Open reports whether a visit may still come of the order.
func (s OrderState) Open() bool { return s == OrderOffered || s == OrderAccepted }

// OrderFilter selects work orders of one tenant, newest first; zero members select everything.
type OrderFilter struct {
	Tenant    string
	CaseID    string
	PartnerID string
	States    []OrderState
	Limit     int // 0 means 100
}

// OrderChange is everything one decision about a work order writes, in one transaction or not at all. CodeConflict when the order is
// not at version Expected any more (0: it does not exist), or another one of the case is open.
type OrderChange struct {
	Order    Order
	Expected int64
	Outbox   []OutboxRow
}
