package ingest

import (
	"time"

	"aftercare/internal/wire"
)

// cycle is what one commit makes durable: lines by partition, payloads put aside, replies, and who waits to hear of it.
type cycle struct {
	lines   []partitionLines
	extra   []wire.Record // payloads put aside, and replies
	waiters []waiter
	bytes   int // what it holds in memory, for the bound on the queue

	stored  int      // readings
	reasons []string // one per reading put aside
}

// partitionLines is the text for one partition, cut into records of at most RecordBytes.
type partitionLines struct {
	chunks [][]byte
	open   []byte
	spare  [][]byte // buffers of earlier cycles
}

type waiter struct {
	ack     wire.Acker
	ticket  uint64
	outcome wire.Outcome
}

func newCycle(partitions int) *cycle { return &cycle{lines: make([]partitionLines, partitions)} }

// perMessage is what a message costs beside its bytes.
const perMessage = 64

func (c *cycle) add(w *worker, m *wire.Inbound, recordBytes int) {
	c.bytes += perMessage + len(w.lines)
	if len(w.lines) > 0 {
		c.lines[w.partition].add(w.lines, recordBytes)
	}
	for i := range w.extra {
		c.bytes += len(w.extra[i].Body)
		c.extra = append(c.extra, w.extra[i])
	}
	c.stored += w.stored
	if !m.Again { // what came back from quarantine is there already
		for i := range w.aside {
			c.reasons = append(c.reasons, w.aside[i].Reason)
		}
	}
	if m.Ack != nil {
		c.waiters = append(c.waiters, waiter{ack: m.Ack, ticket: m.Ticket, outcome: w.outcome()})
	}
}

func (p *partitionLines) add(lines []byte, recordBytes int) {
	if len(p.open) > 0 && len(p.open)+len(lines) > recordBytes {
		p.chunks = append(p.chunks, p.open)
		p.open = nil
		if n := len(p.spare); n > 0 {
			p.open, p.spare = p.spare[n-1][:0], p.spare[:n-1]
		}
	}
	p.open = append(p.open, lines...)
}

// records returns the cycle as journal records. They alias the cycle's buffers.
func (c *cycle) records(received time.Time) []wire.Record {
	out := make([]wire.Record, 0, len(c.lines)+len(c.extra))
	for p := range c.lines {
		l := &c.lines[p]
		for _, body := range l.chunks {
			out = append(out, wire.Record{Stream: wire.Readings, Partition: p, Kind: wire.KindReadings, Received: received, Body: body})
		}
		if len(l.open) > 0 {
			out = append(out, wire.Record{Stream: wire.Readings, Partition: p, Kind: wire.KindReadings, Received: received, Body: l.open})
		}
	}
	for _, r := range c.extra {
		r.Received = received
		out = append(out, r)
	}
	return out
}

// done tells everybody who waits, in the order of their Submits.
func (c *cycle) done(failed ...wire.Outcome) {
	for i := range c.waiters {
		w := &c.waiters[i]
		o := w.outcome
		if len(failed) > 0 {
			o = failed[0]
		}
		w.ack.Done(w.ticket, o)
	}
}

func (c *cycle) reset() {
	for p := range c.lines {
		l := &c.lines[p]
		l.spare = append(l.spare, l.chunks...)
		l.chunks, l.open = l.chunks[:0], l.open[:0]
	}
	clear(c.waiters)
	c.waiters, c.extra, c.reasons, c.bytes, c.stored = c.waiters[:0], nil, c.reasons[:0], 0, 0
}
