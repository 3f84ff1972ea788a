package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

type incidentRow struct {
	bun.BaseModel `bun:"table:incidents"`
	Tenant        string  `bun:"tenant,pk"`
	ID            string  `bun:"id,pk"`
	Version       int64   `bun:"version"`
	State         string  `bun:"state"`
	Problem       string  `bun:"problem"`
	Model         string  `bun:"model"`
	Firmware      string  `bun:"firmware"`
	Batch         string  `bun:"batch"`
	OpenedAt      int64   `bun:"opened_at"`
	FixedAt       int64   `bun:"fixed_at"`
	ClosedAt      int64   `bun:"closed_at"`
	By            string  `bun:"by_whom"`
	Title         string  `bun:"title"`
	News          string  `bun:"news"` // JSON
	NextAt        int64   `bun:"next_at"`
	Severity      int64   `bun:"severity"`
	Devices       int     `bun:"devices"`
	Affected      int     `bun:"affected"`
	Window        int64   `bun:"window_ms"`
	Expected      float64 `bun:"expected"`
	Chance        float64 `bun:"chance"`
}

func incidentToRow(i *fleet.Incident) (incidentRow, error) {
	news, err := json.Marshal(i.News)
	if err != nil {
		return incidentRow{}, fmt.Errorf("news of incident %q: %w", i.ID, err)
	}
	return incidentRow{Tenant: i.Tenant, ID: i.ID, Version: i.Version, State: string(i.State), Problem: i.Problem, Model: i.Model, Firmware: i.Firmware,
		Batch: i.Batch, OpenedAt: toMS(i.OpenedAt), FixedAt: toMS(i.FixedAt), ClosedAt: toMS(i.ClosedAt), By: i.By, Title: i.Title, News: string(news),
		NextAt: toMS(i.NextAt), Severity: int64(i.Severity), Devices: i.Devices, Affected: i.Affected, Window: i.Window.Milliseconds(),
		Expected: i.Expected, Chance: i.Chance}, nil
}

func (r *incidentRow) incident() (fleet.Incident, error) {
	i := fleet.Incident{Tenant: r.Tenant, ID: r.ID, Version: r.Version, State: fleet.IncidentState(r.State), Problem: r.Problem, Model: r.Model,
		Firmware: r.Firmware, Batch: r.Batch, OpenedAt: fromMS(r.OpenedAt), FixedAt: fromMS(r.FixedAt), ClosedAt: fromMS(r.ClosedAt), By: r.By,
		Title: r.Title, NextAt: fromMS(r.NextAt), Severity: severity(r.Severity), Devices: r.Devices, Affected: r.Affected,
		Window: time.Duration(r.Window) * time.Millisecond, Expected: r.Expected, Chance: r.Chance}
	if err := json.Unmarshal([]byte(r.News), &i.News); err != nil {
		return i, fmt.Errorf("news of incident %q: %w", r.ID, err)
	}
	return i, nil
}

type incidentAuditRow struct {
	bun.BaseModel `bun:"table:incident_audit"`
	Tenant        string `bun:"tenant,pk"`
	IncidentID    string `bun:"incident_id,pk"`
	Version       int64  `bun:"version,pk"`
	Position      int    `bun:"position,pk"`
	At            int64  `bun:"at"`
	Actor         string `bun:"actor"`
	Action        string `bun:"action"`
	Detail        string `bun:"detail"`
}

// Incident returns one incident; one that does not exist in the tenant is CodeNotFound.
func (s *Store) Incident(ctx context.Context, tenant, id string) (*fleet.Incident, error) {
	var row incidentRow
	err := s.r.NewSelect().Model(&row).Where("tenant = ? AND id = ?", tenant, id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fleet.Errorf(fleet.CodeNotFound, "there is no incident %q", id)
	}
	if err != nil {
		return nil, fmt.Errorf("incident %q: %w", id, err)
	}
	i, err := row.incident()
	if err != nil {
		return nil, err
	}
	return &i, nil
}

// Incidents returns the incidents that a filter selects, newest first.
func (s *Store) Incidents(ctx context.Context, f fleet.IncidentFilter) ([]fleet.Incident, error) {
	return s.incidents(ctx, fmt.Sprintf("incidents of %q", f.Tenant), func(q *bun.SelectQuery) *bun.SelectQuery {
		q = q.Where("tenant = ?", f.Tenant).Limit(limitOr(f.Limit))
		if len(f.States) > 0 {
			q = q.Where("state IN (?)", bun.List(f.States))
		}
		return q
	})
}

// OpenIncidents returns those of all tenants that are open, or were fixed or closed after since, newest first.
func (s *Store) OpenIncidents(ctx context.Context, since time.Time) ([]fleet.Incident, error) {
	return s.incidents(ctx, "open incidents", func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("state = ? OR fixed_at > ? OR closed_at > ?", string(fleet.IncidentOpen), toMS(since), toMS(since))
	})
}

func (s *Store) incidents(ctx context.Context, op string, where func(*bun.SelectQuery) *bun.SelectQuery) ([]fleet.Incident, error) {
	var rows []incidentRow
	if err := where(s.r.NewSelect().Model(&rows)).OrderExpr("opened_at DESC, id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	out := make([]fleet.Incident, len(rows))
	for k := range rows {
		i, err := rows[k].incident()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		out[k] = i
	}
	return out, nil
}

// CommitIncident writes a decision about an incident: the incident, its history and the work that follows, in one transaction.
// The new version is Expected+1 whatever it says itself. CodeConflict and nothing is written when it is not at version Expected any
// more (0: does not exist), or another one of the same problem and group is open. Outbox rows that exist already are left as
// they are.
func (s *Store) CommitIncident(ctx context.Context, ch fleet.IncidentChange) error {
	ch.Incident.Version = ch.Expected + 1
	row, err := incidentToRow(&ch.Incident)
	if err != nil {
		return err
	}
	return s.write(ctx, fmt.Sprintf("commit incident %q", row.ID), func(tx bun.Tx) error {
		if err := putIncident(ctx, tx, &row, ch.Expected); err != nil {
			return err
		}
		audit := make([]incidentAuditRow, len(ch.Audit))
		for k, a := range ch.Audit {
			audit[k] = incidentAuditRow{Tenant: row.Tenant, IncidentID: row.ID, Version: row.Version, Position: k, At: toMS(a.At), Actor: a.Actor,
				Action: a.Action, Detail: a.Detail}
		}
		if len(audit) > 0 {
			if _, err := tx.NewInsert().Model(&audit).Exec(ctx); err != nil {
				return fmt.Errorf("audit: %w", err)
			}
		}
		return addOutbox(ctx, tx, ch.Outbox, row.Version*chunk)
	})
}

func putIncident(ctx context.Context, tx bun.Tx, row *incidentRow, expected int64) error {
	var res sql.Result
	var err error
	if expected == 0 {
		res, err = tx.NewInsert().Model(row).On("CONFLICT DO NOTHING").Exec(ctx)
	} else {
		res, err = tx.NewUpdate().Model(row).WherePK().Where("version = ?", expected).Exec(ctx)
	}
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return fleet.Errorf(fleet.CodeConflict, "incident %q is not at version %d any more, or another one of the same group is open", row.ID, expected)
	}
	return nil
}

// IncidentAudit returns an incident's history, oldest first; CaseID is the incident's id.
func (s *Store) IncidentAudit(ctx context.Context, tenant, id string) ([]fleet.Audit, error) {
	var rows []incidentAuditRow
	err := s.r.NewSelect().Model(&rows).Where("tenant = ? AND incident_id = ?", tenant, id).OrderExpr("version, position").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("history of incident %q: %w", id, err)
	}
	out := make([]fleet.Audit, len(rows))
	for k, r := range rows {
		out[k] = fleet.Audit{CaseID: r.IncidentID, At: fromMS(r.At), Actor: r.Actor, Action: r.Action, Detail: r.Detail}
	}
	return out, nil
}

// IncidentCases returns the cases that are children of an incident, newest first.
func (s *Store) IncidentCases(ctx context.Context, tenant, id string, limit int) ([]fleet.Case, error) {
	return s.manyCases(ctx, fmt.Sprintf("cases of incident %q", id), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where(ofIncident, tenant, id).OrderExpr("opened_at DESC, id").Limit(limitOr(limit))
	})
}

// IncidentOpenCases returns those of its children that are open, oldest first.
func (s *Store) IncidentOpenCases(ctx context.Context, tenant, id string, limit int) ([]fleet.Case, error) {
	return s.manyCases(ctx, fmt.Sprintf("open cases of incident %q", id), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where(ofIncident, tenant, id).Where("state IN (?)", bun.List(fleet.OpenStates())).
			OrderExpr("opened_at, id").Limit(limitOr(limit))
	})
}

// IncidentStrays returns open cases that belong to an incident by its group and are no children of any yet, oldest first.
func (s *Store) IncidentStrays(ctx context.Context, i *fleet.Incident, limit int) ([]fleet.Case, error) {
	return s.manyCases(ctx, fmt.Sprintf("cases for incident %q", i.ID), func(q *bun.SelectQuery) *bun.SelectQuery {
		q = q.Where("tenant = ? AND problem = ? AND incident_id = '' AND live = ?", i.Tenant, i.Problem, true).
			Where("state IN (?)", bun.List(fleet.OpenStates())).Where("kind IN (?)", bun.List(incidentKinds)).Where("severity >= ?", int64(fleet.Watch))
		for column, want := range map[string]string{"model": i.Model, "firmware": i.Firmware, "batch": i.Batch} {
			if want != "" {
				q = q.Where("? = ?", bun.Ident(column), want)
			}
		}
		return q.OrderExpr("opened_at, id").Limit(limitOr(limit))
	})
}

func (s *Store) manyCases(ctx context.Context, op string, where func(*bun.SelectQuery) *bun.SelectQuery) ([]fleet.Case, error) {
	var rows []caseRow
	if err := where(s.r.NewSelect().Model(&rows)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	out := make([]fleet.Case, len(rows))
	for k := range rows {
		c, err := rows[k].fleetCase()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		out[k] = c
	}
	return out, nil
}

// IncidentTold returns who was sent a message of this topic (one of the Event constants) about an incident, alone or with others in
// one, by person.
func (s *Store) IncidentTold(ctx context.Context, tenant, id, topic string) ([]fleet.Told, error) {
	var out []fleet.Told
	err := s.r.NewSelect().Table("deliveries").ColumnExpr("person_id, MIN(case_id) AS case_id").
		Where(byRef+" AND topic = ? AND state IN ('sent', 'merged') AND person_id <> ''", tenant, id, topic).
		GroupExpr("person_id").OrderExpr("person_id").Scan(ctx, &out)
	if err != nil {
		return nil, fmt.Errorf("who was told of incident %q: %w", id, err)
	}
	return out, nil
}

// incidentKinds are the kinds of findings that many devices can have for one reason.
var incidentKinds = []fleet.Kind{fleet.KindSafety, fleet.KindFault, fleet.KindMaintenance}

// counted are the cases that say something about how often a problem begins: told live, no symptom of another problem, not taken back
// by anybody, and not explained by an incident already.
const counted = `c.tenant = ? AND c.live AND c.severity >= ? AND c.kind IN (?) AND c.merged_into = '' AND c.cause_rule = '' AND c.incident_id = ''
	AND c.outcome NOT IN ('duplicate', 'false_alarm', 'no_fault_found')`

// GroupCounts counts the devices of a tenant that had a problem begin in from <= time < to, by problem, model, firmware and batch. A
// device counts once in each part of that time; parts are that long, the first begins at from.
func (s *Store) GroupCounts(ctx context.Context, tenant string, from, to time.Time, part time.Duration) ([]fleet.GroupCount, error) {
	var rows []struct {
		Model, Problem, Firmware, Batch string
		Affected, Present, Hard         int
		Severity                        int64
	}
	err := s.r.NewRaw(`SELECT model, problem, firmware, batch, COUNT(*) AS affected, COALESCE(SUM(present), 0) AS present,
		COALESCE(SUM(present * hard), 0) AS hard, MAX(severity) AS severity
		FROM (SELECT c.model, c.problem, c.firmware, c.batch, c.serial, (c.opened_at - ?) / ? AS part, MAX(c.severity) AS severity,
			MAX(CASE WHEN d.firmware = c.firmware AND d.batch = c.batch AND d.model = c.model AND NOT d.revoked THEN 1 ELSE 0 END) AS present,
			MAX(CASE WHEN c.kind = ? AND c.severity < ? THEN 0 ELSE 1 END) AS hard
			FROM cases c LEFT JOIN devices d ON d.tenant = c.tenant AND d.serial = c.serial
			WHERE `+counted+` AND c.opened_at >= ? AND c.opened_at < ?
			GROUP BY c.model, c.problem, c.firmware, c.batch, c.serial, part) AS x
		GROUP BY model, problem, firmware, batch ORDER BY model, problem, firmware, batch`,
		toMS(from), max(part.Milliseconds(), 1), string(fleet.KindMaintenance), int64(fleet.Fault),
		tenant, int64(fleet.Watch), bun.List(incidentKinds), toMS(from), toMS(to)).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("count the groups of %q: %w", tenant, err)
	}
	out := make([]fleet.GroupCount, len(rows))
	for k, r := range rows {
		out[k] = fleet.GroupCount{Model: r.Model, Problem: r.Problem, Firmware: r.Firmware, Batch: r.Batch, Affected: r.Affected, Present: r.Present,
			Hard: r.Hard, Severity: severity(r.Severity)}
	}
	return out, nil
}

// FirstCase returns when the first case of a tenant was opened; the zero time when there is none.
func (s *Store) FirstCase(ctx context.Context, tenant string) (time.Time, error) {
	var ms sql.NullInt64
	err := s.r.NewSelect().Table("cases").ColumnExpr("MIN(opened_at)").Where("tenant = ?", tenant).Scan(ctx, &ms)
	if err != nil {
		return time.Time{}, fmt.Errorf("first case of %q: %w", tenant, err)
	}
	return fromMS(ms.Int64), nil
}

// Onsets returns when the cases of one problem of a model were opened in from <= time < to, of those that GroupCounts counts,
// oldest first.
func (s *Store) Onsets(ctx context.Context, tenant, model, problem string, from, to time.Time) ([]fleet.Onset, error) {
	var rows []struct {
		Serial, Firmware, Batch string
		OpenedAt                int64
	}
	err := s.r.NewRaw(`SELECT c.serial, c.firmware, c.batch, c.opened_at FROM cases c
		WHERE `+counted+` AND c.model = ? AND c.problem = ? AND c.opened_at >= ? AND c.opened_at < ? ORDER BY c.opened_at, c.id`,
		tenant, int64(fleet.Watch), bun.List(incidentKinds), model, problem, toMS(from), toMS(to)).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("onsets of %q, problem %q: %w", model, problem, err)
	}
	out := make([]fleet.Onset, len(rows))
	for k, r := range rows {
		out[k] = fleet.Onset{Serial: r.Serial, Firmware: r.Firmware, Batch: r.Batch, OpenedAt: fromMS(r.OpenedAt)}
	}
	return out, nil
}
