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
		Rank      int    `yaml:"rank"`
		Digest    string `yaml:"digest"` // "sunday-18"

		Consents []fleet.Purpose            `yaml:"consents"`
		Prefer   map[fleet.Topic]fleet.Want `yaml:"prefer"`
	} `yaml:"owners"`
	Partners []struct {
		ID         string   `yaml:"id"`
		Name       string   `yaml:"name"`
		Locale     string   `yaml:"locale"`
		Zone       string   `yaml:"zone"`
		Email      string   `yaml:"email"`
		Regions    []string `yaml:"regions"`
		Categories []string `yaml:"categories"`
	} `yaml:"partners"`
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

// demoNouns is the demo fleet as the registry knows it.
type demoNouns struct {
	people   []fleet.Person
	devices  []fleet.Device
	partners []fleet.Partner
}

// readDemo reads the demo fleet; its dates are relative to now.
func readDemo(now time.Time) (out demoNouns, err error) {
	text, err := configs.FS.ReadFile("demo/fleet.yaml")
	if err != nil {
		return out, err
	}
	var f demoFleet
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return out, fmt.Errorf("demo/fleet.yaml: %w", err)
	}
	var errs []error
	if out.people, err = f.people(now); err != nil {
		errs = append(errs, err)
	}
	for _, p := range f.Partners {
		out.partners = append(out.partners, fleet.Partner{ID: p.ID, Tenant: demoTenant, Name: p.Name, Locale: p.Locale, Zone: p.Zone, Email: p.Email,
			Regions: p.Regions, Categories: p.Categories})
	}
	for _, d := range f.Devices {
		installed, err1 := relativeDay(now, d.Installed)
		warranty, err2 := relativeDay(now, d.WarrantyUntil)
		if err := errors.Join(err1, err2); err != nil {
			errs = append(errs, fmt.Errorf("demo/fleet.yaml: %s: %w", d.Serial, err))
		}
		out.devices = append(out.devices, fleet.Device{Key: fleet.DeviceKey{Tenant: demoTenant, Serial: d.Serial}, Model: d.Model, Name: d.Name, Room: d.Room,
			Region: d.Region, Firmware: d.Firmware, Hardware: d.Hardware, Batch: d.Batch, Parent: d.Parent, OwnerID: d.Owner, Seller: d.Seller,
			InstalledAt: installed, WarrantyUntil: warranty})
	}
	return out, errors.Join(errs...)
}

// people are the owners with what they agreed to when they registered, a month before the demo began.
func (f *demoFleet) people(now time.Time) (out []fleet.Person, err error) {
	for _, o := range f.Owners {
		p := fleet.Person{ID: o.ID, Tenant: demoTenant, Name: o.Name, Locale: o.Locale, Zone: o.Zone, Household: o.Household, Rank: o.Rank}
		if p.DigestDay, p.DigestHour, err = ParseDigest(o.Digest); err != nil {
			return nil, fmt.Errorf("demo/fleet.yaml: %s: %w", o.ID, err)
		}
		for _, purpose := range o.Consents {
			p.Consents = append(p.Consents, fleet.Consent{ID: fleet.ID("consent", o.ID, string(purpose)), Tenant: demoTenant, PersonID: o.ID, Purpose: purpose,
				Text: string(purpose) + "-2026-11", Source: "demo", GivenAt: now.AddDate(0, -1, 0).Truncate(time.Second)})
		}
		for _, topic := range fleet.Topics() {
			if want, ok := o.Prefer[topic]; ok {
				p.Preferences = append(p.Preferences, fleet.Preference{Topic: topic, Want: want})
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// ParseDigest reads the day and the full hour of a digest, such as "sunday-18"; empty is none of one's own.
func ParseDigest(s string) (time.Weekday, int, error) {
	if s == "" {
		return 0, 0, nil
	}
	name, hour, _ := strings.Cut(strings.ToLower(s), "-")
	for d := time.Sunday; d <= time.Saturday; d++ {
		if h, err := strconv.Atoi(hour); err == nil && strings.ToLower(d.String()) == name && h > 0 && h < 24 {
			return d, h, nil
		}
	}
	return 0, 0, fmt.Errorf("digest %q: want a day and a full hour from 1 to 23, such as sunday-18", s)
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
	demo, err := readDemo(time.Now())
	if err != nil {
		return err
	}
	have, err := readFleetFile(path)
	if err != nil {
		return err
	}
	if len(have) == len(demo.devices) {
		return nil // done by an earlier run: the dates of that day hold
	}
	if err := s.registry.SavePeople(ctx, demo.people); err != nil {
		return err
	}
	for _, p := range demo.partners {
		if err := s.registry.SavePartner(ctx, p); err != nil {
			return err
		}
	}
	secrets, err := s.registry.Import(ctx, demo.devices)
	if err != nil {
		return err
	}
	f := FleetFile{Tenant: demoTenant}
	for _, d := range demo.devices {
		secret, ok := secrets[d.Key]
		if !ok && d.Parent == "" {
			if secret, err = s.registry.Rotate(ctx, d.Key); err != nil {
				return err
			}
		}
		f.Devices = append(f.Devices, DeviceCredential{Model: d.Model, Serial: d.Key.Serial, Secret: secret, Parent: d.Parent, Firmware: d.Firmware})
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
