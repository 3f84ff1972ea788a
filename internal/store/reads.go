package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

// Cases returns the cases that a filter selects, a page at a time. An After that does not exist is CodeNotFound.
func (s *Store) Cases(ctx context.Context, f fleet.CaseFilter) ([]fleet.Case, error) {
	var rows []caseRow
	q := s.r.NewSelect().Model(&rows).Where("tenant = ?", f.Tenant).Limit(limitOr(f.Limit))
	if len(f.States) > 0 {
		q = q.Where("state IN (?)", bun.List(f.States))
	}
	if f.Device != "" {
		q = q.Where("serial = ?", f.Device)
	}
	if f.Kind != "" {
		q = q.Where("kind = ?", string(f.Kind))
	}
	order := "severity DESC, opened_at, id"
	if f.ByTime {
		order = "opened_at DESC, id"
	}
	if f.After != "" {
		last, err := s.Case(ctx, f.Tenant, f.After)
		if err != nil {
			return nil, err
		}
		q = behind(q, last, f.ByTime)
	}
	if err := q.OrderExpr(order).Scan(ctx); err != nil {
		return nil, fmt.Errorf("cases of %q: %w", f.Tenant, err)
	}
	out := make([]fleet.Case, len(rows))
	for i := range rows {
		c, err := rows[i].fleetCase()
		if err != nil {
			return nil, fmt.Errorf("cases of %q: %w", f.Tenant, err)
		}
		out[i] = c
	}
	return out, nil
}

// behind keeps what comes after a case in the order of the page.
func behind(q *bun.SelectQuery, last *fleet.Case, byTime bool) *bun.SelectQuery {
	at := toMS(last.OpenedAt)
	if byTime {
		return q.Where("(opened_at < ? OR (opened_at = ? AND id > ?))", at, at, last.ID)
	}
	sev := int64(last.Severity)
	return q.Where("(severity < ? OR (severity = ? AND (opened_at > ? OR (opened_at = ? AND id > ?))))",
		sev, sev, at, at, last.ID)
}

// CaseAudit returns a case's history, oldest first.
func (s *Store) CaseAudit(ctx context.Context, tenant, caseID string) ([]fleet.Audit, error) {
	var rows []auditRow
	err := s.r.NewSelect().Model(&rows).Where("tenant = ? AND case_id = ?", tenant, caseID).
		OrderExpr("version, position").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("history of case %q: %w", caseID, err)
	}
	out := make([]fleet.Audit, len(rows))
	for i, r := range rows {
		out[i] = fleet.Audit{CaseID: r.CaseID, At: fromMS(r.At), Actor: r.Actor, Action: r.Action, Detail: r.Detail}
	}
	return out, nil
}

// CaseDeliveries returns what became of a case's messages, oldest first, of more than 1,000 the newest.
func (s *Store) CaseDeliveries(ctx context.Context, tenant, caseID string) ([]fleet.Delivery, error) {
	out, err := s.deliveries(ctx, "at DESC, outbox_id DESC", 1000, "tenant = ? AND case_id = ?", tenant, caseID)
	slices.Reverse(out)
	return out, err
}

// RecentDeliveries returns what became of a tenant's messages on every channel, newest first.
func (s *Store) RecentDeliveries(ctx context.Context, tenant string, limit int) ([]fleet.Delivery, error) {
	return s.deliveries(ctx, "at DESC, outbox_id", limit, "tenant = ?", tenant)
}

func (s *Store) deliveries(ctx context.Context, order string, limit int, where string, args ...any) ([]fleet.Delivery, error) {
	var rows []deliveryRow
	err := s.r.NewSelect().Model(&rows).Where(where, args...).OrderExpr(order).Limit(limitOr(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("deliveries: %w", err)
	}
	out := make([]fleet.Delivery, len(rows))
	for i, r := range rows {
		out[i] = r.delivery()
	}
	return out, nil
}

// CaseCounts counts all cases by state and kind, over all tenants: for metrics.
func (s *Store) CaseCounts(ctx context.Context) ([]fleet.CaseCount, error) {
	var out []fleet.CaseCount
	err := s.r.NewRaw("SELECT state, kind, COUNT(*) AS n FROM cases GROUP BY state, kind ORDER BY state, kind").Scan(ctx, &out)
	if err != nil {
		return nil, fmt.Errorf("count cases: %w", err)
	}
	return out, nil
}

// OpenCasesByDevice returns the highest severity among the cases that are not resolved, by serial. Devices without such a
// case are not in it.
func (s *Store) OpenCasesByDevice(ctx context.Context, tenant string) (map[string]fleet.Severity, error) {
	var rows []struct {
		Serial   string
		Severity int64
	}
	err := s.r.NewRaw(`SELECT serial, MAX(severity) AS severity FROM cases WHERE tenant = ? AND state NOT IN ('resolved', 'watching', 'closed')
		GROUP BY serial`, tenant).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("open cases of %q by device: %w", tenant, err)
	}
	out := make(map[string]fleet.Severity, len(rows))
	for _, r := range rows {
		out[r.Serial] = severity(r.Severity)
	}
	return out, nil
}

// Devices returns one page of the devices a filter selects, by category and serial, and how many it selects in all.
func (s *Store) Devices(ctx context.Context, f fleet.DeviceFilter) ([]fleet.Device, int, error) {
	var rows []deviceRow
	q := s.r.NewSelect().Model(&rows).Where("tenant = ?", f.Tenant)
	if f.Category != "" {
		q = q.Where("category = ?", f.Category)
	}
	if f.OwnerID != "" {
		q = q.Where("owner_id = ?", f.OwnerID)
	}
	if f.Query != "" {
		part := "%" + strings.NewReplacer(`!`, `!!`, `%`, `!%`, `_`, `!_`).Replace(strings.ToLower(f.Query)) + "%"
		q = q.Where(`(LOWER(serial) LIKE ? ESCAPE '!' OR LOWER(name) LIKE ? ESCAPE '!' OR LOWER(room) LIKE ? ESCAPE '!'
			OR LOWER(model) LIKE ? ESCAPE '!')`, part, part, part, part)
	}
	total, err := q.OrderExpr("category, serial").Limit(limitOr(f.Limit)).Offset(int64(max(f.Offset, 0))).ScanAndCount(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("devices of %q: %w", f.Tenant, err)
	}
	out := make([]fleet.Device, len(rows))
	for i := range rows {
		out[i] = rows[i].device()
	}
	return out, int(total), nil
}

// CategoryCounts returns how many devices of each category a tenant has.
func (s *Store) CategoryCounts(ctx context.Context, tenant string) (map[string]int, error) {
	var rows []struct {
		Category string
		N        int
	}
	err := s.r.NewRaw("SELECT category, COUNT(*) AS n FROM devices WHERE tenant = ? GROUP BY category", tenant).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("count devices of %q by category: %w", tenant, err)
	}
	out := make(map[string]int, len(rows))
	for _, r := range rows {
		out[r.Category] = r.N
	}
	return out, nil
}

// Inbox returns a person's messages, newest first.
func (s *Store) Inbox(ctx context.Context, tenant, person string, limit int) ([]fleet.Message, error) {
	return s.messages(ctx, limit, "tenant = ? AND person_id = ? AND channel <> 'page'", tenant, person)
}

// RecentMessages returns the messages to all people of a tenant, newest first.
func (s *Store) RecentMessages(ctx context.Context, tenant string, limit int) ([]fleet.Message, error) {
	return s.messages(ctx, limit, "tenant = ?", tenant)
}

func (s *Store) messages(ctx context.Context, limit int, where string, args ...any) ([]fleet.Message, error) {
	var rows []inboxRow
	err := s.r.NewSelect().Model(&rows).Where(where, args...).OrderExpr("at DESC, id").Limit(limitOr(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	out := make([]fleet.Message, len(rows))
	for i := range rows {
		out[i] = rows[i].message()
	}
	return out, nil
}

// MarkRead notes when a person first read a message. Another person's message is CodeNotFound.
func (s *Store) MarkRead(ctx context.Context, tenant, person, id string, at time.Time) error {
	return s.write(ctx, fmt.Sprintf("mark message %q as read", id), func(tx bun.Tx) error {
		res, err := tx.NewUpdate().Model((*inboxRow)(nil)).
			Set("read_at = CASE WHEN read_at = 0 THEN ? ELSE read_at END", toMS(at)).
			Where("tenant = ? AND person_id = ? AND id = ?", tenant, person, id).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return notFound(err, "there is no message %q", id)
		}
		return nil
	})
}
