package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

type consentRow struct {
	bun.BaseModel `bun:"table:consents,alias:c"`
	Tenant        string `bun:"tenant,pk"`
	ID            string `bun:"id,pk"`
	PersonID      string `bun:"person_id"`
	Purpose       string `bun:"purpose"`
	Text          string `bun:"text_version"`
	Source        string `bun:"source"`
	GivenAt       int64  `bun:"given_at"`
	WithdrawnAt   int64  `bun:"withdrawn_at"`
}

func (r *consentRow) consent() fleet.Consent {
	return fleet.Consent{ID: r.ID, Tenant: r.Tenant, PersonID: r.PersonID, Purpose: fleet.Purpose(r.Purpose), Text: r.Text,
		Source: r.Source, GivenAt: fromMS(r.GivenAt), WithdrawnAt: fromMS(r.WithdrawnAt)}
}

func consentToRow(c *fleet.Consent) consentRow {
	return consentRow{Tenant: c.Tenant, ID: c.ID, PersonID: c.PersonID, Purpose: string(c.Purpose), Text: c.Text,
		Source: c.Source, GivenAt: toMS(c.GivenAt), WithdrawnAt: toMS(c.WithdrawnAt)}
}

// wish is a preference as it is kept.
type wish struct {
	Topic   fleet.Topic `json:"topic"`
	Channel string      `json:"channel,omitempty"`
	Want    fleet.Want  `json:"want"`
}

func personToRow(p *fleet.Person, rev int64) personRow {
	wishes := make([]wish, len(p.Preferences))
	for i, w := range p.Preferences {
		wishes[i] = wish(w)
	}
	text := toJSON(wishes)
	if text == "" {
		text = "[]"
	}
	return personRow{Tenant: p.Tenant, ID: p.ID, Name: p.Name, Locale: p.Locale, Zone: p.Zone, Household: p.Household, Rank: p.Rank,
		Preferences: text, DigestDay: int(p.DigestDay), DigestHour: p.DigestHour, Rev: rev}
}

func (r *personRow) person() (fleet.Person, error) {
	p := fleet.Person{ID: r.ID, Tenant: r.Tenant, Name: r.Name, Locale: r.Locale, Zone: r.Zone, Household: r.Household, Rank: r.Rank,
		DigestDay: time.Weekday(r.DigestDay), DigestHour: r.DigestHour}
	var wishes []wish
	if err := json.Unmarshal([]byte(r.Preferences), &wishes); err != nil {
		return p, fmt.Errorf("preferences of person %q: %w", r.Tenant+"/"+r.ID, err)
	}
	for _, w := range wishes {
		p.Preferences = append(p.Preferences, fleet.Preference(w))
	}
	return p, nil
}

type personKey struct{ tenant, id string }

// loadPeople reads the people that where selects, whole: with their endpoints and the consents that hold.
func loadPeople(ctx context.Context, tx bun.Tx, where string, args []any, each func(fleet.Person)) error {
	var endpoints []endpointRow
	err := tx.NewRaw(`SELECT e.* FROM endpoints e JOIN people p ON p.tenant = e.tenant AND p.id = e.person_id
		WHERE `+where+` ORDER BY e.tenant, e.person_id, e.position`, args...).Scan(ctx, &endpoints)
	if err != nil {
		return fmt.Errorf("endpoints: %w", err)
	}
	reach := map[personKey][]fleet.Endpoint{}
	for _, e := range endpoints {
		k := personKey{e.Tenant, e.PersonID}
		reach[k] = append(reach[k], fleet.Endpoint{Channel: e.Channel, Address: e.Address, Secret: e.Secret, Label: e.Label})
	}
	var consents []consentRow
	err = tx.NewRaw(`SELECT c.* FROM consents c JOIN people p ON p.tenant = c.tenant AND p.id = c.person_id
		WHERE c.withdrawn_at = 0 AND `+where+` ORDER BY c.tenant, c.person_id, c.given_at, c.id`, args...).Scan(ctx, &consents)
	if err != nil {
		return fmt.Errorf("consents: %w", err)
	}
	agreed := map[personKey][]fleet.Consent{}
	for i := range consents {
		k := personKey{consents[i].Tenant, consents[i].PersonID}
		agreed[k] = append(agreed[k], consents[i].consent())
	}
	var people []personRow
	if err := tx.NewRaw("SELECT p.* FROM people p WHERE "+where, args...).Scan(ctx, &people); err != nil {
		return fmt.Errorf("people: %w", err)
	}
	for i := range people {
		p, err := people[i].person()
		if err != nil {
			return err
		}
		k := personKey{p.Tenant, p.ID}
		p.Endpoints, p.Consents = reach[k], agreed[k]
		each(p)
	}
	return nil
}

// savePeople makes people with all that is said of them. Of those who exist it replaces the profile and the household: what they
// told us themselves since - addresses, wishes, consents - stays.
func savePeople(ctx context.Context, tx bun.Tx, people []fleet.Person, rev int64) error {
	for part := range slices.Chunk(people, chunk) {
		known, err := knownPeople(ctx, tx, part)
		if err != nil {
			return err
		}
		rows := make([]personRow, len(part))
		var endpoints []endpointRow
		var consents []consentRow
		for i := range part {
			p := &part[i]
			rows[i] = personToRow(p, rev)
			if known[personKey{p.Tenant, p.ID}] {
				continue
			}
			endpoints = append(endpoints, endpointRows(p)...)
			for j := range p.Consents {
				consents = append(consents, consentToRow(&p.Consents[j]))
			}
		}
		q := tx.NewInsert().Model(&rows).On("CONFLICT (tenant, id) DO UPDATE")
		if _, err := setExcluded(q, []string{"name", "locale", "zone", "household", "household_rank", "digest_day", "digest_hour", "rev"}).Exec(ctx); err != nil {
			return fmt.Errorf("people: %w", err)
		}
		if err := takeOver(ctx, tx, endpoints, rev, nil); err != nil {
			return err
		}
		if err := insertAll(ctx, tx, endpoints, "endpoints"); err != nil {
			return err
		}
		if err := insertAll(ctx, tx, consents, "consents"); err != nil {
			return err
		}
	}
	return nil
}

func knownPeople(ctx context.Context, tx bun.Tx, people []fleet.Person) (map[personKey]bool, error) {
	ids := map[string][]string{}
	for i := range people {
		ids[people[i].Tenant] = append(ids[people[i].Tenant], people[i].ID)
	}
	known := map[personKey]bool{}
	for tenant, list := range ids {
		var have []string
		err := tx.NewSelect().Table("people").Column("id").Where("tenant = ?", tenant).Where("id IN (?)", bun.List(list)).Scan(ctx, &have)
		if err != nil {
			return nil, fmt.Errorf("people: %w", err)
		}
		for _, id := range have {
			known[personKey{tenant, id}] = true
		}
	}
	return known, nil
}

func endpointRows(p *fleet.Person) (rows []endpointRow) {
	for n, e := range p.Endpoints {
		rows = append(rows, endpointRow{Tenant: p.Tenant, PersonID: p.ID, Position: n, Channel: e.Channel, Address: e.Address,
			Secret: e.Secret, Label: e.Label})
	}
	return rows
}

func insertAll[T any](ctx context.Context, tx bun.Tx, rows []T, what string) error {
	for part := range slices.Chunk(rows, chunk) {
		if _, err := tx.NewInsert().Model(&part).Exec(ctx); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// EditPerson lets edit change a person as she is in the database at that moment and writes what it made of her, with the
// security events it returns, in one transaction; an error of edit changes nothing and comes back. Consents that are new in the
// list are added, those whose WithdrawnAt was set are withdrawn; none is ever removed or changed otherwise. CodeNotFound if
// there is no such person. An edit that changes nothing and tells nothing writes nothing.
func (s *Store) EditPerson(ctx context.Context, tenant, id string, edit func(*fleet.Person) ([]fleet.SecurityEvent, error)) error {
	return s.write(ctx, fmt.Sprintf("change person %q", tenant+"/"+id), func(tx bun.Tx) error {
		p, err := onePerson(ctx, tx, tenant, id)
		if err != nil {
			return err
		}
		before := p
		before.Endpoints, before.Consents = slices.Clone(p.Endpoints), slices.Clone(p.Consents)
		events, err := edit(&p)
		if err != nil {
			return err
		}
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		row := personToRow(&p, rev)
		if _, err := tx.NewUpdate().Model(&row).WherePK().Exec(ctx); err != nil {
			return err
		}
		if !slices.Equal(before.Endpoints, p.Endpoints) {
			if err := replaceEndpoints(ctx, tx, &p, rev, events); err != nil {
				return err
			}
		}
		if err := saveConsents(ctx, tx, before.Consents, p.Consents); err != nil {
			return err
		}
		return addEvents(ctx, tx, events)
	})
}

func onePerson(ctx context.Context, tx bun.Tx, tenant, id string) (p fleet.Person, err error) {
	found := false
	err = loadPeople(ctx, tx, "p.tenant = ? AND p.id = ?", []any{tenant, id}, func(one fleet.Person) { p, found = one, true })
	if err == nil && !found {
		err = fleet.Errorf(fleet.CodeNotFound, "person %q is not registered", id)
	}
	return p, err
}

func replaceEndpoints(ctx context.Context, tx bun.Tx, p *fleet.Person, rev int64, because []fleet.SecurityEvent) error {
	_, err := tx.NewDelete().Model((*endpointRow)(nil)).Where("tenant = ? AND person_id = ?", p.Tenant, p.ID).Exec(ctx)
	if err != nil {
		return fmt.Errorf("endpoints: %w", err)
	}
	rows := endpointRows(p)
	if err := takeOver(ctx, tx, rows, rev, because); err != nil {
		return err
	}
	return insertAll(ctx, tx, rows, "endpoints")
}

// takeOver takes addresses that stand for one device (a browser, an app) from whoever had them before: what is sent there is read by
// who uses it now. Mail addresses and topics may be shared. Who loses one is told of in the security events, by who did because.
func takeOver(ctx context.Context, tx bun.Tx, rows []endpointRow, rev int64, because []fleet.SecurityEvent) error {
	for i := range rows {
		r := &rows[i]
		if r.Channel != "push" && r.Channel != "fcm" {
			continue
		}
		var lost []string
		_, err := tx.NewDelete().Model((*endpointRow)(nil)).Where("tenant = ? AND channel IN ('push', 'fcm') AND channel = ? AND address = ? AND person_id <> ?", r.Tenant, r.Channel, r.Address, r.PersonID).
			Returning("person_id").Exec(ctx, &lost)
		if err != nil {
			return fmt.Errorf("endpoints: %w", err)
		}
		for _, id := range lost {
			if _, err := tx.ExecContext(ctx, "UPDATE people SET rev = ? WHERE tenant = ? AND id = ?", rev, r.Tenant, id); err != nil {
				return fmt.Errorf("endpoints: %w", err)
			}
			if len(because) > 0 {
				e := because[0]
				e.Action, e.Subject, e.Detail = fleet.ActionEndpointEnd, id, r.Channel+" is now of "+r.PersonID
				if err := addEvents(ctx, tx, []fleet.SecurityEvent{e}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// saveConsents adds what is new and withdraws what was withdrawn; what is missing in after stays as it is.
func saveConsents(ctx context.Context, tx bun.Tx, before, after []fleet.Consent) error {
	var fresh []consentRow
	for i := range after {
		c := &after[i]
		old := slices.IndexFunc(before, func(b fleet.Consent) bool { return b.ID == c.ID })
		switch {
		case old < 0:
			fresh = append(fresh, consentToRow(c))
		case !c.WithdrawnAt.IsZero():
			if _, err := tx.ExecContext(ctx, "UPDATE consents SET withdrawn_at = ? WHERE tenant = ? AND id = ? AND withdrawn_at = 0",
				toMS(c.WithdrawnAt), c.Tenant, c.ID); err != nil {
				return fmt.Errorf("consent %q: %w", c.ID, err)
			}
		}
	}
	return insertAll(ctx, tx, fresh, "consents")
}

// Consents returns what a person ever agreed to, oldest first, what she took back included.
func (s *Store) Consents(ctx context.Context, tenant, personID string) ([]fleet.Consent, error) {
	var rows []consentRow
	err := s.r.NewSelect().Model(&rows).Where("tenant = ? AND person_id = ?", tenant, personID).Order("given_at", "id").Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("consents of %q: %w", personID, err)
	}
	out := make([]fleet.Consent, len(rows))
	for i := range rows {
		out[i] = rows[i].consent()
	}
	return out, nil
}
