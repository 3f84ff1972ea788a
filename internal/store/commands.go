package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

type commandRow struct {
	bun.BaseModel `bun:"table:commands,alias:k"`
	Tenant        string `bun:"tenant,pk"`
	ID            string `bun:"id,pk"`
	Version       int64  `bun:"version"`
	Serial        string `bun:"serial"`
	Model         string `bun:"model"`
	Name          string `bun:"name"`
	Args          string `bun:"args"`
	Disruptive    bool   `bun:"disruptive"`
	State         string `bun:"state"`
	IsOpen        int64  `bun:"is_open"`
	CreatedAt     int64  `bun:"created_at"`
	ExpiresAt     int64  `bun:"expires_at"`
	DueAt         int64  `bun:"due_at"`
	SentAt        int64  `bun:"sent_at"`
	AnsweredAt    int64  `bun:"answered_at"`
	Attempts      int    `bun:"attempts"`
	AskedBy       string `bun:"asked_by"`
	Reason        string `bun:"reason"`
	Result        string `bun:"result"`
}

func commandToRow(c *fleet.Command) commandRow {
	r := commandRow{Tenant: c.Device.Tenant, ID: c.ID, Version: c.Version, Serial: c.Device.Serial, Model: c.Model, Name: c.Name,
		Args: string(c.Args), Disruptive: c.Disruptive, State: string(c.State), CreatedAt: toMS(c.CreatedAt),
		ExpiresAt: toMS(c.ExpiresAt), DueAt: toMS(c.DueAt), SentAt: toMS(c.SentAt), AnsweredAt: toMS(c.AnsweredAt),
		Attempts: c.Attempts, AskedBy: c.By, Reason: c.Reason, Result: string(c.Result)}
	if !c.State.Final() {
		r.IsOpen = 1
	}
	return r
}

func (r *commandRow) command() fleet.Command {
	c := fleet.Command{ID: r.ID, Device: fleet.DeviceKey{Tenant: r.Tenant, Serial: r.Serial}, Model: r.Model, Name: r.Name,
		Disruptive: r.Disruptive, State: fleet.CommandState(r.State), Version: r.Version, CreatedAt: fromMS(r.CreatedAt),
		ExpiresAt: fromMS(r.ExpiresAt), DueAt: fromMS(r.DueAt), SentAt: fromMS(r.SentAt), AnsweredAt: fromMS(r.AnsweredAt),
		Attempts: r.Attempts, By: r.AskedBy, Reason: r.Reason}
	if r.Args != "" {
		c.Args = []byte(r.Args)
	}
	if r.Result != "" {
		c.Result = []byte(r.Result)
	}
	return c
}

type commandAuditRow struct {
	bun.BaseModel `bun:"table:command_audit"`
	Tenant        string `bun:"tenant,pk"`
	CommandID     string `bun:"command_id,pk"`
	Version       int64  `bun:"version,pk"`
	Position      int    `bun:"position,pk"`
	At            int64  `bun:"at"`
	Actor         string `bun:"actor"`
	Action        string `bun:"action"`
	Detail        string `bun:"detail"`
}

// Command returns one command; one that does not exist in the tenant is CodeNotFound.
func (s *Store) Command(ctx context.Context, tenant, id string) (*fleet.Command, error) {
	var row commandRow
	err := s.r.NewSelect().Model(&row).Where("tenant = ? AND id = ?", tenant, id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fleet.Errorf(fleet.CodeNotFound, "there is no command %q", id)
	}
	if err != nil {
		return nil, fmt.Errorf("command %q: %w", id, err)
	}
	c := row.command()
	return &c, nil
}

// CommitCommand writes a decision about a command: the command, its history and the records that follow, in one transaction.
// The new version is Expected+1 whatever the command says itself. CodeConflict and nothing is written when it is not at version
// Expected any more (0: does not exist). A new command is CodeBusy when its device has maxOpen open ones already.
func (s *Store) CommitCommand(ctx context.Context, ch fleet.CommandChange, maxOpen int) error {
	ch.Command.Version = ch.Expected + 1
	row := commandToRow(&ch.Command)
	return s.write(ctx, fmt.Sprintf("commit command %q", row.ID), func(tx bun.Tx) error {
		if err := putCommand(ctx, tx, &row, ch.Expected, maxOpen); err != nil {
			return err
		}
		if len(ch.Audit) > 0 {
			rows := make([]commandAuditRow, len(ch.Audit))
			for i, a := range ch.Audit {
				rows[i] = commandAuditRow{Tenant: row.Tenant, CommandID: row.ID, Version: row.Version, Position: i, At: toMS(a.At),
					Actor: a.Actor, Action: a.Action, Detail: a.Detail}
			}
			if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
				return fmt.Errorf("audit: %w", err)
			}
		}
		return addOutbox(ctx, tx, ch.Outbox, row.Version*chunk)
	})
}

func putCommand(ctx context.Context, tx bun.Tx, row *commandRow, expected int64, maxOpen int) error {
	var res sql.Result
	var err error
	if expected == 0 {
		var n int64
		n, err = tx.NewSelect().Model((*commandRow)(nil)).Where("tenant = ? AND serial = ? AND is_open = 1", row.Tenant, row.Serial).Count(ctx)
		if err != nil {
			return err
		}
		res, err = tx.NewInsert().Model(row).On("CONFLICT DO NOTHING").Exec(ctx)
		if err == nil && n >= int64(maxOpen) {
			err = conflictOrFull(res, row, n)
		}
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
		return fleet.Errorf(fleet.CodeConflict, "command %q is not at version %d any more", row.ID, expected)
	}
	return nil
}

// conflictOrFull lets a repeated id be a conflict, so that the caller finds the command that is there; a new one is too many.
func conflictOrFull(res sql.Result, row *commandRow, open int64) error {
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	return fleet.Errorf(fleet.CodeBusy, "device %q has %d open commands already: cancel one, or wait for its answers", row.Serial, open)
}

// DueCommands returns up to limit open commands that are due at now, the longest due first.
func (s *Store) DueCommands(ctx context.Context, now time.Time, limit int) ([]fleet.Command, error) {
	return s.commands(ctx, "due commands", limit, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("is_open = 1 AND due_at <= ?", toMS(now)).OrderExpr("due_at, created_at, id")
	})
}

// OpenCommands returns the open commands of devices of one tenant, each device's oldest first.
func (s *Store) OpenCommands(ctx context.Context, tenant string, serials []string) ([]fleet.Command, error) {
	if len(serials) == 0 {
		return nil, nil
	}
	return s.commands(ctx, "open commands", 10_000, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("is_open = 1 AND tenant = ? AND serial IN (?)", tenant, bun.List(serials)).OrderExpr("created_at, id")
	})
}

// Commands returns the commands a filter selects, newest first.
func (s *Store) Commands(ctx context.Context, f fleet.CommandFilter) ([]fleet.Command, error) {
	return s.commands(ctx, "list commands", f.Limit, func(q *bun.SelectQuery) *bun.SelectQuery {
		q = q.Where("tenant = ?", f.Tenant)
		if f.Device != "" {
			q = q.Where("serial = ?", f.Device)
		}
		if f.Open {
			q = q.Where("is_open = 1")
		}
		return q.OrderExpr("created_at DESC, id")
	})
}

func (s *Store) commands(ctx context.Context, op string, limit int, where func(*bun.SelectQuery) *bun.SelectQuery) ([]fleet.Command, error) {
	var rows []commandRow
	if err := where(s.r.NewSelect().Model(&rows)).Limit(limitOr(limit)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	out := make([]fleet.Command, len(rows))
	for i := range rows {
		out[i] = rows[i].command()
	}
	return out, nil
}

// CommandAudit returns a command's history, oldest first.
func (s *Store) CommandAudit(ctx context.Context, tenant, id string) ([]fleet.CommandAudit, error) {
	var rows []commandAuditRow
	err := s.r.NewSelect().Model(&rows).Where("tenant = ? AND command_id = ?", tenant, id).OrderExpr("version, position").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("history of command %q: %w", id, err)
	}
	out := make([]fleet.CommandAudit, len(rows))
	for i, r := range rows {
		out[i] = fleet.CommandAudit{At: fromMS(r.At), Actor: r.Actor, Action: r.Action, Detail: r.Detail}
	}
	return out, nil
}

// CommandCounts returns how many commands there are of each state.
func (s *Store) CommandCounts(ctx context.Context) ([]fleet.CommandCount, error) {
	var rows []struct {
		State string `bun:"state"`
		N     int    `bun:"n"`
	}
	err := s.r.NewSelect().Model((*commandRow)(nil)).ColumnExpr("state, COUNT(*) AS n").Group("state").OrderExpr("state").Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("count commands: %w", err)
	}
	out := make([]fleet.CommandCount, len(rows))
	for i, r := range rows {
		out[i] = fleet.CommandCount{State: fleet.CommandState(r.State), N: r.N}
	}
	return out, nil
}
