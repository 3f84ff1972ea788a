package registry

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"time"

	"aftercare/internal/fleet"
)

// ImportOptions says how a list is taken.
type ImportOptions struct {
	// FirstContact: new devices get no credential; they fetch one with their model's provisioning secret.
	FirstContact bool
}

var regionPattern = regexp.MustCompile(`^[A-Z]{2}(-[A-Z0-9]{1,3})?$`)

// ImportCSV adds and updates the devices of a list: CSV in UTF-8 with commas or semicolons, at most 10,000 rows and 8 MiB.
// The first line names the columns, in any order: serial and model, and if wanted name, room, region, firmware, hardware, batch,
// parent (a serial, of the list or registered), owner (a person's id), seller, contract (who insures it), installed_at, warranty_until and contract_until
// (2026-03-31).
// A device that is known keeps what the list leaves empty or out, and its credential. Rows that are right go in, in one
// transaction; every other is named in the report with its line, its column and what is wrong. The report holds the
// secrets of new devices. An error means that nothing was taken: CodeInvalid if the list as a whole cannot be used.
func (r *Registry) ImportCSV(ctx context.Context, tenant string, list io.Reader, o ImportOptions) (fleet.ImportReport, error) {
	if !fleet.ValidName(tenant) {
		return fleet.ImportReport{}, fleet.Errorf(fleet.CodeInvalid, "tenant %q: want 1 to 64 letters, digits, '.', '_', '-'", tenant)
	}
	text, err := io.ReadAll(io.LimitReader(list, maxListBytes+1))
	if err != nil {
		return fleet.ImportReport{}, fmt.Errorf("read the list: %w", err)
	}
	rows, err := readList(text)
	if err != nil {
		return fleet.ImportReport{}, err
	}
	if err := r.Refresh(ctx); err != nil {
		return fleet.ImportReport{}, err
	}
	r.checkRows(tenant, rows)
	return r.importRows(ctx, rows, o)
}

// importRows writes the good rows and reports the others.
func (r *Registry) importRows(ctx context.Context, rows []row, o ImportOptions) (fleet.ImportReport, error) {
	rep := fleet.ImportReport{Rows: len(rows), Secrets: map[fleet.DeviceKey]string{}}
	devices := make([]fleet.Device, 0, len(rows))
	events := make([]fleet.SecurityEvent, 0, len(rows))
	var creds []fleet.Credential
	for i := range rows {
		w := &rows[i]
		if w.bad != nil {
			rep.Bad = append(rep.Bad, *w.bad)
			continue
		}
		detail := "new, model " + w.d.Model
		if w.known {
			detail = "updated"
			rep.Updated++
		} else {
			rep.Added++
		}
		devices = append(devices, w.d)
		events = append(events, r.event(actor(ctx), fleet.ActionImported, w.d.Key, detail))
		if e, known := r.devices.get(w.d.Key); w.d.Parent == "" && !w.d.Revoked && !o.FirstContact && (!known || len(e.credentials) == 0) {
			secret, c := r.newCredential(w.d.Key)
			rep.Secrets[w.d.Key] = secret
			creds = append(creds, c)
		}
	}
	if len(devices) == 0 {
		return rep, nil
	}
	if err := r.save(ctx, devices, creds, nil, append(events, r.ownerEvents(ctx, devices)...)...); err != nil {
		return fleet.ImportReport{}, err
	}
	return rep, nil
}

// checkRows fills in each row's device or says what is wrong with it. Parents come last: a row may stand above its parent's.
func (r *Registry) checkRows(tenant string, rows []row) {
	bySerial := make(map[string]*row, len(rows))
	for i := range rows {
		w := &rows[i]
		serial := w.cells["serial"]
		if serial != "" {
			if first, twice := bySerial[serial]; twice {
				w.fail("serial", "", "%q is in line %d already", serial, first.line)
			} else {
				bySerial[serial] = w
			}
		}
		if w.bad == nil {
			r.checkRow(tenant, w)
		}
	}
	for i := range rows {
		if w := &rows[i]; w.bad == nil && w.d.Parent != "" {
			r.checkParent(w, bySerial)
		}
	}
}

func (r *Registry) checkRow(tenant string, w *row) {
	key := fleet.DeviceKey{Tenant: tenant, Serial: w.cells["serial"]}
	model := w.cells["model"]
	m, ok := r.models[model]
	switch {
	case key.Serial == "":
		w.fail("serial", "", "is missing")
		return
	case !fleet.ValidName(key.Serial):
		w.fail("serial", "1 to 64 letters, digits, '.', '_', '-', beginning with a letter or digit", "%q is no serial number", key.Serial)
		return
	case model == "":
		w.fail("model", "", "is missing")
		return
	case !ok:
		w.fail("model", "", "there is no profile of model %q", model)
		return
	}
	var old *fleet.Device
	if old, w.known = r.Device(key); w.known {
		if old.Model != model {
			w.fail("model", "", "%q is registered as model %q", key.Serial, old.Model)
			return
		}
		w.d = *old
		w.d.OwnerID = "" // whose it is may change meanwhile: only what the list says counts
	}
	w.d.OwnedSince = r.now()
	w.d.Key, w.d.Model, w.d.Category = key, model, m.Category
	for column, to := range map[string]*string{"name": &w.d.Name, "room": &w.d.Room, "region": &w.d.Region, "firmware": &w.d.Firmware,
		"hardware": &w.d.Hardware, "batch": &w.d.Batch, "parent": &w.d.Parent, "owner": &w.d.OwnerID, "seller": &w.d.Seller,
		"contract": &w.d.Contract} {
		if text := w.cells[column]; text != "" {
			*to = text
		}
	}
	if region := w.cells["region"]; region != "" && !regionPattern.MatchString(region) {
		w.fail("region", `such as "DE" or "DE-BY"`, "%q is no ISO 3166 code", region)
	}
	if owner := w.cells["owner"]; owner != "" {
		if _, known := r.Person(tenant, owner); !known {
			w.fail("owner", "", "there is no person %q", owner)
		}
	}
	w.date("installed_at", &w.d.InstalledAt)
	w.date("warranty_until", &w.d.WarrantyUntil)
	w.date("contract_until", &w.d.ContractUntil)
	if !w.d.WarrantyUntil.IsZero() && w.d.WarrantyUntil.Before(w.d.InstalledAt) {
		w.fail("warranty_until", "", "the warranty ends before the device was installed")
	}
}

// date reads a day, RFC 3339's full-date, as its beginning in UTC.
func (r *row) date(column string, to *time.Time) {
	text := r.cells[column]
	if text == "" {
		return
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		r.fail(column, "such as 2026-03-31", "%q is no date", text)
		return
	}
	*to = t
}

func (r *Registry) checkParent(w *row, bySerial map[string]*row) {
	serial := w.d.Parent
	if serial == w.d.Key.Serial {
		w.fail("parent", "", "a device is not its own base station")
		return
	}
	above := ""
	if p, listed := bySerial[serial]; listed {
		if p.bad != nil {
			w.fail("parent", "", "the row of %q, line %d, was not taken", serial, p.line)
			return
		}
		above = p.d.Parent
	} else if d, known := r.Device(fleet.DeviceKey{Tenant: w.d.Key.Tenant, Serial: serial}); known {
		above = d.Parent
	} else {
		w.fail("parent", "", "%q is neither registered nor in the list", serial)
	}
	if above != "" {
		w.fail("parent", "", "base station %q has a base station itself", serial)
	}
}
