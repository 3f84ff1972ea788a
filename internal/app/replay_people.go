package app

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
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
	named := slices.DeleteFunc(namedOwners(tenant, text), func(p fleet.Person) bool {
		_, known := r.Person(tenant, p.ID)
		return known
	})
	if err := r.SavePeople(ctx, named); err != nil {
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
		Endpoints: []fleet.Endpoint{{Channel: "ntfy", Address: "replay:" + id}}}
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

// importPeople makes the people of a list known: id, household, rank, name, locale, zone, preferences and consents, as "firmware-sim
// simulate" writes them. Everybody has a phone, and every other one an e-mail address too.
func importPeople(ctx context.Context, r *registry.Registry, tenant string, list io.Reader) error {
	if list == nil {
		return nil
	}
	rows, err := csv.NewReader(list).ReadAll()
	if err != nil {
		return err
	}
	want := []string{"id", "household", "rank", "name", "locale", "zone", "preferences", "consents"}
	if len(rows) == 0 || !slices.Equal(rows[0], want) {
		return fmt.Errorf("want the columns %v", want)
	}
	people := make([]fleet.Person, 0, len(rows)-1)
	for i, row := range rows[1:] {
		rank, err := strconv.Atoi(row[2])
		if err != nil {
			return fmt.Errorf("line %d: rank %q: want a number", i+2, row[2])
		}
		p := fleet.Person{ID: row[0], Tenant: tenant, Household: row[1], Rank: rank, Name: row[3], Locale: row[4], Zone: row[5],
			Endpoints: []fleet.Endpoint{{Channel: "ntfy", Address: "replay:" + row[0]}}}
		if drawn(row[0], "email").Float64() < 0.5 {
			p.Endpoints = append(p.Endpoints, fleet.Endpoint{Channel: "email", Address: row[0] + "@example.com"})
		}
		people = append(people, p)
	}
	if err := r.SavePeople(ctx, people); err != nil {
		return err
	}
	for i, row := range rows[1:] {
		if err := importWishes(ctx, r, tenant, row); err != nil {
			return fmt.Errorf("line %d: %w", i+2, err)
		}
	}
	return nil
}

func importWishes(ctx context.Context, r *registry.Registry, tenant string, row []string) error {
	var wishes []fleet.Preference
	for _, text := range strings.FieldsFunc(row[6], semicolon) {
		w := strings.Fields(text)
		if len(w) != 3 {
			return fmt.Errorf("preference %q: want topic, channel and wish", text)
		}
		wishes = append(wishes, fleet.Preference{Topic: fleet.Topic(w[0]), Channel: w[1], Want: fleet.Want(w[2])})
	}
	if len(wishes) > 0 {
		if err := r.SetPreferences(ctx, tenant, row[0], wishes...); err != nil {
			return err
		}
	}
	for _, purpose := range strings.FieldsFunc(row[7], semicolon) {
		if err := r.GiveConsent(ctx, tenant, row[0], fleet.Purpose(purpose), "replay", "list of people"); err != nil {
			return err
		}
	}
	return nil
}

func semicolon(c rune) bool { return c == ';' }
