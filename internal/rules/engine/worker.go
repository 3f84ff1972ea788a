package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

// worker owns the state of one partition; only its goroutine touches it.
type worker struct {
	progress
	cfg       Config
	set       *rules.Set
	deps      Deps
	metrics   *metrics
	partition int
	log       *slog.Logger
	snaps     *snapshotter
	fleet     *fleetStep
	owners    *owners

	lease   *lease // of the partition, while it is ours
	state   *rules.State
	seq     uint64 // last record stepped, with its findings handed over
	counts  rules.Counts
	setBack bool // the stream was, since the last look: a snapshot is due
	broken  bool // findings were lost on the way at stop: the state must not be saved
}

func (w *worker) run(ctx context.Context) error {
	for {
		l, err := w.owners.acquire(ctx, w.snaps.look)
		if err != nil {
			return nil //nolint:nilerr // only ctx ends it: stopping is no failure
		}
		w.own(ctx, l)
		if !l.isLost() {
			return nil
		}
		w.forget()
	}
}

// own works the partition until ctx ends or the lease is lost. It returns with no goroutine left, and with the lease given back.
func (w *worker) own(ctx context.Context, l *lease) {
	w.lease = l
	w.snaps.reset(l)
	work, cancel := l.during(ctx)
	loaded := w.load(work) == nil
	if loaded {
		w.fleet.reset(l, w.state)
		w.work(work)
	}
	cancel()
	w.fleet.finish()
	stop, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.StopTimeout)
	defer cancelStop()
	if loaded {
		w.snaps.finish(stop, w)
	}
	l.release(stop)
}

// forget drops what is known of a partition that another process works.
func (w *worker) forget() {
	w.state, w.seq, w.counts, w.setBack, w.broken = nil, 0, rules.Counts{}, false, false
	w.received.Store(0)
	w.devices.Store(0)
	w.summary.Store(0)
	w.metrics.partition(w.partition, 0, 0)
}

// work steps what the journal gives until ctx ends.
func (w *worker) work(ctx context.Context) {
	next := time.Now().Add(w.cfg.SnapshotEvery)
	pause := backoff{}
	for ctx.Err() == nil {
		src, err := w.deps.Log.OpenReadings(ctx, w.partition, w.seq+1)
		if err == nil {
			err = w.consume(ctx, src, &next, &pause)
			err = errors.Join(err, src.Close())
		}
		if ctx.Err() != nil {
			return
		}
		w.log.Warn("reading the journal failed, trying again", "from", w.seq+1, "error", err)
		pause.wait(ctx)
	}
}

// load restores the newest snapshot that is whole. It returns an error only when ctx ended.
func (w *worker) load(ctx context.Context) error {
	state, seq, ended, err := w.snaps.load(ctx, w.set)
	if err != nil {
		return err
	}
	w.state, w.seq = state, seq
	want, first, begins, err := w.wantsWarm(ctx)
	if err != nil {
		return err
	}
	if want {
		ended = nil
		if err := w.warm(ctx, first, begins); err != nil {
			return err
		}
		state, seq = w.state, w.seq
	}
	if len(ended) > 0 {
		w.log.Info("ending episodes of rules that are gone", "episodes", len(ended))
		if err := w.emit(ctx, ended); err != nil {
			return err
		}
	}
	w.show()
	w.log.Info("rule state loaded", "devices", state.Devices(), "sequence", seq, "rules", len(state.Set().Rules()), "set", state.Set().Hash())
	if err := state.Refused(); err != nil {
		w.log.Error("THE RULES OF THE SNAPSHOT CANNOT BE USED ANY MORE: going on with those of the files", "error", err)
	}
	return nil
}

// consume steps what src gives until it fails or ctx ends.
func (w *worker) consume(ctx context.Context, src wire.Source, next *time.Time, pause *backoff) error {
	for {
		until := *next
		if w.snaps.making != nil || w.fleet.making != nil { // no record is waited for while there is something to encode
			until = time.Now().Add(time.Millisecond)
		}
		fetch, cancel := context.WithDeadline(ctx, until)
		recs, err := src.Fetch(fetch, w.cfg.FetchMax)
		due := fetch.Err() != nil // ours: time for the snapshot
		cancel()
		if err != nil && (ctx.Err() != nil || !due) {
			return err
		}
		pause.reset()
		if len(recs) > 0 {
			if err := w.process(ctx, recs); err != nil {
				return err
			}
			if w.setBack {
				w.setBack, *next = false, time.Now()
			}
		}
		if now := time.Now(); !now.Before(*next) {
			w.snaps.begin(w)
			*next = now.Add(w.cfg.SnapshotEvery)
			if w.snaps.behind() { // a write from before the stream was set back still goes on
				*next = now.Add(time.Second)
			}
		}
		w.fleet.look(w, len(recs) == w.cfg.FetchMax)
		switch {
		case w.snaps.making != nil:
			w.snaps.work(ctx, w, slice)
		case w.fleet.making != nil:
			w.fleet.work(ctx, slice)
		}
	}
}

// process steps records and hands their findings over before anything counts as done.
func (w *worker) process(ctx context.Context, recs []wire.Record) error {
	if err := w.lease.wait(ctx); err != nil {
		return err
	}
	var found []fleet.Finding
	var counted []byte
	last := w.seq
	for i := range recs {
		if recs[i].Seq <= last {
			w.goBack(last, recs[i].Seq)
		}
		begin := time.Now()
		found = w.state.Step(&recs[i], found)
		counted = append(counted, w.state.Counters()...)
		switch recs[i].Kind {
		case wire.KindReadings:
			w.metrics.batch.Observe(time.Since(begin).Seconds())
		case wire.KindActivation:
			w.activated(recs[i].Seq, time.Since(begin))
		}
		last = recs[i].Seq
	}
	err := w.emit(ctx, found)
	if err == nil {
		err = w.count(ctx, counted)
	}
	if err != nil {
		w.broken = true
		return err
	}
	w.seq = last
	w.show()
	return nil
}

// activated says what became of a change of the rules.
func (w *worker) activated(seq uint64, took time.Duration) {
	set := w.state.Set()
	if err := w.state.Refused(); err != nil {
		w.log.Error("THE NEW RULES CANNOT BE USED: going on with the old ones", "sequence", seq, "set", set.Hash(), "error", err)
		return
	}
	w.log.Info("rules changed", "sequence", seq, "rules", len(set.Rules()), "set", set.Hash(), "took", took)
}

// goBack follows a stream that gives out sequence seq although all up to last were asked for or stepped before.
//
// This is never a redelivery: a source is opened behind what was stepped, gives records in order, and leaves out by itself
// what a reconnection brings again. So a sequence that does not grow means that the stream lost its end and numbers other
// records with it now. Skipping them would lose readings without a trace. Should a source repeat all the same, stepping is
// the smaller harm: readings with a sequence of their device are recognised, and for the others time does not go back.
func (w *worker) goBack(last, seq uint64) {
	w.log.Error("THE READINGS STREAM WAS SET BACK: records were lost; going on with what it gives out now", "sequence", seq, "before", last)
	w.metrics.setBack.Inc()
	w.snaps.goBack(seq - 1)
	w.setBack = true
}

// emit hands findings over.
func (w *worker) emit(ctx context.Context, found []fleet.Finding) error {
	if len(found) == 0 {
		return nil
	}
	err := w.hand(ctx, "handing over findings", func(ctx context.Context) error { return w.deps.Findings.Emit(ctx, w.partition, found) })
	if err != nil {
		return err
	}
	for i := range found {
		w.metrics.findings.WithLabelValues(string(found[i].Kind), string(found[i].Phase)).Inc()
	}
	return nil
}

// countedBytes bounds what is handed over of counters at a time: a day begins for many devices at once.
const countedBytes = 256 << 10

// count hands over how much devices were used, as emit does.
func (w *worker) count(ctx context.Context, lines []byte) error {
	for len(lines) > 0 {
		part := lines
		if len(part) > countedBytes {
			end := bytes.LastIndexByte(part[:countedBytes], '\n')
			if end < 0 { // a line has some kilobytes, but for a model with hundreds of counters
				end = bytes.IndexByte(part, '\n')
			}
			part = part[:end+1]
		}
		err := w.hand(ctx, "handing over counters", func(ctx context.Context) error {
			return w.deps.Findings.Count(ctx, w.partition, w.state.Now(), part)
		})
		if err != nil {
			return err
		}
		w.metrics.counters.Add(float64(bytes.Count(part, []byte{'\n'})))
		lines = lines[len(part):]
	}
	return nil
}

// hand calls f until it works, as long as the partition is ours. When ctx ends it tries once more within the stop timeout.
func (w *worker) hand(ctx context.Context, what string, f func(context.Context) error) error {
	err := retry(ctx, w.log, what, func(ctx context.Context) error {
		if err := w.lease.wait(ctx); err != nil {
			return err
		}
		return f(ctx)
	})
	if err == nil || w.lease.isLost() {
		return err // the new owner finds it
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.StopTimeout)
	defer cancel()
	if err = f(stop); err != nil {
		w.log.Warn(what+" failed at stop: what was found is found again at the next start", "error", err)
	}
	return err
}

// show publishes what was done since it was called last.
func (w *worker) show() {
	c := w.state.Counts()
	w.metrics.add(w.counts, c)
	w.counts = c
	w.stepped.Store(w.seq)
	w.devices.Store(int64(w.state.Devices()))
	if now := w.state.Now(); !now.IsZero() {
		w.received.Store(now.UnixMilli())
	}
	w.metrics.partition(w.partition, w.seq, w.state.Devices())
	if at, size := w.state.Summary(); size > 0 {
		w.summary.Store(at.UnixMilli())
		w.metrics.summaryBytes.Set(float64(size))
	}
}

// backoff is a pause that doubles from 100 ms to 10 s.
type backoff struct{ d time.Duration }

func (b *backoff) reset() { b.d = 0 }

func (b *backoff) wait(ctx context.Context) {
	b.d = min(max(2*b.d, 100*time.Millisecond), 10*time.Second)
	_ = sleep(ctx, b.d)
}

// sleep waits for d; its error is ctx's.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retry calls f until it works; it returns an error only when ctx ended.
func retry(ctx context.Context, log *slog.Logger, what string, f func(context.Context) error) error {
	var pause backoff
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			log.Warn(what+" failed, trying again", "error", err)
		}
		pause.wait(ctx)
	}
}
