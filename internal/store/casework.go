package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

// withdraw ends the message rows that a change takes back: those that nobody can have sent, because they were never leased nor
// tried. Of the others the truth is known when they are due again: outreach looks at the case then.
func withdraw(ctx context.Context, tx bun.Tx, ch *fleet.Change) error {
	if len(ch.Withdraw) == 0 {
		return nil
	}
	at := ch.Case.UpdatedAt
	if n := len(ch.Audit); n > 0 {
		at = ch.Audit[n-1].At
	}
	var rows []outboxRow
	_, err := tx.NewUpdate().Model(&rows).Set("state = ?", stateDone).Set("reason = ?", ch.Why).Set("done_at = ?", toMS(at)).
		Where("tenant = ? AND case_id = ? AND kind = ?", ch.Case.Device.Tenant, ch.Case.ID, string(fleet.OutboxMessage)).
		Where("state = ? AND attempts = 0 AND last_err = ''", statePending).
		Where("(id IN (?) OR topic IN (?))", bun.List(ch.Withdraw), bun.List(ch.Withdraw)).Returning("*").Exec(ctx)
	if err != nil {
		return fmt.Errorf("withdraw messages: %w", err)
	}
	for i := range rows {
		r := &rows[i]
		d := fleet.Delivery{OutboxID: r.ID, CaseID: r.CaseID, Ref: r.Ref, PersonID: r.PersonID, Channel: r.Channel, Topic: r.Topic, State: "skipped",
			Reason: ch.Why, At: at}
		if d.Channel == "" {
			d.Channel = "inbox"
		}
		if err := saveDelivery(ctx, tx, r.Tenant, r.ID, d); err != nil {
			return err
		}
	}
	return nil
}

type answerRow struct {
	bun.BaseModel `bun:"table:answers"`
	Tenant        string `bun:"tenant,pk"`
	MessageID     string `bun:"message_id,pk"`
	PersonID      string `bun:"person_id,pk"`
	Verdict       string `bun:"verdict,pk"`
	CaseID        string `bun:"case_id"`
	Rule          string `bun:"rule"`
	RuleHash      string `bun:"rule_hash"`
	Topic         string `bun:"topic"`
	Note          string `bun:"note"`
	At            int64  `bun:"at"`
}

// addAnswers keeps what owners said, and notes with the message that somebody acted on it.
func addAnswers(ctx context.Context, tx bun.Tx, answers []fleet.Answer) error {
	for _, a := range answers {
		row := answerRow{Tenant: a.Tenant, MessageID: a.MessageID, PersonID: a.PersonID, Verdict: string(a.Verdict), CaseID: a.CaseID, Rule: a.Rule,
			RuleHash: a.RuleHash, Topic: string(a.Topic), Note: a.Note, At: toMS(a.At)}
		if _, err := tx.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		_, err := tx.NewUpdate().Model((*deliveryRow)(nil)).Set("acted_at = ?", row.At).Set("acted = ?", row.Verdict).
			Where("tenant = ? AND outbox_id = ? AND acted_at = 0", a.Tenant, a.MessageID).Exec(ctx)
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return nil
}

// Answered reports whether a person gave this verdict on this message before.
func (s *Store) Answered(ctx context.Context, a fleet.Answer) (bool, error) {
	found, err := s.r.NewSelect().Model((*answerRow)(nil)).Where("tenant = ? AND message_id = ? AND person_id = ? AND verdict = ?",
		a.Tenant, a.MessageID, a.PersonID, string(a.Verdict)).Exists(ctx)
	if err != nil {
		return false, fmt.Errorf("answers to message %q: %w", a.MessageID, err)
	}
	return found, nil
}

// CaseAnswers returns what owners said of a case, oldest first.
func (s *Store) CaseAnswers(ctx context.Context, tenant, caseID string) ([]fleet.Answer, error) {
	var rows []answerRow
	err := s.r.NewSelect().Model(&rows).Where("tenant = ? AND case_id = ?", tenant, caseID).OrderExpr("at, message_id, verdict").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("answers of case %q: %w", caseID, err)
	}
	out := make([]fleet.Answer, len(rows))
	for i, r := range rows {
		out[i] = fleet.Answer{Tenant: r.Tenant, MessageID: r.MessageID, CaseID: r.CaseID, PersonID: r.PersonID, Verdict: fleet.Verdict(r.Verdict),
			Rule: r.Rule, RuleHash: r.RuleHash, Topic: fleet.Topic(r.Topic), Note: r.Note, At: fromMS(r.At)}
	}
	return out, nil
}

type recordRow struct {
	bun.BaseModel `bun:"table:rule_records"`
	Tenant        string `bun:"tenant,pk"`
	Rule          string `bun:"rule,pk"`
	RuleHash      string `bun:"rule_hash,pk"`
	What          string `bun:"what,pk"`
	N             int64  `bun:"n"`
}

func addRecord(ctx context.Context, tx bun.Tx, records []fleet.RuleRecord) error {
	for _, r := range records {
		row := recordRow{Tenant: r.Tenant, Rule: r.Rule, RuleHash: r.RuleHash, What: r.What, N: r.N}
		_, err := tx.NewInsert().Model(&row).ModelTableExpr("rule_records AS r").On("CONFLICT (tenant, rule, rule_hash, what) DO UPDATE").
			Set("n = r.n + EXCLUDED.n").Exec(ctx)
		if err != nil {
			return fmt.Errorf("record of rule %q: %w", r.Rule, err)
		}
	}
	return nil
}

// RuleRecords returns what was said of a rule's versions; an empty rule stands for all.
func (s *Store) RuleRecords(ctx context.Context, tenant, rule string) ([]fleet.RuleRecord, error) {
	var rows []recordRow
	q := s.r.NewSelect().Model(&rows).Where("tenant = ?", tenant).OrderExpr("rule, rule_hash, what")
	if rule != "" {
		q = q.Where("rule = ?", rule)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("records of rules: %w", err)
	}
	out := make([]fleet.RuleRecord, len(rows))
	for i, r := range rows {
		out[i] = fleet.RuleRecord{Tenant: r.Tenant, Rule: r.Rule, RuleHash: r.RuleHash, What: r.What, N: r.N}
	}
	return out, nil
}

type fileRow struct {
	bun.BaseModel `bun:"table:case_attachments"`
	Tenant        string `bun:"tenant,pk"`
	CaseID        string `bun:"case_id,pk"`
	ID            string `bun:"id,pk"`
	Name          string `bun:"name"`
	Type          string `bun:"type"`
	Size          int    `bun:"size"`
	Body          string `bun:"body"` // base64
	At            int64  `bun:"at"`
	By            string `bun:"by_whom"`
}

func addFiles(ctx context.Context, tx bun.Tx, ch *fleet.Change) error {
	for _, f := range ch.Files {
		row := fileRow{Tenant: ch.Case.Device.Tenant, CaseID: ch.Case.ID, ID: f.ID, Name: f.Name, Type: f.Type, Size: len(f.Body),
			Body: base64.StdEncoding.EncodeToString(f.Body), At: toMS(f.At), By: f.By}
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return fmt.Errorf("attachment: %w", err)
		}
	}
	return nil
}

// Attachments lists the files of a case without their content, oldest first.
func (s *Store) Attachments(ctx context.Context, tenant, caseID string) ([]fleet.Attachment, error) {
	var rows []fileRow
	err := s.r.NewSelect().Model(&rows).ExcludeColumn("body").Where("tenant = ? AND case_id = ?", tenant, caseID).OrderExpr("at, id").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("attachments of case %q: %w", caseID, err)
	}
	out := make([]fleet.Attachment, len(rows))
	for i, r := range rows {
		out[i] = fleet.Attachment{ID: r.ID, Name: r.Name, Type: r.Type, Size: r.Size, At: fromMS(r.At), By: r.By}
	}
	return out, nil
}

// Attachment returns one file of a case, or CodeNotFound.
func (s *Store) Attachment(ctx context.Context, tenant, caseID, id string) (fleet.Attachment, error) {
	var r fileRow
	err := s.r.NewSelect().Model(&r).Where("tenant = ? AND case_id = ? AND id = ?", tenant, caseID, id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return fleet.Attachment{}, fleet.Errorf(fleet.CodeNotFound, "case %q has no attachment %q", caseID, id)
	}
	if err != nil {
		return fleet.Attachment{}, fmt.Errorf("attachment %q: %w", id, err)
	}
	body, err := base64.StdEncoding.DecodeString(r.Body)
	if err != nil {
		return fleet.Attachment{}, fmt.Errorf("attachment %q: %w", id, err)
	}
	return fleet.Attachment{ID: r.ID, Name: r.Name, Type: r.Type, Size: r.Size, At: fromMS(r.At), By: r.By, Body: body}, nil
}
