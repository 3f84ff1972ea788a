package demo

import (
	"slices"
	"strconv"
	"time"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/plan"
)

// packet is one publish with what the device's state becomes once it is acknowledged.
type packet struct {
	unit     *unit
	topic    string
	payload  []byte
	readings int
	after    deviceState
}

// maxBatch bounds a payload of stored readings; the server takes packets up to 64 KiB.
const maxBatch = 50_000

// unit is one device's firmware: it measures, numbers and packs. The goroutine of its connection uses it.
type unit struct {
	dev      *device.Device
	firmware string // empty: not said
	plan     *plan.Plan
	topics   struct{ telemetry, event, status string }
	phase    int64       // seconds by which its stored readings are off the full ten minutes
	sent     deviceState // as if everything packed so far were acknowledged
	acked    deviceState // what is on disk

	batch   []byte
	count   int
	reading device.Reading
	effects device.Effects
	nextAt  time.Time // of its next live report
}

// step is the interval of stored readings.
const step = int64(10 * 60)

// pack measures at a moment and returns the packets that became full. Events go out between the readings before and after
// them, so that what the device says is in order.
func (u *unit) pack(at int64) []packet {
	var out []packet
	now := time.Unix(at, 0)
	u.effects = u.plan.Effects(u.effects[:0], u.dev.Serial, now)
	out = u.announce(out, at)
	prev := u.sent.Done
	if prev == 0 {
		prev = at - step
	}
	u.dev.Read(device.Moment{Prev: prev, At: at, Effects: u.effects}, &u.reading)
	if u.count == 0 {
		u.batch = append(u.batch[:0], `{"readings":[`...)
	} else {
		u.batch = append(u.batch, ',')
	}
	u.batch = u.reading.AppendJSON(u.batch, at*1000, u.sent.Boot, u.sent.Seq)
	u.sent.Seq++
	u.sent.Done = at
	u.count++
	if len(u.batch) > maxBatch {
		out = append(out, u.flush()...)
	}
	return out
}

// flush returns what is packed and not yet on its way.
func (u *unit) flush() []packet {
	if u.count == 0 {
		return nil
	}
	payload := append(slices.Clone(u.batch), "]}"...)
	if u.count == 1 {
		payload = slices.Clone(u.batch[len(`{"readings":[`):])
	}
	p := packet{unit: u, topic: u.topics.telemetry, payload: payload, readings: u.count, after: u.state()}
	u.count = 0
	return []packet{p}
}

// state copies what the device remembers, so that later changes do not reach into packets on their way.
func (u *unit) state() deviceState {
	s := u.sent
	s.Codes = slices.Clone(s.Codes)
	return s
}

// announce packs events for fault codes that came or went since the last reading. One code, OK, takes all of them back;
// those that are still there are then told again.
func (u *unit) announce(out []packet, at int64) []packet {
	var now []string
	var began time.Duration
	for _, e := range u.effects {
		if f, ok := device.FaultOf(e.Kind); ok && f.Code != "" && !slices.Contains(now, f.Code) {
			now = append(now, f.Code)
			if !slices.Contains(u.sent.Codes, f.Code) {
				began = max(began, e.Age)
			}
		}
	}
	slices.Sort(now)
	if slices.Equal(now, u.sent.Codes) {
		return out
	}
	out = append(out, u.flush()...)
	ms := max(at*1000-began.Milliseconds(), u.sent.Done*1000+1)
	known := u.sent.Codes
	if slices.ContainsFunc(known, func(c string) bool { return !slices.Contains(now, c) }) {
		out = append(out, u.event(ms, "OK", nil))
		known = nil
	}
	for _, c := range now {
		if !slices.Contains(known, c) {
			ms++
			out = append(out, u.event(ms, c, now))
		}
	}
	return out
}

func (u *unit) event(ms int64, code string, after []string) packet {
	payload := device.AppendHead(nil, ms, u.sent.Boot, u.sent.Seq)
	payload = append(payload, `,"code":`...)
	payload = append(strconv.AppendQuote(payload, code), '}')
	u.sent.Seq++
	u.sent.Codes = after
	return packet{unit: u, topic: u.topics.event, payload: payload, readings: 1, after: u.state()}
}

// status says that the device is there, or is going off in good order.
func (u *unit) status(at time.Time, online bool, reason string) packet {
	payload := device.AppendHead(nil, at.UnixMilli(), u.sent.Boot, u.sent.Seq)
	payload = append(payload, `,"online":`...)
	payload = strconv.AppendBool(payload, online)
	payload = append(payload, `,"reason":`...)
	payload = strconv.AppendQuote(payload, reason)
	if u.firmware != "" {
		payload = append(payload, `,"firmware":`...)
		payload = strconv.AppendQuote(payload, u.firmware)
	}
	payload = append(payload, '}')
	u.sent.Seq++
	return packet{unit: u, topic: u.topics.status, payload: payload, readings: 1, after: u.state()}
}

// owed returns the moments of stored readings that have not been sent: the grid points after the last reading, at most a
// fortnight back. A gap shorter than one interval owes nothing.
func (u *unit) owed(start, now int64) (first, n int64) {
	from := u.sent.Done
	if from == 0 {
		from = start - int64(pastLength/time.Second)
	}
	from = max(from, now-int64(pastLength/time.Second))
	first = (from-u.phase)/step*step + step + u.phase
	if first > now {
		return first, 0
	}
	return first, (now-first)/step + 1
}

// pastLength is how much a device that has never reported has stored.
const pastLength = 14 * 24 * time.Hour
