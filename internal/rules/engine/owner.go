package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"aftercare/internal/fleet"
)

// One partition is worked by one process at a time. Who that is says the partition's owner record, which is changed under the
// condition that its revision is still the one that was read. The owner renews it every third of its term; whoever wants the
// partition takes it over when it was given back, or when it has itself watched one revision stand still for a whole term. No
// two machines' clocks are compared: each measures a duration on its own.
//
// That alone keeps two processes from working at the same time only while both run. A process that stood still (a suspended
// machine, a long pause) goes on in the belief that its term lasts. So what it could overwrite is fenced: the parts of a
// snapshot have the epoch in their keys, which grows with each take-over, and are written once; a manifest is written on
// condition of its revision, and whoever takes over changes both first. What a stalled process finds does no harm: findings
// have deterministic ids.

// ownerRecord is the JSON under the owner's key.
type ownerRecord struct {
	Token    string        `json:"token"` // of a run of a process
	Epoch    uint64        `json:"epoch"`
	Renewed  uint64        `json:"renewed"` // how often
	Term     time.Duration `json:"term_ns"`
	Released bool          `json:"released,omitempty"`
}

// owners gets and keeps the ownership of one partition.
type owners struct {
	term      time.Duration
	alone     bool
	store     Snapshots
	metrics   *metrics
	partition int
	token     string
	log       *slog.Logger
}

func (o *owners) key() string { return fmt.Sprintf("rules.p%d.owner", o.partition) }

// acquire waits until the partition is ours; its error is ctx's. While it waits it calls idle now and then.
func (o *owners) acquire(ctx context.Context, idle func(context.Context)) (*lease, error) {
	if o.alone {
		return o.only(ctx)
	}
	var seen uint64
	var since time.Time
	waiting := false
	for {
		rec, rev, err := o.read(ctx)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		if since.IsZero() || rev != seen {
			seen, since = rev, now
		}
		if rev == 0 || rec.Released || rec.Token == o.token || now.Sub(since) >= max(o.term, rec.Term) {
			l, err := o.take(ctx, rec, rev)
			if err == nil {
				return l, nil
			}
			o.log.Info("the partition could not be taken over, trying again", "error", err)
		} else if !waiting {
			waiting = true
			o.log.Info("another process works this partition: waiting for it to end", "epoch", rec.Epoch)
		}
		idle(ctx)
		if err := sleep(ctx, o.term/8); err != nil {
			return nil, err
		}
	}
}

// only is the ownership of a process that knows itself to be the only one: no record and no term, but an epoch of its own.
func (o *owners) only(ctx context.Context) (*lease, error) {
	var highest uint64
	err := retry(ctx, o.log, "looking for snapshots", func(ctx context.Context) (err error) {
		highest, err = o.highest(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return o.lease(highest + 1), nil
}

func (o *owners) lease(epoch uint64) *lease {
	o.metrics.epoch.WithLabelValues(strconv.Itoa(o.partition)).Set(float64(epoch))
	return &lease{o: o, rec: ownerRecord{Token: o.token, Epoch: epoch, Term: o.term}, renewed: make(chan struct{}), lost: make(chan struct{}), done: make(chan struct{})}
}

// read returns the owner record; with one that is damaged only the revision counts.
func (o *owners) read(ctx context.Context) (rec ownerRecord, rev uint64, err error) {
	var body []byte
	err = retry(ctx, o.log, "looking who works the partition", func(ctx context.Context) (err error) {
		body, rev, err = o.store.Load(ctx, o.key())
		return err
	})
	if err != nil || rev == 0 {
		return rec, rev, err
	}
	payload, bad := open(body)
	if bad == nil {
		bad = json.Unmarshal(payload, &rec)
	}
	if bad != nil {
		o.log.Error("OWNER RECORD DAMAGED: whoever works the partition has a term to renew it", "error", bad)
		rec = ownerRecord{}
	}
	return rec, rev, nil
}

// take makes the partition ours if the record's revision is still rev.
func (o *owners) take(ctx context.Context, old ownerRecord, rev uint64) (*lease, error) {
	highest, err := o.highest(ctx)
	if err != nil {
		return nil, err
	}
	l := o.lease(max(old.Epoch, highest) + 1)
	start := time.Now()
	if l.rev, err = o.store.Swap(ctx, o.key(), seal(encode(l.rec)), rev); err != nil {
		return nil, err
	}
	l.until = start.Add(o.term)
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go l.keep(keep)
	if old.Token != "" && !old.Released && old.Token != o.token {
		o.metrics.takeovers.Inc()
		o.log.Info("partition taken over from a process that did not give it back", "epoch", l.rec.Epoch)
	}
	return l, nil
}

// highest returns the highest epoch in the keys that are stored: an owner record that was lost or damaged tells none.
func (o *owners) highest(ctx context.Context) (uint64, error) {
	keys, err := o.store.Keys(ctx, chunkPrefix(o.partition))
	if err != nil {
		return 0, err
	}
	var highest uint64
	for _, k := range keys {
		highest = max(highest, epochOf(o.partition, k))
	}
	return highest, nil
}

func chunkPrefix(partition int) string { return fmt.Sprintf("rules.p%d.chunk.", partition) }

// chunkKey names a part of a snapshot. Those of epoch 0 are from before there were epochs.
func chunkKey(partition int, epoch uint64, id uint32) string {
	if epoch == 0 {
		return chunkPrefix(partition) + strconv.FormatUint(uint64(id), 10)
	}
	return fmt.Sprintf("%s%d.%d", chunkPrefix(partition), epoch, id)
}

func epochOf(partition int, key string) uint64 {
	epoch, _, ok := strings.Cut(strings.TrimPrefix(key, chunkPrefix(partition)), ".")
	if !ok {
		return 0
	}
	n, _ := strconv.ParseUint(epoch, 10, 64)
	return n
}

// lease is the ownership of a partition. It lasts until it is released, or until somebody else is found to have it.
type lease struct {
	o    *owners
	rec  ownerRecord
	rev  uint64
	stop context.CancelFunc
	done chan struct{} // keep has returned

	mu      sync.Mutex
	until   time.Time     // the end of the term, on our own clock
	renewed chan struct{} // closed when the term is extended
	lost    chan struct{} // closed when somebody else has the partition
	over    bool          // lost is closed
}

var errLost = errors.New("another process works the partition now")

func (l *lease) epoch() uint64 { return l.rec.Epoch }

// wait returns nil while the term lasts; after its end it waits until the term is renewed. Its error is errLost or ctx's.
func (l *lease) wait(ctx context.Context) error {
	for {
		l.mu.Lock()
		over, renewed := l.over, l.renewed
		held := l.o.alone || time.Now().Before(l.until)
		l.mu.Unlock()
		if over {
			return errLost
		}
		if held {
			return nil
		}
		select {
		case <-renewed:
		case <-l.lost:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *lease) isLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// during returns a context that ends with ctx, or when the lease is lost.
func (l *lease) during(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if l.isLost() {
		cancel()
	}
	go func() {
		select {
		case <-l.lost:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// lose ends the lease for good: somebody else has changed what only the owner changes.
func (l *lease) lose(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	close(l.lost)
	l.o.metrics.lost.Inc()
	l.o.log.Error("THE PARTITION WAS TAKEN OVER by another process: this one stops working it and writes nothing more", "epoch", l.rec.Epoch, "error", cause)
}

// keep renews until ctx ends or the lease is lost. After the end of the term it goes on trying: nobody may want the partition.
func (l *lease) keep(ctx context.Context) {
	defer close(l.done)
	failing := false
	for pause := l.o.term / 3; ; {
		select {
		case <-time.After(pause):
		case <-l.lost:
			return
		case <-ctx.Done():
			return
		}
		start := time.Now()
		err := l.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errLost):
			l.lose(err)
			return
		case err != nil:
			pause = l.o.term / 12
			if !failing {
				l.o.log.Warn("the term of the partition cannot be renewed, trying again; the rules stop at its end", "error", err)
			}
		default:
			pause = l.o.term / 3
			l.extend(start.Add(l.o.term))
		}
		failing = err != nil
	}
}

func (l *lease) extend(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = until
	close(l.renewed)
	l.renewed = make(chan struct{})
}

// renew writes the record once more. An answer that did not arrive shows as a revision that is not known, of a record that is ours.
func (l *lease) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.o.term/3)
	defer cancel()
	l.rec.Renewed++
	rev, err := l.o.store.Swap(ctx, l.o.key(), seal(encode(l.rec)), l.rev)
	if fleet.CodeOf(err) == fleet.CodeConflict {
		body, found, readErr := l.o.store.Load(ctx, l.o.key())
		if readErr != nil {
			return readErr
		}
		var now ownerRecord
		if payload, bad := open(body); bad != nil || json.Unmarshal(payload, &now) != nil || now.Token != l.rec.Token || now.Epoch != l.rec.Epoch {
			return errLost
		}
		rev, err = l.o.store.Swap(ctx, l.o.key(), seal(encode(l.rec)), found)
	}
	if err == nil {
		l.rev = rev
	}
	return err
}

// release gives the partition back, so that the next one need not wait. It returns with no goroutine left.
func (l *lease) release(ctx context.Context) {
	l.o.metrics.epoch.WithLabelValues(strconv.Itoa(l.o.partition)).Set(0)
	if l.o.alone {
		return
	}
	l.stop()
	<-l.done
	if l.isLost() {
		return
	}
	l.rec.Released = true
	if err := l.renew(ctx); err != nil {
		l.o.log.Warn("the partition was not given back: the next owner may have to wait for a term", "term", l.o.term, "error", err)
	}
}

// encode is for what cannot fail to encode.
func encode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return body
}
