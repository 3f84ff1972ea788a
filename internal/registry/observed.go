package registry

import (
	"context"
	"maps"
	"unicode"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

const (
	maxObserved = 20_000 // devices whose new firmware is not written yet
	maxFirmware = 64     // bytes
)

// observations is what devices said and is not in the store yet. It is guarded by Registry.putMu.
type observations struct {
	pending map[fleet.DeviceKey]string
}

// Observed says that a device reported this firmware. Device answers with it at once; Run writes it within seconds. It
// never waits for the store. What does not fit, is not known or is no sensible version is counted and forgotten: the device
// will say it again.
func (r *Registry) Observed(key fleet.DeviceKey, firmware string) {
	result := "ignored"
	if sensible(firmware) {
		result = r.observe(key, firmware)
	}
	r.metrics.observed.WithLabelValues(result).Inc()
}

func sensible(version string) bool {
	if version == "" || len(version) > maxFirmware || !utf8.ValidString(version) {
		return false
	}
	for _, c := range version {
		if !unicode.IsPrint(c) {
			return false
		}
	}
	return true
}

func (r *Registry) observe(key fleet.DeviceKey, firmware string) string {
	r.putMu.Lock()
	defer r.putMu.Unlock()
	e, ok := r.devices.get(key)
	if !ok || e.device.Revoked {
		return "ignored"
	}
	if e.device.Firmware == firmware {
		return "known"
	}
	if _, waiting := r.observed.pending[key]; !waiting && len(r.observed.pending) >= maxObserved {
		return "full"
	}
	changed := *e
	changed.device.Firmware = firmware
	r.observed.pending[key] = firmware
	r.devices.put(map[fleet.DeviceKey]*entry{key: &changed})
	return "changed"
}

// WriteObserved writes what is waiting. What fails stays.
func (r *Registry) WriteObserved(ctx context.Context) error {
	r.putMu.Lock()
	batch := maps.Clone(r.observed.pending)
	r.putMu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	if err := r.store.SetFirmware(ctx, batch); err != nil {
		return err
	}
	r.putMu.Lock()
	defer r.putMu.Unlock()
	for key, version := range batch {
		if r.observed.pending[key] == version { // nothing newer came meanwhile
			delete(r.observed.pending, key)
		}
	}
	return nil
}
