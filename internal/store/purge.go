package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// PurgeOutbox deletes up to limit rows that were done before the given time, and returns how many. What became of their messages stays
// among the deliveries; dead letters stay too.
func (s *Store) PurgeOutbox(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.purge(ctx, "outbox rows", `DELETE FROM outbox WHERE id IN
		(SELECT id FROM outbox WHERE state = 'done' AND done_at < ? ORDER BY done_at LIMIT ?)`, toMS(before), limit)
}

// PurgeCommands deletes up to limit commands that are final and that expired and were answered before the given time, with their
// history, and returns how many.
func (s *Store) PurgeCommands(ctx context.Context, before time.Time, limit int) (int, error) {
	const old = "(SELECT tenant, id FROM commands WHERE is_open = 0 AND expires_at < ? AND answered_at < ? ORDER BY expires_at LIMIT ?)"
	var n int64
	err := s.write(ctx, "purge commands", func(tx bun.Tx) error {
		at := toMS(before)
		if _, err := tx.Tx.ExecContext(ctx, "DELETE FROM command_audit WHERE (tenant, command_id) IN "+old, at, at, limit); err != nil {
			return fmt.Errorf("history: %w", err)
		}
		res, err := tx.Tx.ExecContext(ctx, "DELETE FROM commands WHERE (tenant, id) IN "+old, at, at, limit)
		return rowsOf(&n, res, err)
	})
	return int(n), err
}

func (s *Store) purge(ctx context.Context, what, query string, args ...any) (int, error) {
	var n int64
	err := s.write(ctx, "purge "+what, func(tx bun.Tx) error {
		res, err := tx.Tx.ExecContext(ctx, query, args...)
		return rowsOf(&n, res, err)
	})
	return int(n), err
}

func rowsOf(n *int64, res sql.Result, err error) error {
	if err == nil {
		*n, err = res.RowsAffected()
	}
	return err
}
