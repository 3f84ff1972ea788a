package sim

import (
	"slices"
	"strconv"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/life"
	"aftercare/firmware-sim/internal/signal"
)

// How often things go wrong between a device and the server, per message.
const (
	lost      = 0.002 // never arrives
	patchy    = 0.02  // a field is missing, with the worst devices; the median is a quarter of it
	twiceSent = 0.003 // arrives again
	delayed   = 0.002 // arrives some minutes late, behind newer ones
)

// maxBatch bounds a payload of stored readings, in bytes; the server takes packets up to 64 KiB.
const maxBatch = 50_000

// willAfter is how long a server waits for a device that is gone, milliseconds: one and a half keep-alives of 60 s.
const willAfter = 90_000

// node is a device's firmware and its way to the server: it numbers, stores while there is no connection, and sends.
type node struct {
	life      *life.Life
	name      string
	place     string
	parent    *node // the base station that speaks for it
	seed      signal.Seed
	rough     float64 // 0 to 1: how bad its sensors are
	telemetry string
	event     string
	status    string

	next      int64 // seconds, when it measures next
	boot, seq int64
	off       bool // switched off
	offline   bool // no connection
	greeted   bool
	stored    []message
	reading   device.Reading
	out       *outbox
}

// message is a topic with a JSON object.
type message struct {
	topic string
	body  []byte
}

func newNode(l *life.Life, place string, parent *node, seed uint64) *node {
	s := signal.NewSeed(seed, l.Serial)
	t := "devices/demo/" + l.Model + "/" + l.Serial + "/"
	return &node{life: l, place: place, parent: parent, seed: s, rough: s.U(994, 0), telemetry: t + "telemetry", event: t + "event", status: t + "status",
		boot: 1 + int64(s.Between(984, 0, 0, 40))}
}

// step lets the device measure at its next moment and sends what there is to send.
func (n *node) step() {
	at := n.next
	n.next += n.life.Interval
	events := n.life.Step(at, &n.reading)
	if n.power(at) {
		return
	}
	n.link(at)
	n.restart(at)
	for _, e := range events {
		body := device.AppendHead(nil, e.At+n.life.ClockOff()*1000, n.boot, n.seq)
		body = append(body, `,"code":"`...)
		n.send(at, message{n.event, append(append(body, e.Code...), `"}`...)})
	}
	if n.parent != nil && (n.life.Away() || !n.parent.life.Hears() || n.parent.off) || len(n.reading.Fields) == 0 {
		return
	}
	u := n.seed.U(985, at)
	switch {
	case u < lost:
		n.seq++
		return
	case u < lost+patchy*n.rough*n.rough:
		n.forget(at)
	}
	n.send(at, message{n.telemetry, n.reading.AppendJSON(nil, (at+n.life.ClockOff())*1000, n.boot, n.seq)})
}

// power follows the switch and reports whether the device is off.
func (n *node) power(at int64) bool {
	off := n.life.Off()
	if off && !n.off && !n.offline && n.greeted {
		n.tell(at, false, "stopped")
	}
	if !off && (n.off || !n.greeted) {
		n.boot++
		n.seq, n.greeted = 0, true
		if !n.offline {
			n.tell(at, true, "boot")
		}
	}
	n.off = off
	return off
}

// link follows the home's connection: what was stored goes out when it is back. A tool has none of its own.
func (n *node) link(at int64) {
	offline := n.life.Home.Offline(at)
	switch {
	case offline && !n.offline && n.parent == nil:
		n.out.add(at*1000+willAfter, message{n.status, []byte(`{"online":false,"reason":"will"}`)})
	case !offline && n.offline:
		n.offline = false
		n.upload(at)
		if n.parent == nil {
			n.tell(at, true, "connected")
		}
	}
	n.offline = offline
}

// restart gives the device a new boot number: after its update, and once in two months for no known reason.
func (n *node) restart(at int64) {
	update := n.life.Update()
	updated := update != 0 && at >= update && n.life.Firmware == "2.3.0"
	if !updated && n.seed.U(986, at) > float64(n.life.Interval)/(60*signal.Day) {
		return
	}
	if updated {
		n.life.Firmware = "2.4.0"
	}
	n.boot++
	n.seq = 0
	if !n.offline {
		n.tell(at, true, "boot")
	}
}

// forget drops one field that may be missing.
func (n *node) forget(at int64) {
	i := int(n.seed.U(987, at) * float64(len(n.reading.Fields)))
	if !life.Required(n.life.Model, n.reading.Fields[i].Name) {
		n.reading.Fields = slices.Delete(n.reading.Fields, i, i+1)
	}
}

// tell sends a status.
func (n *node) tell(at int64, online bool, reason string) {
	body := device.AppendHead(nil, at*1000-3000, n.boot, n.seq)
	n.seq++
	body = append(body, `,"online":`...)
	body = strconv.AppendBool(body, online)
	body = append(body, `,"reason":"`...)
	body = append(append(body, reason...), `","firmware":"`...)
	body = append(append(body, n.life.Firmware...), `"}`...)
	n.out.add(n.arrival(at)-100, message{n.status, body})
}

// arrival returns when something said at a moment is on its way, in milliseconds: it may take a second.
func (n *node) arrival(at int64) int64 { return at*1000 + 150 + int64(n.seed.U(988, at)*900) }

// send sends a message, keeps it while there is no connection, or sends it late or twice.
func (n *node) send(at int64, m message) {
	n.seq++
	if n.offline {
		n.stored = append(n.stored, m)
		return
	}
	when := n.arrival(at)
	u := n.seed.U(989, at*2+int64(len(m.body)))
	if u < delayed {
		when += int64(n.seed.Between(990, at, 1, 25) * 60_000)
	} else if u < delayed+twiceSent {
		again := n.seed.Between(991, at, 2, 90) * 1000
		if u < delayed+twiceSent/5 {
			again = n.seed.Between(992, at, 0.5, 9) * 3_600_000
		}
		n.out.add(when+int64(again), m)
	}
	n.out.add(when, m)
}

// upload sends what was stored: oldest first, telemetry in batches, events between the readings before and after them.
func (n *node) upload(at int64) {
	when := n.arrival(at) + 500
	var batch []byte
	count := 0
	flush := func() {
		if count > 0 {
			n.out.add(when, message{n.telemetry, append(batch, "]}"...)})
			when += 40
		}
		batch, count = nil, 0
	}
	for _, m := range n.stored {
		if m.topic != n.telemetry {
			flush()
			n.out.add(when, m)
			when += 40
			continue
		}
		if count == 0 {
			batch = append(batch, `{"readings":[`...)
		} else {
			batch = append(batch, ',')
		}
		batch = append(batch, m.body...)
		if count++; len(batch) > maxBatch {
			flush()
		}
	}
	flush()
	n.stored = nil
}
