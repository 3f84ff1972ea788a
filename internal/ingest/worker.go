package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// worker turns one message into lines and payloads put aside. It is reused; its buffers grow to what messages need.
type worker struct {
	in      *Ingest
	decoder wire.JSONDecoder

	// the message at hand
	topic     wire.Topic
	device    *fleet.Device
	profile   *profile
	now       time.Time // of receipt; of a payload that comes back, when it first came
	again     bool      // it comes back from quarantine
	partition int

	// what became of it
	lines      []byte
	extra      []wire.Record // payloads put aside, or a reply
	stored     int
	dropped    int      // fields left out by the profile's policy
	unnumbered int      // readings with neither time nor seq
	reasons    []string // one per reading put aside
}

func (w *worker) outcome() wire.Outcome {
	switch {
	case w.again && len(w.reasons) > 0: // whatever of it was good is stored; it stays where it is for the rest
		return wire.Quarantined
	case w.stored > 0:
		return wire.Stored
	case len(w.reasons) > 0:
		return wire.Quarantined
	default:
		return wire.Refused
	}
}

// Reasons for which a message is refused: it is counted and not kept, because nothing says that a device of ours sent it.
const (
	RefusedTopic   = "topic"          // not a device topic
	RefusedForeign = "foreign_topic"  // the sender may not speak for that device
	RefusedUnknown = "unknown_device" // not in the registry
	RefusedRevoked = "revoked_device"
)

// Reasons of quarantine besides those of package wire.
const (
	reasonModel   = "wrong_model"
	reasonSize    = "too_large"
	reasonProfile = "no_profile"
)

// reset forgets what became of the message before, or of the readings before a mistake.
func (w *worker) reset() {
	w.lines, w.extra, w.reasons = w.lines[:0], w.extra[:0], w.reasons[:0]
	w.stored, w.dropped, w.unnumbered = 0, 0, 0
}

func (w *worker) begin(now time.Time) {
	w.reset()
	w.now, w.again = now, false
}

// take decodes, checks and encodes m.
func (w *worker) take(m *wire.Inbound) {
	w.begin(w.in.deps.Now())
	w.again = m.Again
	if m.Again && !m.Received.IsZero() {
		w.now = m.Received
	}
	if reason := w.authorise(m); reason != "" {
		w.in.meter.refuse(fleet.Refusal{At: w.now, Door: m.Door, Source: m.Speaker.String(), Topic: m.Topic, Reason: reason})
		return
	}
	w.partition = w.in.deps.Journal.PartitionOf(w.device.Key)
	if len(m.Payload) > maxPayload {
		w.putAside(m.Topic, m.Payload, reasonSize, fmt.Sprintf("the payload has %d bytes, at most %d are read", len(m.Payload), maxPayload))
		return
	}
	if w.device.Model != w.topic.Model {
		w.putAside(m.Topic, m.Payload, reasonModel, "the registry says the device is a "+w.device.Model)
		return
	}
	if w.topic.Class == fleet.Reply {
		w.reply(m)
		return
	}
	if w.profile = w.in.profiles[w.device.Model]; w.profile == nil {
		w.putAside(m.Topic, m.Payload, reasonProfile, "there is no profile for model "+w.device.Model)
		return
	}
	err := w.decoder.Decode(m.Payload, func(r *fleet.Reading, raw []byte) error {
		w.reading(m.Topic, r, raw)
		return nil
	})
	if err == nil && len(w.lines) > maxRecord {
		err = &wire.DecodeError{Reason: reasonSize, Detail: fmt.Sprintf("the readings take %d bytes when stored, at most %d fit one record: send fewer at a time", len(w.lines), maxRecord)}
	}
	if err != nil { // all or nothing: half of a broken payload is no reading
		w.reset()
		reason, detail := wire.ReasonSyntax, err.Error()
		var de *wire.DecodeError
		if errors.As(err, &de) {
			reason, detail = de.Reason, de.Detail
		}
		w.putAside(m.Topic, m.Payload, reason, detail)
	}
}

// authorise finds the device the message speaks of; it returns the reason if the message is to be refused.
func (w *worker) authorise(m *wire.Inbound) string {
	var err error
	if w.topic, err = wire.ParseTopic(m.Topic); err != nil {
		return RefusedTopic
	}
	key := w.topic.Device()
	if !m.Trusted && (m.Speaker.Tenant != key.Tenant || !w.in.deps.Devices.SpeaksFor(m.Speaker, key.Serial)) {
		return RefusedForeign
	}
	d, ok := w.in.deps.Devices.Device(key)
	if !ok {
		return RefusedUnknown
	}
	if d.Revoked {
		return RefusedRevoked
	}
	w.device = d
	return ""
}

func (w *worker) reading(topic string, r *fleet.Reading, raw []byte) {
	r.Device, r.Model, r.Class = w.device.Key, w.device.Model, w.topic.Class
	unnumbered := r.Time.IsZero() && !r.HasSeq
	if r.Time.IsZero() {
		r.Time = w.now
	}
	dropped, reason, detail := w.profile.check(r, w.now, w.in.cfg.MaxFuture)
	if reason != "" {
		w.putAside(topic, raw, reason, detail)
		return
	}
	w.dropped += dropped
	if unnumbered {
		w.unnumbered++
	}
	w.stored++
	w.lines = wire.AppendReading(w.lines, r)
}

// Bounds of what is kept of one message, whichever door it came through.
const (
	maxPayload = 1 << 20   // bytes that are decoded at all
	keptRaw    = 128 << 10 // bytes of a payload that quarantine keeps
	maxAside   = 100       // readings of one message that are put aside one by one
)

// putAside makes the quarantine record of a payload or of one reading of it. Of a message with very many bad readings the first
// are kept and the rest is counted: it is the same mistake again.
func (w *worker) putAside(topic string, raw []byte, reason, detail string) {
	if w.again || len(w.extra) == maxAside {
		w.reasons = append(w.reasons, reason)
		return
	}
	if len(raw) > keptRaw {
		raw, detail = raw[:keptRaw], detail+fmt.Sprintf(" (the first %d of %d bytes are kept)", keptRaw, len(raw))
	}
	w.reasons = append(w.reasons, reason)
	q := fleet.Quarantined{At: w.now, Device: w.device.Key, Model: w.device.Model, Topic: topic, Reason: reason, Detail: detail,
		Firmware: w.device.Firmware, Payload: raw}
	body, err := json.Marshal(q)
	if err != nil { // a struct of strings and bytes always encodes
		body = []byte("{}")
	}
	w.extra = append(w.extra, wire.Record{Stream: wire.Quarantine, Partition: w.partition, Kind: wire.KindQuarantine, Body: body})
}
