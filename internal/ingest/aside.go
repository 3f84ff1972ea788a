package ingest

import (
	"encoding/json"
	"strconv"
	"strings"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Bounds of what is kept of one message, whichever door it came through.
const (
	maxPayload = 1 << 20   // bytes that are decoded at all
	keptRaw    = 740 << 10 // bytes of a payload that quarantine keeps: in base64 they just fit one record of the journal
	maxAside   = 100       // readings of one message that are put aside one by one
	maxDetail  = 1000      // bytes of the reason in words
)

// putAside makes the quarantine record of the whole payload.
func (w *worker) putAside(reason, detail string) {
	why := Issue{Reason: reason, Detail: detail}
	if w.lint != nil {
		w.lint.whole(why)
	}
	w.keep(w.message.Payload, why)
}

// keep makes a quarantine record. Of a message with very many bad readings the first are kept and the rest is counted: it is
// the same mistake again. A payload that comes back is kept already.
func (w *worker) keep(raw []byte, why Issue) {
	why.Field, why.Detail = strings.Clone(why.Field), clip(why.Detail, maxDetail)
	w.aside = append(w.aside, why)
	if w.lint != nil {
		return
	}
	if w.again || w.whole || len(w.extra) >= maxAside {
		return
	}
	w.whole = len(raw) == len(w.message.Payload)
	q := fleet.Quarantined{At: w.now, Device: w.device.Key, Model: w.device.Model, Topic: w.message.Topic, ContentType: clip(w.message.ContentType, 128),
		Reason: why.Reason, Detail: why.Detail, Firmware: w.device.Firmware, Payload: raw}
	if len(raw) > keptRaw {
		q.Payload, q.Cut = raw[:keptRaw], len(raw)
	}
	body, err := json.Marshal(q)
	if err != nil { // a struct of strings and bytes always encodes
		body = []byte("{}")
	}
	w.extra = append(w.extra, wire.Record{Stream: wire.Quarantine, Partition: w.partition, Kind: wire.KindQuarantine, Body: body})
}

// original returns what is to be kept of one bad reading of a payload, such that it can be read again alone: the boot counter
// that the readings of a batch share goes with it. What cannot be taken out of its payload is kept with all of it.
func (w *worker) original(r *fleet.Reading, raw []byte) []byte {
	switch {
	case len(raw) == len(w.message.Payload) || !r.HasSeq || r.Boot == 0:
		return raw
	case w.format != fleet.FormatJSON:
		return w.message.Payload
	}
	out := make([]byte, 0, len(raw)+40)
	out = append(strconv.AppendInt(append(out, `{"boot":`...), r.Boot, 10), `,"readings":[`...)
	return append(append(out, raw...), "]}"...)
}

// observed passes on the firmware a device names, if the registry knows another.
func (w *worker) observed(firmware string) {
	if firmware != "" && firmware != w.device.Firmware && w.in.deps.Firmware != nil && w.lint == nil {
		w.in.deps.Firmware.Observed(w.device.Key, strings.Clone(firmware))
	}
}
