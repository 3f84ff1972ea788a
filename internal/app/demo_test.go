package app

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

// TestShippedDemoFleet: at least 200 devices of at least six models, every owner known, every base station there.
func TestShippedDemoFleet(t *testing.T) {
	demo, err := readDemo(time.Now())
	people, devices := demo.people, demo.devices
	if err != nil {
		t.Fatal(err)
	}
	owners, serials, models := map[string]bool{"": true}, map[string]bool{"": true}, map[string]bool{}
	for _, p := range people {
		owners[p.ID] = true
	}
	for _, d := range devices {
		if serials[d.Key.Serial] {
			t.Errorf("%s is there twice", d.Key.Serial)
		}
		serials[d.Key.Serial], models[d.Model] = true, true
	}
	for _, d := range devices {
		if !owners[d.OwnerID] || !serials[d.Parent] {
			t.Errorf("%s: owner %q, station %q", d.Key.Serial, d.OwnerID, d.Parent)
		}
	}
	if len(devices) < 200 || len(models) < 6 {
		t.Errorf("%d devices of %d models", len(devices), len(models))
	}
}

// TestShippedDemoPeople: the registry takes them and the partners; some live together, some have agreed to something, and every
// washing machine has somebody who repairs it.
func TestShippedDemoPeople(t *testing.T) {
	demo, err := readDemo(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Data = t.TempDir()
	cfg.Store.Path, cfg.Registry.KeyFile = filepath.Join(cfg.Data, "a.db"), filepath.Join(cfg.Data, "registry.key")
	files, problems := LoadFiles(cfg)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	err = WithRegistry(t.Context(), cfg, files, func(ctx context.Context, r *registry.Registry) error {
		errs := []error{r.SavePeople(ctx, demo.people)}
		for _, p := range demo.partners {
			errs = append(errs, r.SavePartner(ctx, p))
		}
		_, err := r.Import(ctx, demo.devices)
		lookAtDemo(t, r)
		return errors.Join(append(errs, err)...)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func lookAtDemo(t *testing.T, r *registry.Registry) {
	t.Helper()
	two, agreed := 0, 0
	for _, p := range r.PeopleOf(demoTenant) {
		if h, ok := r.HouseholdOf(demoTenant, p.ID); ok && len(h.Members) == 2 {
			two++
		}
		if len(p.Consents) > 0 {
			agreed++
		}
	}
	if two < 4 || agreed < 5 {
		t.Errorf("%d live in twos, %d have agreed to something", two, agreed)
	}
	d, ok := r.Device(fleet.DeviceKey{Tenant: demoTenant, Serial: "WM-0001"})
	if !ok {
		t.Fatal("there is no WM-0001")
	}
	if c := r.Cover(d, time.Now().UTC(), nil); c.Kind != "manufacturer" || c.Days < 22 || c.Days > 23 {
		t.Errorf("cover of WM-0001: %+v", c)
	}
	if found := r.PartnersFor(d); len(found) != 2 || found[0].ID != "hausdienst-berlin" {
		t.Errorf("partners of WM-0001: %v", found)
	}
}
