package store

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

// What the owners' pages ask for.

// Message returns a message of a person's inbox. The id may also be that of a copy that went out on another channel: then it is the
// newest of hers about the same case, or the same incident or work order, that is no newer than the copy. CodeNotFound: there is
// none, or it is somebody else's.
func (s *Store) Message(ctx context.Context, tenant, person, id string) (*fleet.Message, error) {
	list, err := s.messages(ctx, 1, "tenant = ? AND person_id = ? AND id = ?", tenant, person, id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		var copies []deliveryRow
		err := s.r.NewSelect().Model(&copies).Where(itself+" AND person_id = ? AND (case_id <> '' OR ref <> '')", tenant, id, person).OrderExpr("at DESC").Limit(1).Scan(ctx)
		if err != nil {
			return nil, fmt.Errorf("message %q: %w", id, err)
		}
		for _, c := range copies {
			if list, err = s.messages(ctx, 1, "tenant = ? AND person_id = ? AND case_id = ? AND ref = ? AND at <= ?", tenant, person, c.CaseID, c.Ref, c.At); err != nil {
				return nil, err
			}
		}
	}
	if len(list) == 0 {
		return nil, fleet.Errorf(fleet.CodeNotFound, "there is no message %q", id)
	}
	return &list[0], nil
}

// AnswersTo returns what a person said of a message, oldest first.
func (s *Store) AnswersTo(ctx context.Context, tenant, person, message string) ([]fleet.Answer, error) {
	var rows []answerRow
	err := s.r.NewSelect().Model(&rows).Where("tenant = ? AND message_id = ? AND person_id = ?", tenant, message, person).OrderExpr("at, verdict").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("answers to message %q: %w", message, err)
	}
	out := make([]fleet.Answer, len(rows))
	for i := range rows {
		r := &rows[i]
		out[i] = fleet.Answer{Tenant: r.Tenant, MessageID: r.MessageID, CaseID: r.CaseID, PersonID: r.PersonID, Verdict: fleet.Verdict(r.Verdict),
			Rule: r.Rule, RuleHash: r.RuleHash, Topic: fleet.Topic(r.Topic), Note: r.Note, At: fromMS(r.At)}
	}
	return out, nil
}

// NameDevice sets what its owner calls a device and where it stands. CodeNotFound: there is no such device.
func (s *Store) NameDevice(ctx context.Context, key fleet.DeviceKey, name, room string) error {
	return s.write(ctx, fmt.Sprintf("name device %q", key), func(tx bun.Tx) error {
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "UPDATE devices SET name = ?, room = ?, rev = ? WHERE tenant = ? AND serial = ?", name, room, rev, key.Tenant, key.Serial)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return notFound(err, "device %q is not registered", key)
		}
		return nil
	})
}
