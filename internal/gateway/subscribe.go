package gateway

import (
	"slices"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

// subscribe decides on the filters of a SUBSCRIBE. Deliveries begin when SUBACK has been written.
func (s *session) subscribe(body []byte) error {
	id, asked, err := decodeSubscribe(body, s.v5)
	if err != nil {
		return err
	}
	granted := make([]listening, 0, len(asked))
	codes := make([]byte, len(asked))
	for i, l := range asked {
		l.qos = min(l.qos, 1) // MQTT-3.8.4-7: the granted one may be lower
		code, why := s.maySubscribeMore(l.filter, granted)
		if why != "" {
			s.g.refuse(s.source(), l.filter, why)
			codes[i] = code.Code
			if !s.v5 {
				codes[i] = packets.ErrUnspecifiedError.Code // the only one it has
			}
			continue
		}
		codes[i] = l.qos
		granted = append(granted, l)
	}
	if err := s.conn.answer(s.reply(packets.Suback, id, codes)); err != nil {
		return err
	}
	s.listen(granted)
	return nil
}

// maySubscribeMore returns how a filter is refused and why; an empty reason: it is granted. granted are those before it in
// the same packet.
func (s *session) maySubscribeMore(filter string, granted []listening) (packets.Code, string) {
	why := s.maySubscribe(filter)
	switch {
	case !validFilter(filter):
		return packets.ErrTopicFilterInvalid, ReasonSubscription
	case why != "" && strings.HasPrefix(filter, "$share/"):
		return packets.ErrSharedSubscriptionsNotSupported, why
	case why != "":
		return packets.ErrNotAuthorized, why
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := downlink{filters: append(append([]listening(nil), s.down.filters...), granted...)}
	n := len(all.filters)
	all.forget(filter)
	if len(all.filters) == n && n >= s.g.cfg.MaxSubscriptions {
		return packets.ErrQuotaExceeded, ReasonSubscriptions
	}
	return packets.CodeSuccess, ""
}

// validFilter is the grammar of MQTT-4.7.1: wildcards fill a level, # the last one.
func validFilter(filter string) bool {
	if filter == "" {
		return false
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if len(level) > 1 && strings.ContainsAny(level, "+#") || level == "#" && more {
			return false
		}
	}
	return true
}

// unsubscribe deals with an UNSUBSCRIBE. Whatever it names may be given up.
func (s *session) unsubscribe(body []byte) error {
	id, filters, err := decodeUnsubscribe(body, s.v5)
	if err != nil {
		return err
	}
	var codes []byte
	s.mu.Lock()
	for _, f := range filters {
		code := packets.CodeSuccess.Code
		if !s.down.forget(f) {
			code = packets.CodeNoSubscriptionExisted.Code
		}
		if s.v5 {
			codes = append(codes, code) // MQTT-3.11.3-1; 3.1.1 has none
		}
	}
	s.mu.Unlock()
	return s.conn.answer(s.reply(packets.Unsuback, id, codes))
}

// reply encodes a SUBACK or UNSUBACK.
func (s *session) reply(kind byte, id uint16, codes []byte) []byte {
	n := 2 + len(codes)
	if s.v5 {
		n++
	}
	p := appendLength([]byte{kind << 4}, n)
	p = append(p, byte(id>>8), byte(id))
	if s.v5 {
		p = append(p, 0) // no properties
	}
	return append(p, codes...)
}

// keptSession is what is left of a session whose connection is gone: what it listens to. Messages are not kept: commands come
// from SQL.
type keptSession struct {
	id      string
	filters []listening
	until   time.Time
}

// inherited is what a new connection finds of its session.
type inherited struct {
	present bool
	filters []listening
}

// inherit gives s what is kept under its name, or what a connection that it takes over listens to. It ends that either way:
// a clean start begins anew. Under Gateway.mu.
func (g *Gateway) inherit(s, old *session, now time.Time) inherited {
	kept := g.takeKept(s.key, s.id)
	if s.clean {
		return inherited{}
	}
	if old != nil && old.keep.Load() > 0 {
		old.mu.Lock()
		defer old.mu.Unlock()
		return inherited{true, append([]listening(nil), old.down.filters...)}
	}
	if kept == nil || now.After(kept.until) {
		return inherited{}
	}
	return inherited{true, kept.filters}
}

func (g *Gateway) takeKept(key fleet.DeviceKey, id string) *keptSession {
	of := g.kept[key]
	for i, k := range of {
		if k.id == id {
			if g.kept[key] = slices.Delete(of, i, i+1); len(g.kept[key]) == 0 {
				delete(g.kept, key)
			}
			return k
		}
	}
	return nil
}

// keepSession keeps a session whose connection is over for as long as it asked and may; of one device not more than it may
// have connections, the oldest go first. Under Gateway.mu.
func (g *Gateway) keepSession(s *session, filters []listening, now time.Time) {
	keep := time.Duration(s.keep.Load())
	if keep == 0 || s.first != nil {
		return
	}
	of := g.kept[s.key]
	if len(of) >= g.cfg.MaxPerDevice {
		of = slices.Delete(of, 0, 1)
	}
	g.kept[s.key] = append(of, &keptSession{id: s.id, filters: filters, until: now.Add(keep)})
}

// expireSessions forgets sessions whose time is over.
func (g *Gateway) expireSessions(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, of := range g.kept {
		of = slices.DeleteFunc(of, func(k *keptSession) bool { return now.After(k.until) })
		if g.kept[key] = of; len(of) == 0 {
			delete(g.kept, key)
		}
	}
}
