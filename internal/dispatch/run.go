package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"aftercare/internal/fleet"
)

const (
	errandLease = 30 * time.Second
	errandBatch = 64
	firstGap    = 5 * time.Second
	lastGap     = 10 * time.Minute
)

// Run does the errands of work orders until ctx ends, and then returns nil. What fails is done again later, at growing distances.
func (d *Dispatch) Run(ctx context.Context) error {
	tick := time.NewTicker(d.cfg.Poll)
	defer tick.Stop()
	for {
		if err := d.Pass(ctx, time.Now()); err != nil && ctx.Err() == nil {
			d.deps.Log.Error("errands of work orders", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Pass does what is due at now, in the caller's goroutine, until nothing is.
func (d *Dispatch) Pass(ctx context.Context, now time.Time) error {
	var errs []error
	for {
		rows, err := d.deps.Errands.LeaseOutbox(ctx, fleet.OutboxErrand, now, errandLease, errandBatch)
		if err != nil || len(rows) == 0 {
			return errors.Join(append(errs, err)...)
		}
		for _, r := range rows {
			if err := d.errand(ctx, r, now); err != nil {
				gap := min(firstGap<<min(r.Attempts, 10), lastGap)
				errs = append(errs, fmt.Errorf("work order %q, %s: %w", r.Ref, r.Topic, err), d.deps.Errands.RetryOutbox(ctx, r.ID, now.Add(gap), err.Error()))
				continue
			}
			errs = append(errs, d.deps.Errands.FinishOutbox(ctx, r.ID, ""))
		}
	}
}

// errand does one. An order or a case that does not exist any more needs nothing.
func (d *Dispatch) errand(ctx context.Context, r fleet.OutboxRow, now time.Time) error {
	o, err := d.deps.Store.Order(ctx, r.Tenant, r.Ref)
	if err == nil {
		switch r.Topic {
		case errandExpire:
			err = d.change(ctx, r.Tenant, r.Ref, "", func(o fleet.Order) (fleet.OrderChange, error) { return expire(o, now) })
		case errandOver:
			err = d.over(ctx, o, now)
		case errandTell:
			if string(r.Body) == strconv.FormatInt(o.Version, 10) {
				err = d.tell(ctx, *o, now)
			}
		}
	}
	if code := fleet.CodeOf(err); code == fleet.CodeNotFound {
		d.deps.Log.Warn("a work order's errand has nothing to go to", "order", r.Ref, "case", r.CaseID, "error", err)
		return nil
	}
	return err
}

// tell brings the order as it is now to its case.
func (d *Dispatch) tell(ctx context.Context, o fleet.Order, now time.Time) error {
	if o.State.Open() {
		k, err := d.deps.Store.Case(ctx, o.Tenant, o.CaseID)
		if err != nil {
			return err
		}
		if !k.State.Open() { // it was over before it heard of the order
			return d.over(ctx, &o, now)
		}
	}
	switch o.State {
	case fleet.OrderOffered:
		return d.deps.Desk.Ordered(ctx, o, "offered to "+o.PartnerID, now)
	case fleet.OrderAccepted:
		return d.deps.Desk.Ordered(ctx, o, "the visit is agreed for "+o.From.Format("2006-01-02 15:04 MST"), now)
	case fleet.OrderDone:
		return d.deps.Desk.Reported(ctx, o, now)
	case fleet.OrderCancelled:
		return d.deps.Desk.Unserved(ctx, o, "the visit was called off: "+o.Reason, now)
	default:
		return d.again(ctx, o, now)
	}
}

// over calls off the order of a case that is over. One that is open again keeps its visit.
func (d *Dispatch) over(ctx context.Context, o *fleet.Order, now time.Time) error {
	k, err := d.deps.Store.Case(ctx, o.Tenant, o.CaseID)
	if err != nil || k.State.Open() {
		return err
	}
	return d.change(ctx, o.Tenant, o.ID, "", func(o fleet.Order) (fleet.OrderChange, error) { return pointless(o, now) })
}

// again offers the work to the next partner after a no; the agents get the case back when none is left.
func (d *Dispatch) again(ctx context.Context, o fleet.Order, now time.Time) error {
	_, err := d.Book(ctx, Wish{Tenant: o.Tenant, CaseID: o.CaseID, From: later(o.From, now.Add(d.cfg.Notice)), Part: o.Part, Note: o.Note, By: o.By, At: now})
	switch fleet.CodeOf(err) {
	case fleet.CodeNotFound, fleet.CodeConflict:
		return d.deps.Desk.Unserved(ctx, o, err.Error(), now)
	}
	return err
}

// later is from when that is not too soon, else nothing: a time is proposed anew.
func later(from, earliest time.Time) time.Time {
	if from.Before(earliest) {
		return time.Time{}
	}
	return from
}
