// Package wire is how things look on the way: the topic grammar, the payload codecs, the batch format of the journal, and
// findings and changes as records. It holds no state and does no input or output.
//
// What all payload formats have in common (SEC-08). A payload is understood as a whole or refused with a reason (DecodeError);
// nothing is guessed or cut. Numbers keep their precision: a decimal text stays the text it was, an integer of 64 bits keeps
// every digit, a 32-bit float becomes the shortest decimal that names it, and the profile's type is applied later. NaN,
// infinities and numbers beyond a float64 are refused. Text is UTF-8 without control characters; binary values become
// base64url text. A name given twice is refused, as is one that could not stand in line protocol unescaped. Objects flatten
// with a dot, lists are no values. Depth, fields, names, texts and readings are bounded by MaxDepth, MaxKeys, MaxName,
// MaxString and MaxReadings. Who sent it says the topic alone: nothing in a payload can name another device or model.
//
// Who may import it: journal, ingest, gateway, bridge, history, rules (with engine, detect and ruletest), app, cmd. It imports fleet.
package wire

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"aftercare/internal/fleet"
)

// Stream names one of the journal's streams.
type Stream string

// The journal's streams.
const (
	Readings   Stream = "readings"   // per partition: batches of readings, ticks, the system's own start and stop
	Findings   Stream = "findings"   // per partition: one finding a message
	Changes    Stream = "changes"    // per partition: case changes, messages, answers to commands
	Quarantine Stream = "quarantine" // what ingest kept aside
	Snapshots  Stream = "snapshots"  // rule state, presence: what can be made again
	Clocks     Stream = "clocks"     // by how much devices' clocks are wrong, as durable as the readings corrected by it
)

// Kind says how a record's body is to be read.
type Kind string

// The kinds of records.
const (
	KindReadings   Kind = "readings"   // body: a batch, line protocol text, one reading a line
	KindTick       Kind = "tick"       // no body: only that time went on, in an idle partition
	KindStart      Kind = "start"      // no body: this system began to receive; the gap before it counts for no absence
	KindStop       Kind = "stop"       // no body: this system stopped receiving, in an orderly way
	KindFacts      Kind = "facts"      // in Readings; body: fleet.Facts as JSON, one or more lines, what is known of devices of the partition
	KindActivation Kind = "activation" // in Readings, of every partition; body: Activation, the rule packs that count from here on
	KindSummary    Kind = "summary"    // in Readings, of every partition; body: see EncodeSummary
	KindFinding    Kind = "finding"    // body: fleet.Finding as JSON
	KindCounters   Kind = "counters"   // in Findings; body: line protocol, how much devices were used, for history
	KindChange     Kind = "change"     // body: fleet.Notice as JSON
	KindQuarantine Kind = "quarantine" // body: fleet.Quarantined as JSON
	KindReply      Kind = "reply"      // in Changes; body: Reply as JSON, a device's answer to a command
)

// Record is one message of the journal.
type Record struct {
	Stream    Stream
	Partition int
	Seq       uint64 // position in the stream, counting over all partitions; set when read
	Kind      Kind
	Received  time.Time // when the journal's owner took it in; the clock of everything that reads it
	ID        string    // optional: a second record of the same ID within two minutes is not stored again
	Body      []byte
}

// Source is one consumer's view of a stream, in order. One goroutine uses it.
type Source interface {
	// Fetch returns the next records, at least one and at most limit, waiting for the first as long as ctx lasts; what is
	// there already comes at once. It returns ctx's error when that ends first. A lost connection is retried inside.
	Fetch(ctx context.Context, limit int) ([]Record, error)
	// Commit marks everything up to and including seq as done; a later Open of the same consumer goes on behind it. For a
	// source without memory (a replay from a given sequence) it does nothing.
	Commit(ctx context.Context, seq uint64) error
	// Close releases the consumer; it keeps its position.
	Close() error
}

// EncodeFinding makes the record of a finding for a partition. Its ID makes a resend recognisable.
func EncodeFinding(partition int, f fleet.Finding) (Record, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return Record{}, fmt.Errorf("encode finding %s: %w", f.ID, err)
	}
	return Record{Stream: Findings, Partition: partition, Kind: KindFinding, Received: f.Received,
		ID: fmt.Sprintf("%s.%d", f.ID, f.Revision), Body: body}, nil
}

// DecodeFinding reads a record made by EncodeFinding.
func DecodeFinding(r Record) (fleet.Finding, error) {
	var f fleet.Finding
	if r.Kind != KindFinding {
		return f, fmt.Errorf("record %d of %s is a %q, not a finding", r.Seq, r.Stream, r.Kind)
	}
	if err := json.Unmarshal(r.Body, &f); err != nil {
		return f, fmt.Errorf("decode finding at %d: %w", r.Seq, err)
	}
	return f, nil
}

// Reply is a device's answer to a command on its way from a door to those who asked.
type Reply struct {
	Device fleet.DeviceKey    `json:"device"`
	At     time.Time          `json:"at"`
	Reply  fleet.CommandReply `json:"reply"`
}

// EncodeReply makes the record of an answer for a partition.
func EncodeReply(partition int, r Reply) (Record, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return Record{}, fmt.Errorf("encode reply to %s: %w", r.Reply.ID, err)
	}
	return Record{Stream: Changes, Partition: partition, Kind: KindReply, Received: r.At, Body: body}, nil
}

// DecodeReply reads a record made by EncodeReply.
func DecodeReply(r Record) (Reply, error) {
	var out Reply
	if r.Kind != KindReply {
		return out, fmt.Errorf("record %d of %s is a %q, not a reply", r.Seq, r.Stream, r.Kind)
	}
	if err := json.Unmarshal(r.Body, &out); err != nil {
		return out, fmt.Errorf("decode reply at %d: %w", r.Seq, err)
	}
	return out, nil
}

// Activation is the rule packs that count from its record on: their files, so that whoever reads the record has all it takes.
type Activation struct {
	Set   string            `json:"set"` // hash of the rules compiled from them
	By    string            `json:"by,omitempty"`
	Packs map[string]string `json:"packs"` // content by file name
}

// EncodeActivation makes the record of an activation for a partition, compressed.
func EncodeActivation(partition int, at time.Time, a Activation) (Record, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(a), z.Close()); err != nil {
		return Record{}, fmt.Errorf("encode the activation of rules %s: %w", a.Set, err)
	}
	return Record{Stream: Readings, Partition: partition, Kind: KindActivation, Received: at, Body: b.Bytes()}, nil
}

// maxActivation bounds what an activation unpacks to.
const maxActivation = 16 << 20

// DecodeActivation reads a record made by EncodeActivation.
func DecodeActivation(r *Record) (Activation, error) {
	var a Activation
	if r.Kind != KindActivation {
		return a, fmt.Errorf("record %d of %s is a %q, not an activation", r.Seq, r.Stream, r.Kind)
	}
	z, err := gzip.NewReader(bytes.NewReader(r.Body))
	if err == nil {
		err = json.NewDecoder(io.LimitReader(z, maxActivation)).Decode(&a)
	}
	if err != nil {
		return a, fmt.Errorf("decode the activation at %d: %w", r.Seq, err)
	}
	return a, nil
}

// EncodeFacts makes a record of facts about devices of one partition.
func EncodeFacts(partition int, at time.Time, facts ...fleet.Facts) (Record, error) {
	var body []byte
	for i := range facts {
		b, err := json.Marshal(&facts[i])
		if err != nil {
			return Record{}, fmt.Errorf("encode facts of %s: %w", facts[i].Device, err)
		}
		body = append(append(body, b...), '\n')
	}
	return Record{Stream: Readings, Partition: partition, Kind: KindFacts, Received: at, Body: body}, nil
}

// NextFacts reads the first line of a record of facts and returns what follows it. Call it while there is something left.
func NextFacts(body []byte) (f fleet.Facts, rest []byte, err error) {
	line, rest, _ := bytes.Cut(body, []byte{'\n'})
	if err = json.Unmarshal(line, &f); err != nil {
		err = fmt.Errorf("decode facts: %w", err)
	}
	return f, rest, err
}

// DecodeChange reads a record of the changes stream.
func DecodeChange(r Record) (fleet.Notice, error) {
	var c fleet.Notice
	if r.Kind != KindChange {
		return c, fmt.Errorf("record %d of %s is a %q, not a change", r.Seq, r.Stream, r.Kind)
	}
	if err := json.Unmarshal(r.Body, &c); err != nil {
		return c, fmt.Errorf("decode change at %d: %w", r.Seq, err)
	}
	return c, nil
}
