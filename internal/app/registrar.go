package app

import (
	"context"
	"io"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

// registrar is the registry as the API sees it: what is done through it is noted as done by the API.
type registrar struct{ *registry.Registry }

const apiActor = "agent:api"

func by(ctx context.Context) context.Context { return registry.WithActor(ctx, apiActor) }

func (r registrar) Register(ctx context.Context, d fleet.Device) (string, error) {
	return r.Registry.Register(by(ctx), d)
}

func (r registrar) ImportCSV(ctx context.Context, tenant string, file io.Reader, firstContact bool) (fleet.ImportReport, error) {
	return r.Registry.ImportCSV(by(ctx), tenant, file, registry.ImportOptions{FirstContact: firstContact})
}

func (r registrar) Rotate(ctx context.Context, key fleet.DeviceKey) (string, error) {
	return r.Registry.Rotate(by(ctx), key)
}

func (r registrar) FinishRotation(ctx context.Context, key fleet.DeviceKey) error {
	return r.Registry.FinishRotation(by(ctx), key)
}

func (r registrar) Revoke(ctx context.Context, key fleet.DeviceKey) error {
	return r.Registry.Revoke(by(ctx), key)
}

func (r registrar) ClaimCode(ctx context.Context, key fleet.DeviceKey) (code string, expires time.Time, err error) {
	expires = time.Now().Add(registry.ClaimExpiry)
	codes, err := r.ClaimCodes(by(ctx), []fleet.DeviceKey{key}, expires)
	return codes[key], expires, err
}

func (r registrar) CreateProvisioning(ctx context.Context, tenant, model string, open bool) (id, secret string, err error) {
	return r.Registry.CreateProvisioning(by(ctx), tenant, model, open)
}

func (r registrar) RevokeProvisioning(ctx context.Context, tenant, id string) error {
	return r.Registry.RevokeProvisioning(by(ctx), tenant, id)
}
