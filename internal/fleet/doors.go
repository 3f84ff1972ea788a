package fleet

import "time"

// Login is who authenticated at a door.
type Login struct {
	Key DeviceKey
	// FirstContact: it showed the provisioning secret of its model, not a secret of its own. It may do nothing but fetch
	// its credential.
	FirstContact bool
	Model        string // with FirstContact: the model the provisioning secret is for
}

// Link is whether a device can be reached, as we see it.
type Link struct {
	Online    bool
	Connected bool      // a session of it is open at our own broker; offline and connected: it is connected and says nothing
	Cause     string    // one of the Cause constants
	Since     time.Time // when it last changed
	Heard     time.Time // when anything last came from the device; zero: never
}

// Why a device is, or is not, online.
const (
	CauseConnected    = "connected"    // its connection was accepted
	CauseHeard        = "heard"        // something came from it, or it said so itself
	CauseDisconnected = "disconnected" // it said good-bye, or says it goes off
	CauseLost         = "lost"         // its connection broke or timed out
	CauseWill         = "will"         // its last will was published
	CauseSilent       = "silent"       // nothing came for several of its intervals
	CauseStation      = "station_lost" // its base station is offline: nothing is known of the device itself
	CauseRevoked      = "revoked"
)

// QuarantineFilter selects what was kept aside of one tenant, newest first. Empty members select everything.
type QuarantineFilter struct {
	Tenant   string
	Model    string
	Serial   string
	Firmware string
	Reason   string
	Since    time.Time
	Before   uint64 // only sequences below it, for the next page; 0: from the newest
	Limit    int    // 0 means 100
}

// Selects reports whether a payload is among those meant, leaving Before and Limit aside: they are about pages.
func (f QuarantineFilter) Selects(q *Quarantined) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return q.Device.Tenant == f.Tenant && is(f.Model, q.Model) && is(f.Serial, q.Device.Serial) && is(f.Firmware, q.Firmware) &&
		is(f.Reason, q.Reason) && !q.At.Before(f.Since)
}

// Quality is how many readings of one model and firmware had one property on one UTC day. Reason "" counts all readings that
// arrived; the others are the reasons of quarantine, and those below of readings that were stored all the same.
type Quality struct {
	Tenant   string
	Model    string
	Firmware string // empty: the device never said
	Day      time.Time
	Reason   string
	Field    string // empty where the reason is about no field
	N        int64
	Example  string // the newest detail
	LastAt   time.Time
}

// Reasons that count stored readings.
const (
	QualityUnknownKept    = "unknown_kept"    // a field the profile does not name was stored
	QualityUnknownDropped = "unknown_dropped" // and this one was left out
	QualityClock          = "clock_corrected"
	QualityUnnumbered     = "unidentifiable" // neither time nor seq
)

// ImportReport says what became of a list of devices.
type ImportReport struct {
	Rows    int // without the header
	Added   int
	Updated int
	Bad     []Problem // one for each row that was not taken; Line is the line in the file
	Secrets map[DeviceKey]string
}

// ProvisioningKey is a model's secret for first contact, without the secret.
type ProvisioningKey struct {
	ID        string
	Tenant    string
	Model     string
	Open      bool // a device that is not registered is taken too
	Hash      []byte
	CreatedAt time.Time
	RevokedAt time.Time
}

// ClaimCode is what is kept of the code that makes somebody a device's owner: never the code itself.
type ClaimCode struct {
	Device    DeviceKey
	Hash      []byte
	Transfer  bool // it also works for a device that belongs to somebody else
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	UsedAt    time.Time
}

// SecurityEvent is one change of who may do what. Events are kept in the order they happened and never changed.
type SecurityEvent struct {
	N       int64 // counts over all tenants, without a gap
	At      time.Time
	Tenant  string
	Actor   string // a person's id, "cli", "device"
	Action  string // one of the Action constants
	Subject string // a serial, or the id of a key
	Detail  string
}

// What security events tell.
const (
	ActionRegistered   = "registered"
	ActionImported     = "imported"
	ActionRotated      = "rotated"
	ActionRotationDone = "rotation_finished"
	ActionRevoked      = "revoked"
	ActionKeyMade      = "provisioning_key_made"
	ActionKeyRevoked   = "provisioning_key_revoked"
	ActionFirstContact = "first_contact"
	ActionClaimCode    = "claim_code_made"
	ActionClaimed      = "claimed"
	ActionLimits       = "limits_changed"
	ActionServiced     = "serviced"
	ActionMaintenance  = "maintenance_changed"
	ActionStored       = "storage_changed"
	ActionOwner        = "owner_changed"

	// Of people the subject is the person's id.
	ActionPersonMade  = "person_made"
	ActionProfile     = "profile_changed"
	ActionEndpointAdd = "endpoint_added" // with the channel and the label, never the address
	ActionEndpointEnd = "endpoint_removed"
	ActionPreferences = "preferences_changed"
	ActionConsent     = "consent_given"
	ActionConsentEnd  = "consent_withdrawn"
	ActionHousehold   = "household_changed"
	ActionPartner     = "partner_saved" // the subject is the partner's id
	ActionSignedIn    = "signed_in"
	ActionSignedOut   = "session_ended"
)

// SecurityFilter selects security events of one tenant, newest first.
type SecurityFilter struct {
	Tenant  string
	Subject string // empty: all
	Before  int64  // only events with a smaller N, for the next page; 0: from the newest
	Limit   int    // 0 means 100
}

// Reingest is what became of quarantined payloads that were tried again.
type Reingest struct {
	Tried     int
	Stored    int // and removed from quarantine
	StillBad  int // left where they are
	Remaining int // matched, not tried: ask again
}
