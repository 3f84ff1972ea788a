package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"aftercare/configs"
	"aftercare/internal/fleet"
)

const (
	demoTenant = "demo"
	demoOwner  = "owner-001" // has one of nearly everything, also of what breaks
)

// demoFleet is configs/demo/fleet.yaml.
type demoFleet struct {
	Owners []struct {
		ID        string `yaml:"id"`
		Name      string `yaml:"name"`
		Locale    string `yaml:"locale"`
		Zone      string `yaml:"zone"`
		Household string `yaml:"household"`
	} `yaml:"owners"`
	Devices []struct {
		Serial        string `yaml:"serial"`
		Model         string `yaml:"model"`
		Name          string `yaml:"name"`
		Room          string `yaml:"room"`
		Owner         string `yaml:"owner"`
		Region        string `yaml:"region"`
		Firmware      string `yaml:"firmware"`
		Hardware      string `yaml:"hardware"`
		Batch         string `yaml:"batch"`
		Parent        string `yaml:"parent"`
		Installed     string `yaml:"installed"`
		WarrantyUntil string `yaml:"warranty_until"`
		Seller        string `yaml:"seller"`
	} `yaml:"devices"`
}

// readDemo reads the demo fleet; its dates are relative to now.
func readDemo(now time.Time) ([]fleet.Person, []fleet.Device, error) {
	text, err := configs.FS.ReadFile("demo/fleet.yaml")
	if err != nil {
		return nil, nil, err
	}
	var f demoFleet
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return nil, nil, fmt.Errorf("demo/fleet.yaml: %w", err)
	}
	var people []fleet.Person
	for _, o := range f.Owners {
		people = append(people, fleet.Person{ID: o.ID, Tenant: demoTenant, Name: o.Name, Locale: o.Locale, Zone: o.Zone, Household: o.Household})
	}
	var devices []fleet.Device
	var errs []error
	for _, d := range f.Devices {
		installed, err1 := relativeDay(now, d.Installed)
		warranty, err2 := relativeDay(now, d.WarrantyUntil)
		if err := errors.Join(err1, err2); err != nil {
			errs = append(errs, fmt.Errorf("demo/fleet.yaml: %s: %w", d.Serial, err))
		}
		devices = append(devices, fleet.Device{Key: fleet.DeviceKey{Tenant: demoTenant, Serial: d.Serial}, Model: d.Model, Name: d.Name, Room: d.Room,
			Region: d.Region, Firmware: d.Firmware, Hardware: d.Hardware, Batch: d.Batch, Parent: d.Parent, OwnerID: d.Owner, Seller: d.Seller,
			InstalledAt: installed, WarrantyUntil: warranty})
	}
	return people, devices, errors.Join(errs...)
}

// relativeDay reads "-2y", "+23d" or "" relative to the day of now.
func relativeDay(now time.Time, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	n, err := strconv.Atoi(s[:len(s)-1])
	day := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	switch {
	case err == nil && strings.HasSuffix(s, "d"):
		return day.AddDate(0, 0, n), nil
	case err == nil && strings.HasSuffix(s, "y"):
		return day.AddDate(n, 0, 0), nil
	default:
		return time.Time{}, fmt.Errorf("%q: want days or years from today, as -2y or +23d", s)
	}
}

// prepareDemo makes the demo fleet known and its credentials available to the simulator. The second time it changes nothing; when the file
// with the credentials is lost, the devices get new ones.
func (s *server) prepareDemo(ctx context.Context) error {
	path := filepath.Join(s.cfg.Data, "demo-fleet.json")
	s.addresses.FleetFile = path
	people, devices, err := readDemo(time.Now())
	if err != nil {
		return err
	}
	have, err := readFleetFile(path)
	if err != nil {
		return err
	}
	if len(have) == len(devices) {
		return nil // done by an earlier run: the dates of that day hold
	}
	if err := s.registry.SavePeople(ctx, people); err != nil {
		return err
	}
	secrets, err := s.registry.Import(ctx, devices)
	if err != nil {
		return err
	}
	f := FleetFile{Tenant: demoTenant}
	for _, d := range devices {
		secret, ok := secrets[d.Key]
		if !ok && d.Parent == "" {
			if secret, err = s.registry.Rotate(ctx, d.Key); err != nil {
				return err
			}
		}
		f.Devices = append(f.Devices, DeviceCredential{Model: d.Model, Serial: d.Key.Serial, Secret: secret, Parent: d.Parent})
	}
	s.addresses.FirstRun = len(have) == 0
	return WriteFleetFile(path, f)
}

func readFleetFile(path string) ([]DeviceCredential, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the demo fleet's credentials: %w", err)
	}
	var f FleetFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("read the demo fleet's credentials from %q: %w", path, err)
	}
	return f.Devices, nil
}
