package store

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

// The rows are the tables' columns; the nouns of package fleet stay free of SQL.

type deviceRow struct {
	bun.BaseModel `bun:"table:devices"`
	Tenant        string `bun:"tenant,pk"`
	Serial        string `bun:"serial,pk"`
	Model         string `bun:"model"`
	Category      string `bun:"category"`
	Name          string `bun:"name"`
	Room          string `bun:"room"`
	Region        string `bun:"region"`
	Firmware      string `bun:"firmware"`
	Hardware      string `bun:"hardware"`
	Batch         string `bun:"batch"`
	Parent        string `bun:"parent"`
	OwnerID       string `bun:"owner_id"`
	Seller        string `bun:"seller"`
	InstalledAt   int64  `bun:"installed_at"`
	WarrantyUntil int64  `bun:"warranty_until"`
	Revoked       bool   `bun:"revoked"`
	OwnedSince    int64  `bun:"owned_since"`
	Contract      string `bun:"contract"`
	ContractUntil int64  `bun:"contract_until"`
	Rev           int64  `bun:"rev"`
}

func deviceToRow(d *fleet.Device, rev int64) deviceRow {
	return deviceRow{Tenant: d.Key.Tenant, Serial: d.Key.Serial, Model: d.Model, Category: d.Category, Name: d.Name,
		Room: d.Room, Region: d.Region, Firmware: d.Firmware, Hardware: d.Hardware, Batch: d.Batch, Parent: d.Parent,
		OwnerID: d.OwnerID, Seller: d.Seller, InstalledAt: toMS(d.InstalledAt), WarrantyUntil: toMS(d.WarrantyUntil),
		Revoked: d.Revoked, OwnedSince: toMS(d.OwnedSince), Contract: d.Contract, ContractUntil: toMS(d.ContractUntil), Rev: rev}
}

func (r *deviceRow) device() fleet.Device {
	return fleet.Device{Key: fleet.DeviceKey{Tenant: r.Tenant, Serial: r.Serial}, Model: r.Model, Category: r.Category,
		Name: r.Name, Room: r.Room, Region: r.Region, Firmware: r.Firmware, Hardware: r.Hardware, Batch: r.Batch,
		Parent: r.Parent, OwnerID: r.OwnerID, Seller: r.Seller, InstalledAt: fromMS(r.InstalledAt),
		WarrantyUntil: fromMS(r.WarrantyUntil), Revoked: r.Revoked, OwnedSince: fromMS(r.OwnedSince),
		Contract: r.Contract, ContractUntil: fromMS(r.ContractUntil)}
}

type credentialRow struct {
	bun.BaseModel `bun:"table:credentials"`
	Tenant        string `bun:"tenant,pk"`
	Serial        string `bun:"serial,pk"`
	ID            string `bun:"id,pk"`
	Hash          string `bun:"hash"`
	CreatedAt     int64  `bun:"created_at"`
	UsedAt        int64  `bun:"used_at"`
	RevokedAt     int64  `bun:"revoked_at"`
	Rev           int64  `bun:"rev"`
}

func credentialToRow(c *fleet.Credential, rev int64) credentialRow {
	return credentialRow{Tenant: c.Device.Tenant, Serial: c.Device.Serial, ID: c.ID, Hash: hex.EncodeToString(c.Hash),
		CreatedAt: toMS(c.CreatedAt), UsedAt: toMS(c.UsedAt), RevokedAt: toMS(c.RevokedAt), Rev: rev}
}

func (r *credentialRow) credential() (fleet.Credential, error) {
	hash, err := hex.DecodeString(r.Hash)
	if err != nil {
		return fleet.Credential{}, fmt.Errorf("credential %q of %s/%s: hash: %w", r.ID, r.Tenant, r.Serial, err)
	}
	return fleet.Credential{Device: fleet.DeviceKey{Tenant: r.Tenant, Serial: r.Serial}, ID: r.ID, Hash: hash,
		CreatedAt: fromMS(r.CreatedAt), UsedAt: fromMS(r.UsedAt), RevokedAt: fromMS(r.RevokedAt)}, nil
}

type personRow struct {
	bun.BaseModel `bun:"table:people"`
	Tenant        string `bun:"tenant,pk"`
	ID            string `bun:"id,pk"`
	Name          string `bun:"name"`
	Locale        string `bun:"locale"`
	Zone          string `bun:"zone"`
	Household     string `bun:"household"`
	Rank          int    `bun:"household_rank"`
	Preferences   string `bun:"preferences"` // JSON
	DigestDay     int    `bun:"digest_day"`
	DigestHour    int    `bun:"digest_hour"`
	Rev           int64  `bun:"rev"`
}

type endpointRow struct {
	bun.BaseModel `bun:"table:endpoints"`
	Tenant        string `bun:"tenant,pk"`
	PersonID      string `bun:"person_id,pk"`
	Position      int    `bun:"position,pk"`
	Channel       string `bun:"channel"`
	Address       string `bun:"address"`
	Secret        string `bun:"secret"`
	Label         string `bun:"label"`
}

type caseRow struct {
	bun.BaseModel `bun:"table:cases,alias:c"`
	Tenant        string `bun:"tenant,pk"`
	ID            string `bun:"id,pk"`
	Version       int64  `bun:"version"`
	Serial        string `bun:"serial"`
	Model         string `bun:"model"`
	Category      string `bun:"category"`
	Problem       string `bun:"problem"`
	Rule          string `bun:"rule"`
	Kind          string `bun:"kind"`
	Severity      int64  `bun:"severity"`
	State         string `bun:"state"`
	OpenedAt      int64  `bun:"opened_at"`
	UpdatedAt     int64  `bun:"updated_at"`
	ClosedAt      int64  `bun:"closed_at"`
	EpisodeCount  int    `bun:"episode_count"`
	Live          bool   `bun:"live"`
	Told          int64  `bun:"told"`
	ToldAny       bool   `bun:"told_any"`
	AllClear      bool   `bun:"all_clear"`
	BackAt        int64  `bun:"back_at"`
	SeenUntil     int64  `bun:"seen_until"`
	Outcome       string `bun:"outcome"`
	Assignee      string `bun:"assignee"`
	Episodes      string `bun:"episodes"`
	Firmware      string `bun:"firmware"`
	Batch         string `bun:"batch"`
	Region        string `bun:"region"`
	IncidentID    string `bun:"incident_id"`
	MergedInto    string `bun:"merged_into"`
	CauseRule     string `bun:"cause_rule"`
	Care          string `bun:"care"`
}

func caseToRow(c *fleet.Case) (caseRow, error) {
	episodes, err := json.Marshal(c.Episodes)
	if err != nil {
		return caseRow{}, fmt.Errorf("episodes of case %q: %w", c.ID, err)
	}
	care, err := json.Marshal(c.CaseCare)
	if err != nil {
		return caseRow{}, fmt.Errorf("care of case %q: %w", c.ID, err)
	}
	return caseRow{Tenant: c.Device.Tenant, ID: c.ID, Version: c.Version, Serial: c.Device.Serial, Model: c.Model,
		Category: c.Category, Problem: c.Problem, Rule: c.Rule, Kind: string(c.Kind), Severity: int64(c.Severity),
		State: string(c.State), OpenedAt: toMS(c.OpenedAt), UpdatedAt: toMS(c.UpdatedAt), ClosedAt: toMS(c.ClosedAt),
		EpisodeCount: c.Count, Live: c.Live, Told: int64(c.Told), ToldAny: c.ToldAny, AllClear: c.AllClear, BackAt: toMS(c.BackAt),
		SeenUntil: toMS(c.SeenUntil), Outcome: string(c.Outcome), Assignee: c.Assignee, Episodes: string(episodes), Firmware: c.Firmware,
		Batch: c.Batch, Region: c.Region, IncidentID: c.IncidentID, MergedInto: c.MergedInto, CauseRule: c.CauseRule, Care: string(care)}, nil
}

func (r *caseRow) fleetCase() (fleet.Case, error) {
	c := fleet.Case{ID: r.ID, Version: r.Version, Device: fleet.DeviceKey{Tenant: r.Tenant, Serial: r.Serial},
		Model: r.Model, Category: r.Category, Problem: r.Problem, Rule: r.Rule, Kind: fleet.Kind(r.Kind),
		Severity: severity(r.Severity), State: fleet.CaseState(r.State), OpenedAt: fromMS(r.OpenedAt),
		UpdatedAt: fromMS(r.UpdatedAt), ClosedAt: fromMS(r.ClosedAt), Count: r.EpisodeCount, Live: r.Live,
		Told: severity(r.Told), ToldAny: r.ToldAny, AllClear: r.AllClear, BackAt: fromMS(r.BackAt), SeenUntil: fromMS(r.SeenUntil),
		Outcome: fleet.Outcome(r.Outcome), Assignee: r.Assignee, Firmware: r.Firmware, Batch: r.Batch, Region: r.Region,
		IncidentID: r.IncidentID, MergedInto: r.MergedInto, CauseRule: r.CauseRule}
	if err := json.Unmarshal([]byte(r.Care), &c.CaseCare); err != nil {
		return c, fmt.Errorf("care of case %q: %w", r.ID, err)
	}
	if err := json.Unmarshal([]byte(r.Episodes), &c.Episodes); err != nil {
		return c, fmt.Errorf("episodes of case %q: %w", r.ID, err)
	}
	return c, nil
}

func severity(n int64) fleet.Severity {
	return fleet.Severity(min(max(n, int64(fleet.Info)), int64(fleet.Danger))) //nolint:gosec // bounded to the ladder
}

type auditRow struct {
	bun.BaseModel `bun:"table:case_audit"`
	Tenant        string `bun:"tenant,pk"`
	CaseID        string `bun:"case_id,pk"`
	Version       int64  `bun:"version,pk"`
	Position      int    `bun:"position,pk"`
	At            int64  `bun:"at"`
	Actor         string `bun:"actor"`
	Action        string `bun:"action"`
	Detail        string `bun:"detail"`
}

// The states of an outbox row.
const (
	statePending = "pending"
	stateLeased  = "leased"
	stateDone    = "done"
	stateDead    = "dead"
)

type outboxRow struct {
	bun.BaseModel `bun:"table:outbox"`
	ID            string `bun:"id,pk"`
	Kind          string `bun:"kind"`
	Tenant        string `bun:"tenant"`
	CaseID        string `bun:"case_id"`
	PersonID      string `bun:"person_id"`
	Channel       string `bun:"channel"`
	Topic         string `bun:"topic"`
	Body          string `bun:"body"`
	State         string `bun:"state"`
	DueAt         int64  `bun:"due_at"`
	Ord           int64  `bun:"ord"`
	LeaseUntil    int64  `bun:"lease_until"`
	Attempts      int    `bun:"attempts"`
	LastErr       string `bun:"last_err"`
	Reason        string `bun:"reason"`
	Cause         int64  `bun:"cause"`
	Ref           string `bun:"ref"`
	About         int64  `bun:"about"`
	DoneAt        int64  `bun:"done_at"`
}

func outboxToRow(o *fleet.OutboxRow, ord int64) outboxRow {
	return outboxRow{ID: o.ID, Kind: string(o.Kind), Tenant: o.Tenant, CaseID: o.CaseID, PersonID: o.PersonID,
		Channel: o.Channel, Topic: o.Topic, Body: string(o.Body), State: statePending, DueAt: toMS(o.DueAt), Ord: ord,
		Attempts: o.Attempts, LastErr: o.LastErr, Cause: toMS(o.Cause), Ref: o.Ref, About: toMS(o.About)}
}

func (r *outboxRow) row() fleet.OutboxRow {
	o := fleet.OutboxRow{ID: r.ID, Kind: fleet.OutboxKind(r.Kind), Tenant: r.Tenant, CaseID: r.CaseID,
		PersonID: r.PersonID, Channel: r.Channel, Topic: r.Topic, DueAt: fromMS(r.DueAt), Attempts: r.Attempts,
		LastErr: r.LastErr, Cause: fromMS(r.Cause), Ref: r.Ref, About: fromMS(r.About)}
	if r.Body != "" {
		o.Body = []byte(r.Body)
	}
	return o
}

type deliveryRow struct {
	bun.BaseModel `bun:"table:deliveries"`
	Tenant        string `bun:"tenant,pk"`
	OutboxID      string `bun:"outbox_id,pk"`
	CaseID        string `bun:"case_id"`
	PersonID      string `bun:"person_id"`
	Channel       string `bun:"channel"`
	State         string `bun:"state"`
	Reason        string `bun:"reason"`
	At            int64  `bun:"at"`
	Attempts      int    `bun:"attempts"`
	Ref           string `bun:"ref"`
	Endpoint      string `bun:"endpoint"`
	Topic         string `bun:"topic"`
	Subject       string `bun:"subject"`
	Trace         string `bun:"trace"` // JSON
	DeliveredAt   int64  `bun:"delivered_at"`
	OpenedAt      int64  `bun:"opened_at"`
	ActedAt       int64  `bun:"acted_at"`
	Acted         string `bun:"acted"`
}

func deliveryToRow(tenant, outboxID string, d *fleet.Delivery) deliveryRow {
	r := deliveryRow{Tenant: tenant, OutboxID: outboxID, CaseID: d.CaseID, PersonID: d.PersonID, Channel: d.Channel, State: d.State, Reason: d.Reason,
		At: toMS(d.At), Attempts: d.Attempts, Ref: d.Ref, Endpoint: d.Endpoint, Topic: d.Topic, Subject: string(d.Subject),
		DeliveredAt: toMS(d.DeliveredAt), OpenedAt: toMS(d.OpenedAt), ActedAt: toMS(d.ActedAt), Acted: string(d.Acted)}
	r.Trace = toJSON(d.Trace)
	return r
}

func (r *deliveryRow) delivery() fleet.Delivery {
	d := fleet.Delivery{OutboxID: r.OutboxID, CaseID: r.CaseID, PersonID: r.PersonID, Channel: r.Channel, State: r.State, Reason: r.Reason,
		At: fromMS(r.At), Attempts: r.Attempts, Ref: r.Ref, Endpoint: r.Endpoint, Topic: r.Topic, Subject: fleet.Topic(r.Subject),
		DeliveredAt: fromMS(r.DeliveredAt), OpenedAt: fromMS(r.OpenedAt), ActedAt: fromMS(r.ActedAt), Acted: fleet.Verdict(r.Acted)}
	fromJSON(r.Trace, &d.Trace)
	return d
}

// toJSON writes what may be missing: an empty list is the empty text.
func toJSON[T any](list []T) string {
	if len(list) == 0 {
		return ""
	}
	b, err := json.Marshal(list)
	if err != nil { // plain strings, numbers and times: it cannot fail but for a year beyond 9999
		return ""
	}
	return string(b)
}

// fromJSON reads it; what cannot be read is left out, because the row is about something else.
func fromJSON[T any](text string, list *[]T) {
	if text != "" {
		_ = json.Unmarshal([]byte(text), list)
	}
}

type inboxRow struct {
	bun.BaseModel `bun:"table:inbox"`
	Tenant        string `bun:"tenant,pk"`
	ID            string `bun:"id,pk"`
	CaseID        string `bun:"case_id"`
	Serial        string `bun:"serial"`
	PersonID      string `bun:"person_id"`
	Channel       string `bun:"channel"`
	Topic         string `bun:"topic"`
	Kind          string `bun:"kind"`
	Severity      int64  `bun:"severity"`
	Locale        string `bun:"locale"`
	Title         string `bun:"title"`
	Body          string `bun:"body"`
	Do            string `bun:"todo"`
	At            int64  `bun:"at"`
	ReadAt        int64  `bun:"read_at"`
	Ref           string `bun:"ref"`
	Subject       string `bun:"subject"`
	Rule          string `bun:"rule"`
	RuleHash      string `bun:"rule_hash"`
	Evidence      string `bun:"evidence"` // JSON
	Merged        string `bun:"merged"`   // JSON
}

func messageToRow(m *fleet.Message) inboxRow {
	return inboxRow{Tenant: m.Tenant, ID: m.ID, CaseID: m.CaseID, Serial: m.Device.Serial, PersonID: m.PersonID,
		Channel: m.Channel, Topic: m.Topic, Kind: string(m.Kind), Severity: int64(m.Severity), Locale: m.Locale,
		Title: m.Title, Body: m.Body, Do: m.Do, At: toMS(m.At), ReadAt: toMS(m.ReadAt), Ref: m.Ref, Subject: string(m.Subject), Rule: m.Rule,
		RuleHash: m.RuleHash, Evidence: toJSON(m.Evidence), Merged: toJSON(m.Merged)}
}

func (r *inboxRow) message() fleet.Message {
	m := fleet.Message{ID: r.ID, Tenant: r.Tenant, CaseID: r.CaseID,
		Device: fleet.DeviceKey{Tenant: r.Tenant, Serial: r.Serial}, PersonID: r.PersonID, Channel: r.Channel,
		Topic: r.Topic, Kind: fleet.Kind(r.Kind), Severity: severity(r.Severity), Locale: r.Locale, Title: r.Title,
		Body: r.Body, Do: r.Do, At: fromMS(r.At), ReadAt: fromMS(r.ReadAt), Ref: r.Ref, Subject: fleet.Topic(r.Subject), Rule: r.Rule, RuleHash: r.RuleHash}
	fromJSON(r.Evidence, &m.Evidence)
	fromJSON(r.Merged, &m.Merged)
	return m
}
