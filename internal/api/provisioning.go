package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/time/rate"

	"aftercare/internal/fleet"
)

// Credential is what a device logs in with. A secret is shown once, when it is made.
type Credential struct {
	Serial   string `json:"serial"`
	Username string `json:"username"`
	Password string `json:"password,omitempty" doc:"absent for a device that a base station speaks for"`
}

// BadRow is a row of a file that was not taken.
type BadRow struct {
	Line    int    `json:"line" doc:"1 is the first line of the file"`
	Column  string `json:"column,omitempty"`
	Problem string `json:"problem"`
	Hint    string `json:"hint,omitempty"`
}

// ProvisioningKey is a model's secret for first contact, without the secret.
type ProvisioningKey struct {
	ID        string     `json:"id"`
	Model     string     `json:"model"`
	Open      bool       `json:"open" doc:"takes devices too that are not registered"`
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

type addIn struct {
	Body struct {
		Serial   string `json:"serial" maxLength:"64"`
		Model    string `json:"model" maxLength:"64"`
		Name     string `json:"name,omitempty" maxLength:"100"`
		Room     string `json:"room,omitempty" maxLength:"100"`
		Region   string `json:"region,omitempty" maxLength:"16"`
		Firmware string `json:"firmware,omitempty" maxLength:"64"`
		Hardware string `json:"hardware,omitempty" maxLength:"64"`
		Batch    string `json:"batch,omitempty" maxLength:"64"`
		Parent   string `json:"parent,omitempty" maxLength:"64" doc:"serial of the base station that speaks for it"`
		Owner    string `json:"owner,omitempty" maxLength:"64" doc:"id of a person"`
	}
}

type credentialOut struct{ Body Credential }

type importIn struct {
	FirstContact bool   `query:"first_contact" doc:"make no credentials: the devices fetch theirs with the model's provisioning secret"`
	RawBody      []byte `contentType:"text/csv"`
}

type importOut struct {
	Body struct {
		Rows        int          `json:"rows"`
		Added       int          `json:"added"`
		Updated     int          `json:"updated"`
		Bad         []BadRow     `json:"bad" doc:"rows that were not taken; all others were"`
		Credentials []Credential `json:"credentials" doc:"of new devices, shown once"`
	}
}

type codeOut struct {
	Body struct {
		Code      string    `json:"code" doc:"for the owner; shown once, works once"`
		ExpiresAt time.Time `json:"expires_at"`
	}
}

type claimIn struct {
	Body struct {
		Code   string `json:"code" maxLength:"32"`
		Person string `json:"person" maxLength:"64" doc:"id of the owner"`
	}
}

type claimOut struct {
	Body struct {
		Tenant string `json:"tenant"`
		Serial string `json:"serial"`
	}
}

type keysOut struct {
	Body struct {
		Keys []ProvisioningKey `json:"keys"`
	}
}

type newKeyIn struct {
	Body struct {
		Model string `json:"model" maxLength:"64"`
		Open  bool   `json:"open,omitempty" doc:"take devices too that are not registered"`
	}
}

type newKeyOut struct {
	Body struct {
		ID     string `json:"id"`
		Secret string `json:"secret" doc:"shown once; it is what devices send as password"`
	}
}

// KeyRef names a provisioning key in a path.
type KeyRef struct {
	ID string `path:"id" maxLength:"64"`
}

type nothingOut struct{}

// maxImport is the largest file of devices that is read: 10,000 rows with every column filled.
const maxImport = 16 << 20

func (a *api) provisioning(h huma.API) {
	a.claims = rate.NewLimiter(rate.Every(time.Minute/claimsPerMinute), claimBurst)
	huma.Register(h, a.operation("add-device", http.MethodPost, "/devices", "Register a device and make its credential", 400, 409), a.addDevice)
	bulk := a.operation("import-devices", http.MethodPost, "/devices/import", "Register devices from CSV: good rows are taken, bad rows named", 400)
	bulk.MaxBodyBytes, bulk.BodyReadTimeout = maxImport, time.Minute
	huma.Register(h, bulk, a.importDevices)
	huma.Register(h, a.operation("rotate-credential", http.MethodPost, "/devices/{tenant}/{serial}/rotate", "Make a new credential; the newest one before stays valid for a while", 400, 404), a.rotate)
	huma.Register(h, a.operation("finish-rotation", http.MethodPost, "/devices/{tenant}/{serial}/rotate/finish", "End all credentials but the newest", 404), a.finishRotation)
	huma.Register(h, a.operation("revoke-device", http.MethodPost, "/devices/{tenant}/{serial}/revoke", "End all credentials and live connections", 404), a.revoke)
	huma.Register(h, a.operation("make-claim-code", http.MethodPost, "/devices/{tenant}/{serial}/claim-code", "Make the code with which the owner claims the device", 404), a.claimCode)
	huma.Register(h, a.operation("claim-device", http.MethodPost, "/claims", "Make a person the owner of the device a claim code belongs to", 400, 404, 409, 503), a.claim)
	huma.Register(h, a.operation("list-provisioning-keys", http.MethodGet, "/provisioning-keys", "Secrets for first contact, by model"), a.listKeys)
	huma.Register(h, a.operation("make-provisioning-key", http.MethodPost, "/provisioning-keys", "Make a model's secret for first contact", 400), a.makeKey)
	huma.Register(h, a.operation("revoke-provisioning-key", http.MethodPost, "/provisioning-keys/{id}/revoke", "End a secret for first contact", 404), a.revokeKey)
}

func (a *api) credential(key fleet.DeviceKey, secret string) Credential {
	return Credential{Serial: key.Serial, Username: key.String(), Password: secret}
}

func (a *api) addDevice(ctx context.Context, in *addIn) (*credentialOut, error) {
	b := &in.Body
	key := fleet.DeviceKey{Tenant: a.cfg.Tenant, Serial: b.Serial}
	secret, err := a.deps.Provisioner.Register(ctx, fleet.Device{Key: key, Model: b.Model, Name: b.Name, Room: b.Room, Region: b.Region, Firmware: b.Firmware,
		Hardware: b.Hardware, Batch: b.Batch, Parent: b.Parent, OwnerID: b.Owner})
	if err != nil {
		return nil, a.failed("add-device", err)
	}
	return &credentialOut{a.credential(key, secret)}, nil
}

func (a *api) importDevices(ctx context.Context, in *importIn) (*importOut, error) {
	report, err := a.deps.Provisioner.ImportCSV(ctx, a.cfg.Tenant, strings.NewReader(string(in.RawBody)), in.FirstContact)
	if err != nil {
		return nil, a.failed("import-devices", err)
	}
	out := &importOut{}
	out.Body.Rows, out.Body.Added, out.Body.Updated = report.Rows, report.Added, report.Updated
	out.Body.Bad, out.Body.Credentials = make([]BadRow, 0, len(report.Bad)), make([]Credential, 0, len(report.Secrets))
	for _, p := range report.Bad {
		out.Body.Bad = append(out.Body.Bad, BadRow{p.Line, p.Path, p.Message, p.Hint})
	}
	for key, secret := range report.Secrets {
		out.Body.Credentials = append(out.Body.Credentials, a.credential(key, secret))
	}
	return out, nil
}

// on does something to a device of ours.
func (a *api) on(op string, in DeviceRef, do func(fleet.DeviceKey) error) error {
	err := a.ours(in.Tenant)
	if err == nil {
		err = do(fleet.DeviceKey{Tenant: in.Tenant, Serial: in.Serial})
	}
	if err != nil {
		return a.failed(op, err)
	}
	return nil
}

func (a *api) rotate(ctx context.Context, in *DeviceRef) (*credentialOut, error) {
	out := &credentialOut{}
	return out, a.on("rotate-credential", *in, func(key fleet.DeviceKey) error {
		secret, err := a.deps.Provisioner.Rotate(ctx, key)
		out.Body = a.credential(key, secret)
		return err
	})
}

func (a *api) finishRotation(ctx context.Context, in *DeviceRef) (*nothingOut, error) {
	return &nothingOut{}, a.on("finish-rotation", *in, func(key fleet.DeviceKey) error { return a.deps.Provisioner.FinishRotation(ctx, key) })
}

func (a *api) revoke(ctx context.Context, in *DeviceRef) (*nothingOut, error) {
	return &nothingOut{}, a.on("revoke-device", *in, func(key fleet.DeviceKey) error { return a.deps.Provisioner.Revoke(ctx, key) })
}

func (a *api) claimCode(ctx context.Context, in *DeviceRef) (*codeOut, error) {
	out := &codeOut{}
	return out, a.on("make-claim-code", *in, func(key fleet.DeviceKey) (err error) {
		out.Body.Code, out.Body.ExpiresAt, err = a.deps.Claims.ClaimCode(ctx, key)
		return err
	})
}

// A code has 45 random bits; at this rate, over all callers, trying them out leads nowhere.
const (
	claimsPerMinute = 10
	claimBurst      = 20
)

func (a *api) claim(ctx context.Context, in *claimIn) (*claimOut, error) {
	if !a.claims.AllowN(a.now(), 1) {
		return nil, a.failed("claim-device", fleet.Errorf(fleet.CodeBusy, "too many codes were tried; wait a minute"))
	}
	key, err := a.deps.Claims.Claim(ctx, a.cfg.Tenant, in.Body.Code, in.Body.Person)
	if err != nil {
		return nil, a.failed("claim-device", err)
	}
	out := &claimOut{}
	out.Body.Tenant, out.Body.Serial = key.Tenant, key.Serial
	return out, nil
}

func (a *api) listKeys(_ context.Context, _ *struct{}) (*keysOut, error) {
	keys := a.deps.Claims.ProvisioningKeys(a.cfg.Tenant)
	out := &keysOut{}
	out.Body.Keys = make([]ProvisioningKey, 0, len(keys))
	for _, k := range keys {
		out.Body.Keys = append(out.Body.Keys, ProvisioningKey{k.ID, k.Model, k.Open, k.CreatedAt.UTC(), moment(k.RevokedAt)})
	}
	return out, nil
}

func (a *api) makeKey(ctx context.Context, in *newKeyIn) (*newKeyOut, error) {
	out := &newKeyOut{}
	var err error
	if out.Body.ID, out.Body.Secret, err = a.deps.Claims.CreateProvisioning(ctx, a.cfg.Tenant, in.Body.Model, in.Body.Open); err != nil {
		return nil, a.failed("make-provisioning-key", err)
	}
	return out, nil
}

func (a *api) revokeKey(ctx context.Context, in *KeyRef) (*nothingOut, error) {
	if err := a.deps.Claims.RevokeProvisioning(ctx, a.cfg.Tenant, in.ID); err != nil {
		return nil, a.failed("revoke-provisioning-key", err)
	}
	return &nothingOut{}, nil
}
