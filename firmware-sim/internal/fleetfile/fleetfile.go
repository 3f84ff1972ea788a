// Package fleetfile reads the file that tells the simulator which devices it plays and how they authenticate. The server's
// demo command writes it; it holds secrets, and nothing here prints one.
//
// Only firmware-sim imports it.
package fleetfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Secret is a device's credential. It prints as redacted.
type Secret string

// String hides the secret from logs and error texts.
func (Secret) String() string { return "(secret)" }

// GoString hides it from %#v too.
func (Secret) GoString() string { return "(secret)" }

// Device is one device of the fleet.
type Device struct {
	Model  string `json:"model"`
	Serial string `json:"serial"`
	Secret Secret `json:"secret"`
	// Parent is the serial of the base station that reports for it; such a device has no connection of its own.
	Parent string `json:"parent"`
	// Firmware is what the device says it runs; empty: it does not say.
	Firmware string `json:"firmware"`
}

// Fleet is the file's content.
type Fleet struct {
	Tenant  string   `json:"tenant"`
	Broker  string   `json:"broker"`
	Devices []Device `json:"devices"`
}

// Read loads a fleet file and checks it: names present and unique, parents known.
func Read(path string) (*Fleet, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read fleet: %w", err)
	}
	f, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read fleet %q: %w", path, err)
	}
	return f, nil
}

// Parse reads a fleet from JSON. Unknown keys are errors.
func Parse(text []byte) (*Fleet, error) {
	var f Fleet
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, err
	}
	if f.Tenant == "" || len(f.Devices) == 0 {
		return nil, errors.New("it needs a tenant and at least one device")
	}
	known := map[string]string{}
	for i, d := range f.Devices {
		if d.Serial == "" || d.Model == "" {
			return nil, fmt.Errorf("devices[%d] needs a serial and a model", i)
		}
		if _, twice := known[d.Serial]; twice {
			return nil, fmt.Errorf("devices[%d]: serial %q is there twice", i, d.Serial)
		}
		known[d.Serial] = d.Parent
	}
	for _, d := range f.Devices {
		if d.Parent == "" {
			continue
		}
		if grand, ok := known[d.Parent]; !ok || grand != "" {
			return nil, fmt.Errorf("device %q: parent %q is not a device with its own connection", d.Serial, d.Parent)
		}
	}
	return &f, nil
}

// Username is what a device logs in as, and its client id: "tenant/serial".
func (f *Fleet) Username(d Device) string { return f.Tenant + "/" + d.Serial }

// Topic returns a device's topic of a class: telemetry, event or status.
func (f *Fleet) Topic(d Device, class string) string {
	return "devices/" + f.Tenant + "/" + d.Model + "/" + d.Serial + "/" + class
}

// Speakers returns the devices that have a connection of their own.
func (f *Fleet) Speakers() []Device {
	var out []Device
	for _, d := range f.Devices {
		if d.Parent == "" {
			out = append(out, d)
		}
	}
	return out
}

// Children returns the devices a base station reports for.
func (f *Fleet) Children(serial string) []Device {
	var out []Device
	for _, d := range f.Devices {
		if d.Parent == serial {
			out = append(out, d)
		}
	}
	return out
}
