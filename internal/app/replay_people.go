package app

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

// importReplayed makes the devices of a list known, and an owner of each: outreach decides for people, and a device without
// one would show nothing of it. It returns how many devices there are.
func importReplayed(ctx context.Context, r *registry.Registry, tenant string, list io.Reader) (int, error) {
	text, err := io.ReadAll(list)
	if err != nil {
		return 0, fmt.Errorf("read: %w", err)
	}
	if err := r.SavePeople(ctx, namedOwners(tenant, text)); err != nil {
		return 0, err
	}
	report, err := r.ImportCSV(ctx, tenant, bytes.NewReader(text), registry.ImportOptions{FirstContact: true})
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, p := range report.Bad {
		errs = append(errs, errors.New(p.String()))
	}
	if len(errs) > 0 {
		return 0, errors.Join(errs...)
	}
	var people []fleet.Person
	var devices []fleet.Device
	for _, k := range replayKeys(r) {
		d, _ := r.Device(k)
		if d.OwnerID != "" {
			continue
		}
		own := *d
		own.OwnerID = "owner-" + strings.TrimPrefix(fleet.ID("", k.Serial), "-")
		devices = append(devices, own)
		people = append(people, replayOwner(tenant, own.OwnerID, d.Region))
	}
	if err := r.SavePeople(ctx, people); err != nil {
		return 0, err
	}
	if _, err := r.Import(ctx, devices); err != nil {
		return 0, err
	}
	return report.Rows, nil
}

// namedOwners are the people that a list names. A list that cannot be read is told of by its import.
func namedOwners(tenant string, text []byte) (people []fleet.Person) {
	in := csv.NewReader(bytes.NewReader(text))
	in.FieldsPerRecord = -1
	rows, err := in.ReadAll()
	if err != nil || len(rows) == 0 {
		return nil
	}
	owner, region := slices.Index(rows[0], "owner"), slices.Index(rows[0], "region")
	if owner < 0 {
		return nil
	}
	cell := func(row []string, i int) string {
		if i < 0 || i >= len(row) {
			return ""
		}
		return strings.TrimSpace(row[i])
	}
	seen := map[string]bool{}
	for _, row := range rows[1:] {
		if id := cell(row, owner); id != "" && !seen[id] && fleet.ValidName(id) {
			seen[id] = true
			people = append(people, replayOwner(tenant, id, cell(row, region)))
		}
	}
	return people
}

// replayOwner is somebody with a phone who lives where the device is.
func replayOwner(tenant, id, region string) fleet.Person {
	p := fleet.Person{ID: id, Tenant: tenant, Name: id, Locale: "en-GB", Zone: "Europe/Berlin",
		Endpoints: []fleet.Endpoint{{Channel: replayPhone{}.Name(), Address: "replay:" + id}}}
	switch country, _, _ := strings.Cut(region, "-"); country {
	case "DE", "AT", "CH":
		p.Locale = "de-DE"
	case "GB", "IE":
		p.Zone = "Europe/London"
	case "US":
		p.Locale, p.Zone = "en-US", "America/New_York"
	}
	return p
}
