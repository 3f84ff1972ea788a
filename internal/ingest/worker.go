package ingest

import (
	"errors"
	"fmt"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// worker turns one message into lines and payloads put aside. It is reused; its buffers grow to what messages need.
type worker struct {
	in        *Ingest
	decoder   wire.Decoder
	sparkplug wire.SparkplugDecoder
	metrics   wire.SparkplugPayload
	yield     func(r *fleet.Reading, raw []byte) error // w.reading, made once

	// the message at hand
	message   wire.Inbound
	class     fleet.Class
	format    fleet.Format
	device    *fleet.Device
	profile   *profile
	track     *track
	now       time.Time // of receipt; of a payload that comes back, when it first came
	again     bool      // it comes back from quarantine
	partition int

	// what became of it
	lines      []byte
	extra      []wire.Record // payloads put aside, or a reply
	stored     int
	unnumbered int // readings of which a resend will not be recognised
	corrected  int // readings whose time was corrected
	dropped    int // fields left out by the profile's policy
	notes      notes
	aside      []Issue // one per reading put aside
	whole      bool    // the whole payload is kept already

	lint *Report // not nil: nothing is stored, this is filled instead
}

func newWorker(in *Ingest) *worker {
	w := &worker{in: in}
	w.yield = w.reading
	return w
}

func (w *worker) outcome() wire.Outcome {
	switch {
	case w.again && len(w.aside) > 0: // whatever of it was good is stored; it stays where it is for the rest
		return wire.Quarantined
	case w.stored > 0:
		return wire.Stored
	case len(w.aside) > 0:
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
	RefusedSession = "old_session" // the death of a Sparkplug session that was followed by another
)

// Reasons of quarantine besides those of package wire.
const (
	reasonModel   = "wrong_model"
	reasonSize    = "too_large"
	reasonProfile = "no_profile"
)

// reset forgets what became of the message before, or of the readings before a mistake.
func (w *worker) reset() {
	w.lines, w.extra, w.aside = w.lines[:0], w.extra[:0], w.aside[:0]
	w.stored, w.dropped, w.unnumbered, w.corrected, w.whole = 0, 0, 0, 0, false
	w.notes.unknown = w.notes.unknown[:0]
}

func (w *worker) begin(now time.Time) {
	w.reset()
	w.now, w.again = now, false
}

// take decodes, checks and encodes m.
func (w *worker) take(m *wire.Inbound) {
	w.begin(w.in.deps.Now())
	w.message, w.again = *m, m.Again
	if m.Again && !m.Received.IsZero() {
		w.now = m.Received
	}
	if wire.IsSparkplug(m.Topic) {
		w.takeSparkplug()
		return
	}
	topic, reason := w.authorise()
	if reason != "" {
		w.refuse(reason)
		return
	}
	w.open()
	defer w.close()
	switch {
	case w.tooLarge():
	case w.device.Model != topic.Model:
		w.putAside(reasonModel, "the registry says the device is a "+w.device.Model)
	case w.class == fleet.Reply:
		w.reply()
	case w.known():
		w.payload()
	}
}

// authorise finds the device the message speaks of; it returns the reason if the message is to be refused.
func (w *worker) authorise() (wire.Topic, string) {
	m := &w.message
	topic, err := wire.ParseTopic(m.Topic)
	if err != nil {
		return topic, RefusedTopic
	}
	key := topic.Device()
	if !m.Trusted && (m.Speaker.Tenant != key.Tenant || !w.in.deps.Devices.SpeaksFor(m.Speaker, key.Serial)) {
		return topic, RefusedForeign
	}
	w.class = topic.Class
	return topic, w.lookup(key)
}

// lookup finds the device; it returns the reason if there is none that may report.
func (w *worker) lookup(key fleet.DeviceKey) string {
	d, ok := w.in.deps.Devices.Device(key)
	switch {
	case !ok:
		return RefusedUnknown
	case d.Revoked:
		return RefusedRevoked
	}
	w.device = d
	return ""
}

func (w *worker) refuse(reason string) {
	m := &w.message
	w.in.meter.refuse(fleet.Refusal{At: w.now, Door: m.Door, Source: m.Speaker.String(), Topic: m.Topic, Reason: reason})
}

// open begins the work on a message of w.device; close ends it.
func (w *worker) open() {
	w.partition = w.in.deps.Journal.PartitionOf(w.device.Key)
	w.track = w.in.tracks.get(w.device.Key)
	w.track.mu.Lock()
	if w.in.deps.Presence != nil && !w.again && w.class != fleet.Status { // of a status report its content says what it is
		w.in.deps.Presence.Heard(w.device, w.now)
	}
}

func (w *worker) close() {
	defer w.track.mu.Unlock()
	n := w.stored + len(w.aside)
	if n == 0 || w.again {
		return
	}
	sheet := w.in.quality.sheetOf(w.track, w.device, w.now)
	sheet.arrived(n, w.now)
	if len(w.notes.unknown) > 0 {
		reason := fleet.QualityUnknownKept
		if w.profile.class(w.class).unknown == fleet.DropUnknown {
			reason = fleet.QualityUnknownDropped
		}
		for _, name := range w.notes.unknown {
			sheet.note(reason, name, "", 1, w.now)
		}
	}
	if w.corrected > 0 {
		sheet.note(fleet.QualityClock, "", "", w.corrected, w.now)
	}
	if w.unnumbered > 0 {
		sheet.note(fleet.QualityUnnumbered, "", "", w.unnumbered, w.now)
	}
	for i := range w.aside {
		sheet.note(w.aside[i].Reason, w.aside[i].Field, w.aside[i].Detail, 1, w.now)
	}
}

func (w *worker) tooLarge() bool {
	if len(w.message.Payload) > maxPayload {
		w.putAside(reasonSize, fmt.Sprintf("the payload has %d bytes, at most %d are read", len(w.message.Payload), maxPayload))
		return true
	}
	return false
}

// known looks the profile up.
func (w *worker) known() bool {
	if w.profile = w.in.profiles[w.device.Model]; w.profile == nil {
		w.putAside(reasonProfile, "there is no profile for model "+w.device.Model)
		return false
	}
	return true
}

// payload decodes a message by its content type, by the model's profile where that says nothing we know.
func (w *worker) payload() {
	w.format = w.profile.model.Format
	if w.message.ContentType != "" {
		if f, ok := wire.FormatOf(w.message.ContentType); ok {
			w.format = f
		}
	}
	w.decode()
}

func (w *worker) decode() {
	w.settle(w.decoder.Decode(w.format, w.message.Payload, w.now, w.yield))
}

// settle ends a payload: it is taken in readings that can all be read, or as a whole not at all, because half of a broken
// payload is no reading.
func (w *worker) settle(err error) {
	if err == nil && len(w.lines) > maxRecord {
		err = &wire.DecodeError{Reason: reasonSize, Detail: fmt.Sprintf("the readings take %d bytes when stored, at most %d fit one record: send fewer at a time", len(w.lines), maxRecord)}
	}
	if err == nil && w.stored+len(w.aside) == 0 {
		err = &wire.DecodeError{Reason: wire.ReasonEmpty, Detail: "the payload holds no reading"}
	}
	if err == nil {
		return
	}
	w.reset()
	reason, detail := wire.ReasonSyntax, err.Error()
	var de *wire.DecodeError
	if errors.As(err, &de) {
		reason, detail = de.Reason, de.Detail
	}
	w.putAside(reason, detail)
}

// reading checks one reading and encodes it, or puts it aside.
func (w *worker) reading(r *fleet.Reading, raw []byte) error {
	r.Device, r.Model, r.Class = w.device.Key, w.device.Model, w.class
	known := len(w.notes.unknown)
	w.notes.issues = w.notes.issues[:0]
	sent := r.Time
	unnumbered, off := w.time(r)
	if len(w.notes.issues) == 0 || w.notes.all {
		w.profile.check(r, &w.notes)
	}
	if w.lint != nil {
		w.lint.reading(w, r, sent, off, known)
	}
	if len(w.notes.issues) > 0 {
		w.notes.unknown = w.notes.unknown[:known]
		w.keep(w.original(r, raw), w.notes.issues[0])
		return nil
	}
	if off != 0 {
		r.Fields = append(r.Fields, fleet.Field{Name: ClockField, Value: fleet.Value{Type: fleet.Integer, Int: off}})
		w.corrected++
	}
	if w.profile.class(w.class).unknown == fleet.DropUnknown {
		w.dropped += len(w.notes.unknown) - known
	}
	if unnumbered {
		w.unnumbered++
	}
	w.stored++
	w.lines = wire.AppendReading(w.lines, r)
	if w.class == fleet.Status {
		w.status(r)
	}
	return nil
}

// time sets a reading's time right and returns by how many milliseconds it was wrong, and whether a resend of the reading
// cannot be recognised. A time that cannot be stored is an issue.
func (w *worker) time(r *fleet.Reading) (unnumbered bool, off int64) {
	if r.Time.IsZero() {
		r.Time = w.now
		return !r.HasSeq, 0
	}
	if ms := r.Time.UnixMilli(); ms < oldest || ms >= latest {
		w.notes.bad(wire.ReasonTime, "ts", "the time is before 1970 or after 2262 and cannot be stored")
		return false, 0
	}
	v := w.track.clocks[w.class].judge(r, w.now.UnixMilli(), w.again, w.in.limits)
	if v.changed {
		w.in.tracks.changed(w.device.Key, w.track)
	}
	if v.off != 0 {
		r.Time = time.UnixMilli(r.Time.UnixMilli() - v.off)
	}
	return v.forgets, v.off
}

// status passes on what a device says of itself.
func (w *worker) status(r *fleet.Reading) {
	if w.again || w.lint != nil {
		return
	}
	online, reason, firmware := false, "", ""
	for i := range r.Fields {
		switch f := &r.Fields[i]; f.Name {
		case "online":
			online = f.Value.Int != 0
		case "reason":
			reason = f.Value.Str
		case "firmware":
			firmware = f.Value.Str
		}
	}
	w.observed(firmware)
	if w.in.deps.Presence == nil {
		return
	}
	cause := fleet.CauseHeard
	if !online {
		cause = fleet.CauseDisconnected
		if reason == fleet.CauseWill {
			cause = fleet.CauseWill
		}
	}
	w.in.deps.Presence.Reported(w.device, online, cause, r.Time)
}
