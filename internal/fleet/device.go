package fleet

import "time"

// Device is one registered product. Zero times mean "not known".
type Device struct {
	Key      DeviceKey
	Model    string
	Category string // copied from the model's profile, e.g. "washing-machine"
	Name     string // the owner's name for it ("Washing machine in the cellar"); may be empty
	Room     string
	Region   string // ISO 3166 country, optionally with subdivision: "DE-BY"
	Firmware string
	Hardware string
	Batch    string
	Parent   string // serial of the base station that may speak for it; empty when it speaks for itself
	OwnerID  string // person who hears of it; empty when nobody has claimed it
	// InstalledAt and WarrantyUntil bound the cover; Seller is who sold it.
	InstalledAt   time.Time
	WarrantyUntil time.Time
	Seller        string
	// Contract is who insures it beyond that ("Hausrat Plus"), until ContractUntil.
	Contract      string
	ContractUntil time.Time
	OwnedSince    time.Time // since when it is the present owner's; zero: always
	Revoked       bool      // no credential of it is valid any more
}

// Person is an owner: somebody who receives messages.
type Person struct {
	ID        string
	Tenant    string
	Name      string
	Locale    string // BCP 47: "de-DE"
	Zone      string // IANA time zone: "Europe/Berlin"
	Household string
	Rank      int // within the household: who hears first has the lowest
	// Endpoints are where messages go besides the in-app inbox, which everybody has, in the person's order of preference.
	Endpoints   []Endpoint
	Preferences []Preference
	Consents    []Consent // those that hold
	DigestDay   time.Weekday
	DigestHour  int // full hour in her zone; 0: the installation's
}

// Endpoint is one address of a person on one channel.
type Endpoint struct {
	Channel string // "push", "email", "fcm", "ntfy", "webhook"
	Address string // push: the subscription's endpoint; email: address; fcm: registration token; ntfy: full topic URL; webhook: URL
	Secret  string // push: "<p256dh>.<auth>" in base64url; webhook: signing secret "whsec_..."; ntfy: access token; may be empty
	Label   string // for people: "Chrome on Android"
}

// Credential is what the registry keeps of a device's secret: never the secret itself.
type Credential struct {
	Device    DeviceKey
	ID        string // names the secret without revealing it; two may be valid during a rotation
	Hash      []byte // HMAC-SHA-256 of the secret under the installation's key
	CreatedAt time.Time
	UsedAt    time.Time // the first log-in with it; zero: nobody has used it yet
	RevokedAt time.Time
}
