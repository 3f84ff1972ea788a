package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync/atomic"
	"time"

	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/history"
	"aftercare/internal/registry"
	"aftercare/internal/rules"
	"aftercare/internal/store"
	"aftercare/internal/wire"
)

// ruleset is which rules are in force. The journal says it to those who step records: each activation is a record in every
// partition. SQL says it to everybody else, and whether the journal has it: the row is written first, so a crash in between
// sends the record again, which changes nothing.
type ruleset struct {
	cfg    config.Config
	models []fleet.Model
	store  *store.Store
	log    *slog.Logger
	maker  *rules.Set // the packs of the folder at the start: compiles others for the same models
	active atomic.Pointer[inForce]
	wake   chan struct{} // holds one token when there may be an activation to send
	sender bool          // this process puts activations into the journal
	append func(ctx context.Context, records []wire.Record) error
	parts  int // partitions of the journal
}

// inForce is the newest activation and its rules.
type inForce struct {
	n      int64 // 0: none was ever activated
	packs  map[string]string
	set    *rules.Set
	before *rules.Set // what it replaced, for the texts of episodes that end with their rule; may be nil
}

// openRules finds out which rules are in force: those activated last, or the folder's when none were or when they do not fit
// the models any more.
func openRules(ctx context.Context, cfg config.Config, files *Files, st *store.Store, log *slog.Logger) (*ruleset, error) {
	r := &ruleset{cfg: cfg, models: files.Models, store: st, log: log, maker: files.Rules, wake: make(chan struct{}, 1)}
	r.active.Store(&inForce{set: files.Rules})
	a, ok, err := st.ActiveRules(ctx)
	if err != nil || !ok {
		return r, err
	}
	set, err := r.maker.Activated(wire.Activation{Packs: a.Packs})
	if err != nil {
		log.Warn("the rules that were in force do not fit any more; those of the folder take their place", "set", a.Set, "err", err)
		set = files.Rules
	}
	r.active.Store(&inForce{n: a.N, packs: a.Packs, set: set})
	return r, nil
}

// Set returns the rules in force.
func (r *ruleset) Set() *rules.Set { return r.active.Load().set }

// Texts returns a rule's texts, also those of a rule that the last activation took away: its episodes end with it, and that is told.
func (r *ruleset) Texts(id string) fleet.Texts {
	a := r.active.Load()
	t := a.set.Texts(id)
	if t == nil && a.before != nil {
		t = a.before.Texts(id)
	}
	return t
}

// Activate puts rule packs in force, nil meaning those of the folder (rules.dir), unless they are already. With any mistake in
// them nothing changes. It returns what is in force then, and whether that is new.
func (r *ruleset) Activate(ctx context.Context, packs map[string]string, by string) (a fleet.RuleActivation, changed bool, problems []fleet.Problem, err error) {
	next, set, problems, err := r.read(packs, by)
	if err != nil || len(problems) > 0 {
		return a, false, problems, err
	}
	now := r.active.Load()
	a = fleet.RuleActivation{N: now.n, At: time.Now(), By: by, Set: next.Set, Packs: next.Packs}
	if now.n > 0 && maps.Equal(now.packs, next.Packs) {
		return a, false, nil, nil
	}
	a.N++
	if err := r.store.ActivateRules(ctx, a); err != nil {
		return a, false, nil, err
	}
	r.take(a, set)
	return a, true, nil, nil
}

func (r *ruleset) read(packs map[string]string, by string) (wire.Activation, *rules.Set, []fleet.Problem, error) {
	if packs == nil {
		dir := r.cfg.Rules.Dir
		if problems := unreadable("rules.dir", dir); len(problems) > 0 {
			return wire.Activation{}, nil, problems, nil
		}
		a, set, problems := r.maker.ReadActivation(folder(dir, "rules"), by)
		if len(problems) == 0 {
			problems = textProblems(set, r.models)
		}
		return a, set, located(problems, dir, "rules"), nil
	}
	a := wire.Activation{By: by, Packs: packs}
	set, err := r.maker.Activated(a)
	if err != nil {
		return a, nil, nil, fleet.Errorf(fleet.CodeInvalid, "the rule packs cannot be activated: %w", err)
	}
	a.Set = set.Hash()
	return a, set, textProblems(set, r.models), nil
}

// take makes an activation what this process goes by, and has it sent.
func (r *ruleset) take(a fleet.RuleActivation, set *rules.Set) {
	for {
		old := r.active.Load()
		if old.n >= a.N {
			return // somebody was faster with a newer one
		}
		if r.active.CompareAndSwap(old, &inForce{n: a.N, packs: a.Packs, set: set, before: old.set}) {
			break
		}
	}
	r.log.Info("rules are in force", "set", a.Set, "rules", len(set.Rules()), "by", a.By, "activation", a.N)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// followEvery is how often other processes' activations are looked for.
const followEvery = 2 * time.Second

// run follows what is in force and, where rules run, sends it; each token of reload reads the folder again. It runs behind the
// journal's start record.
func (r *ruleset) run(ctx context.Context, reload <-chan os.Signal) error {
	if r.sender {
		r.reload(ctx, "start")
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	failing := false
	for {
		err := r.follow(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			r.log.Warn("which rules are in force cannot be kept up to date, trying again", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-tick.C:
		case <-reload:
			r.reload(ctx, "signal")
		}
	}
}

// reload activates the folder's packs if they are others than those in force. Mistakes change nothing.
func (r *ruleset) reload(ctx context.Context, by string) {
	_, changed, problems, err := r.Activate(ctx, nil, by)
	for _, p := range problems {
		r.log.Error("a mistake in the rules; those in force stay", "problem", p.String())
	}
	switch {
	case err != nil:
		r.log.Error("the rules of the folder could not be activated; those in force stay", "err", err)
	case len(problems) == 0 && !changed:
		r.log.Info("the rules of the folder are in force already", "set", r.Set().Hash())
	}
}

// follow takes over what another process activated, and puts into the journal what is not there yet.
func (r *ruleset) follow(ctx context.Context) error {
	a, ok, err := r.store.ActiveRules(ctx)
	if err != nil || !ok {
		return err
	}
	if a.N > r.active.Load().n {
		set, err := r.maker.Activated(wire.Activation{Packs: a.Packs})
		if err != nil {
			return fmt.Errorf("rules %s of another process: %w", a.Set, err)
		}
		r.take(a, set)
	}
	if a.Sent || !r.sender {
		return nil
	}
	records := make([]wire.Record, r.parts)
	now := time.Now()
	for p := range records {
		if records[p], err = wire.EncodeActivation(p, now, wire.Activation{Set: a.Set, By: a.By, Packs: a.Packs}); err != nil {
			return err
		}
	}
	if err := r.append(ctx, records); err != nil {
		return err
	}
	return r.store.MarkRulesSent(ctx, a.N)
}

// Sent waits until the journal has an activation, or a newer one.
func (r *ruleset) Sent(ctx context.Context, n int64) error {
	for {
		a, ok, err := r.store.ActiveRules(ctx)
		if err != nil {
			return err
		}
		if ok && (a.N > n || a.Sent) {
			return nil
		}
		if !wait(ctx, 20*time.Millisecond) {
			return errors.New("the journal does not have it yet")
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ruleDesk is the rules in force as the API sees them.
type ruleDesk struct{ *ruleset }

func (d ruleDesk) ActivateRules(ctx context.Context, packs map[string]string) (fleet.RuleActivation, bool, []fleet.Problem, error) {
	a, changed, problems, err := d.Activate(ctx, packs, apiActor)
	if err != nil || !changed {
		return a, changed, problems, err
	}
	ctx, cancel := context.WithTimeout(ctx, sendPatience)
	defer cancel()
	if err := d.Sent(ctx, a.N); err != nil {
		d.log.Warn("an activation waits for the journal", "activation", a.N, "err", err) // it is stored and will be sent
	}
	return a, true, nil, nil
}

// sendPatience is how long a caller waits for the journal to have an activation.
const sendPatience = 5 * time.Second

// bygone is what the rules went by, as the API sees it.
type bygone struct {
	history *history.History
	r       *registry.Registry
	rules   *ruleset
}

func (b bygone) Readings(ctx context.Context, key fleet.DeviceKey, model string, from, to time.Time, limit int) (out []fleet.Reading, cut bool, err error) {
	err = b.history.Readings(ctx, key, model, from, to, func(r *fleet.Reading) error {
		if len(out) == 2*limit { // keep the newest, without moving all of them each time
			out, cut = append(out[:0], out[limit:]...), true
		}
		out = append(out, *r)
		return nil
	})
	if n := len(out) - limit; n > 0 {
		out, cut = out[n:], true
	}
	return out, cut, err
}

func (b bygone) Facts(ctx context.Context, key fleet.DeviceKey) (fleet.Facts, error) {
	return b.r.Facts(ctx, key)
}

func (b bygone) RulesInForce() string { return b.rules.Set().Hash() }
