package app

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/registry"
	"aftercare/internal/store"
)

// FleetFile is how credentials are handed to those who play the devices. It holds secrets.
type FleetFile struct {
	Tenant  string             `json:"tenant"`
	Broker  string             `json:"broker"`
	Devices []DeviceCredential `json:"devices"`
}

// DeviceCredential is one device of a fleet file. Secret is empty for one that a base station speaks for.
type DeviceCredential struct {
	Model  string `json:"model"`
	Serial string `json:"serial"`
	Secret string `json:"secret"`
	Parent string `json:"parent"`
	// Firmware is the version the device is registered with; one that is played says so when it connects.
	Firmware string `json:"firmware,omitempty"`
}

// WriteFleetFile writes f for its owner's eyes only, whole or not at all.
func WriteFleetFile(path string, f FleetFile) error {
	text, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return fmt.Errorf("encode fleet file: %w", err)
	}
	return writeSecret(path, text)
}

// writeSecret replaces a file by one that only its owner can read.
func writeSecret(path string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	if _, err = tmp.Write(text); err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}

// WithRegistry opens store and registry for a tool, also while the server runs. What do changes with its context is told as done
// on the command line.
func WithRegistry(ctx context.Context, cfg config.Config, files *Files, do func(context.Context, *registry.Registry) error) error {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	st, err := store.Open(ctx, cfg.Store, obs.Discard())
	if err != nil {
		return err
	}
	defer st.Close()
	r, err := registry.New(ctx, cfg.Registry, registry.Deps{Store: st, Models: files.Models, Warranty: files.Warranty, Log: obs.Discard(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		return err
	}
	r.UseRules(componentOf(files.Rules))
	return do(registry.WithActor(ctx, "cli"), r)
}

// AddDevices registers devices in one transaction and returns their credentials in the same order.
func AddDevices(ctx context.Context, cfg config.Config, files *Files, devices []fleet.Device) (out []DeviceCredential, err error) {
	err = WithRegistry(ctx, cfg, files, func(ctx context.Context, r *registry.Registry) error {
		for _, d := range devices {
			if _, known := r.Device(d.Key); known {
				return fleet.Errorf(fleet.CodeConflict, "device %q is registered already", d.Key)
			}
		}
		secrets, err := r.Import(ctx, devices)
		if err != nil {
			return err
		}
		for _, d := range devices {
			out = append(out, DeviceCredential{Model: d.Model, Serial: d.Key.Serial, Secret: secrets[d.Key], Parent: d.Parent})
		}
		return nil
	})
	return out, err
}

// ListDevices returns every registered device, in no order.
func ListDevices(ctx context.Context, cfg config.Config, files *Files) (out []fleet.Device, err error) {
	err = WithRegistry(ctx, cfg, files, func(_ context.Context, r *registry.Registry) error {
		for d := range r.Devices {
			out = append(out, *d)
		}
		return nil
	})
	return out, err
}

// RevokeDevices ends the credentials of devices.
func RevokeDevices(ctx context.Context, cfg config.Config, files *Files, keys []fleet.DeviceKey) error {
	return WithRegistry(ctx, cfg, files, func(ctx context.Context, r *registry.Registry) error {
		for _, k := range keys {
			if err := r.Revoke(ctx, k); err != nil {
				return err
			}
		}
		return nil
	})
}
