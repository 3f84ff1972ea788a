package gateway

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// refusal is why a CONNECT is not accepted: what the client is told, what is counted. The zero value means accepted.
type refusal struct {
	code   packets.Code
	reason string
}

// connect decides on a CONNECT. On success the connection has its session, and what it finds of an earlier one; otherwise the
// client has been told.
func (g *Gateway) connect(c *conn, hello *greeting) (*session, inherited, error) {
	refuse := func(no refusal, source string) (*session, inherited, error) {
		return nil, inherited{}, g.turnAway(c, hello, no, source)
	}
	if g.closing.Load() {
		return refuse(refusal{packets.ErrServerUnavailable, "shutdown"}, "")
	}
	named, username, no := g.claims(c, hello)
	switch {
	case no.reason != "":
		return refuse(no, c.host)
	case hello.auth:
		return refuse(refusal{packets.ErrBadAuthenticationMethod, ReasonCredentials}, c.host)
	}
	source := c.host + " " + username
	kicks := g.kicks.Load()
	login, no := g.authenticate(c, named, username, hello)
	if no.reason != "" {
		return refuse(no, source)
	}
	if !clientIDFits(hello.clientID, login.Key) {
		return refuse(refusal{packets.ErrClientIdentifierNotValid, ReasonClientID}, source)
	}
	s := g.newSession(c, login, hello)
	if s.will, no = g.checkWill(s, hello); no.reason != "" {
		s.cancel()
		return refuse(no, source)
	}
	c.session = s // before others can see it
	kept, no := g.register(s)
	if no.reason != "" {
		c.session = nil
		s.cancel()
		return refuse(no, source)
	}
	if g.kicks.Load() != kicks { // revoked between the check and the registration?
		if _, no := g.authenticate(c, named, username, hello); no.reason != "" {
			s.silent.Store(true)
			s.because(reasonRevoked)
			return refuse(no, source)
		}
	}
	return s, kept, nil
}

// turnAway tells the client no and returns the error that closes the connection.
func (g *Gateway) turnAway(c *conn, hello *greeting, no refusal, source string) error {
	g.m.connects.WithLabelValues(no.reason).Inc()
	if source != "" {
		g.refuse(source, "", no.reason)
		g.log.Debug("mqtt connection refused", "source", source, "reason", no.reason)
	}
	_ = c.answer(connack(hello, no.code, false, nil))
	return errTurnedAway
}

func (g *Gateway) authenticate(c *conn, named fleet.DeviceKey, username string, hello *greeting) (fleet.Login, refusal) {
	if c.cert != nil {
		key, no := g.admit(c)
		return fleet.Login{Key: key}, no
	}
	pair := c.host + " " + username
	now := time.Now()
	if !g.backoff.allow(pair, now) {
		return fleet.Login{}, refusal{packets.ErrServerUnavailable, ReasonBackoff}
	}
	ctx, cancel := context.WithTimeout(g.ctx, g.cfg.ConnectTimeout)
	defer cancel()
	login, err := g.deps.Auth.Authenticate(ctx, username, hello.password)
	switch fleet.CodeOf(err) {
	case "":
		if login.Key != named {
			return fleet.Login{}, refusal{packets.ErrBadUsernameOrPassword, ReasonCredentials}
		}
		g.backoff.succeeded(pair)
		return login, refusal{}
	case fleet.CodeDenied, fleet.CodeNotFound, fleet.CodeInvalid:
		g.backoff.failed(pair, now)
		return fleet.Login{}, refusal{packets.ErrBadUsernameOrPassword, ReasonCredentials}
	default:
		g.log.Warn("mqtt gateway cannot authenticate a device", "device", named.String(), "error", err)
		return fleet.Login{}, refusal{packets.ErrServerUnavailable, "unavailable"}
	}
}

func parseUsername(s string) (fleet.DeviceKey, bool) {
	tenant, serial, ok := strings.Cut(s, "/")
	return fleet.DeviceKey{Tenant: tenant, Serial: serial}, ok && fleet.ValidName(tenant) && fleet.ValidName(serial)
}

// clientIDFits reports whether the id is the device's own, so that it can take over no other device's session.
func clientIDFits(id string, key fleet.DeviceKey) bool {
	for _, own := range [...]string{key.Serial, key.String()} {
		rest, ok := strings.CutPrefix(id, own)
		if ok && (rest == "" || rest[0] == '-' || rest[0] == ':' || rest[0] == '/') {
			return true
		}
	}
	return false
}

func (g *Gateway) newSession(c *conn, login fleet.Login, hello *greeting) *session {
	s := &session{g: g, conn: c, key: login.Key, id: login.Key.String() + "|" + hello.clientID,
		v5: hello.version >= 5, clean: hello.clean, pause: g.cfg.MaxPause, room: make(chan struct{}, 1)}
	if half := time.Duration(hello.keepAlive) * time.Second / 2; half > 0 {
		s.pause = min(s.pause, half)
	}
	switch {
	case s.v5:
		s.keep.Store(int64(min(time.Duration(hello.expiry)*time.Second, g.cfg.MaxSessionExpiry)))
	case !s.clean:
		s.keep.Store(int64(g.cfg.MaxSessionExpiry))
	}
	if login.FirstContact {
		s.first = &firstContact{login: login}
		s.id = firstContactID(s.key)
	}
	s.down.window, s.down.largest = math.MaxUint16, int(hello.largest)
	if n := int(hello.window); n > 0 {
		s.down.window = n
	}
	var h uint32
	for i := range len(s.id) {
		h = h*31 + uint32(s.id[i])
	}
	s.flusher = g.flushers[h%uint32(len(g.flushers))]
	s.ctx, s.cancel = context.WithCancel(g.ctx)
	return s
}

// register makes the session known; one that is alive under the same client id ends, without a will.
func (g *Gateway) register(s *session) (inherited, refusal) {
	g.mu.Lock()
	if g.closing.Load() {
		g.mu.Unlock()
		return inherited{}, refusal{packets.ErrServerUnavailable, "shutdown"}
	}
	old := g.sessions[s.id]
	live := 0
	for _, other := range g.devices[s.key] {
		if other != old && !other.silent.Load() && (other.first == nil) == (s.first == nil) {
			live++
		}
	}
	if live >= g.cfg.MaxPerDevice {
		g.mu.Unlock()
		return inherited{}, refusal{packets.ErrQuotaExceeded, ReasonTooMany}
	}
	kept := g.inherit(s, old, time.Now())
	s.meter = g.newMeter(g.accountOf(s), g.tenantAccount(s.key.Tenant), s.pause)
	if old != nil {
		old.silent.Store(true)
		g.attendance.takesOver(s, old)
	}
	g.sessions[s.id] = s
	g.devices[s.key] = append(g.devices[s.key], s)
	delete(g.delayed, s.id)
	g.mu.Unlock()
	if old != nil {
		old.stop(packets.ErrSessionTakenOver, "taken over")
	}
	return kept, refusal{}
}

// established is called when CONNACK has been sent. filters are those of a session that goes on.
func (g *Gateway) established(s *session, filters []listening) {
	g.mu.Lock()
	s.established = true
	g.mu.Unlock()
	result := "accepted"
	if s.first != nil {
		result = ReasonFirstContact
		s.first.timer = time.AfterFunc(firstContactTime, func() { s.stop(packets.ErrMaxConnectTime, "first contact timeout") })
	}
	g.m.connects.WithLabelValues(result).Inc()
	g.attendance.came(s, time.Now())
	s.resume(filters)
	g.log.Debug("device connected", "device", s.key.String(), "remote", s.conn.host)
}

// ended is called when an authenticated connection is over.
func (g *Gateway) ended(s *session, err error) {
	reason := s.end()
	if reason == "" {
		reason = endReason(err)
	}
	g.mu.Lock()
	established := s.established
	of := g.devices[s.key]
	for i, other := range of {
		if other == s {
			of[i] = of[len(of)-1]
			of[len(of)-1] = nil
			of = of[:len(of)-1]
			break
		}
	}
	if len(of) == 0 {
		delete(g.devices, s.key)
		g.keepAccount(s)
	} else {
		g.devices[s.key] = of
	}
	if g.sessions[s.id] == s { // else it was taken over
		delete(g.sessions, s.id)
		if established {
			g.keepSession(s, s.down.filters, time.Now()) // nobody changes them any more
		}
	}
	g.mu.Unlock()
	s.cancel()
	g.attendance.left(s, s.cause(reason), time.Now())
	if !established {
		return
	}
	if s.first != nil {
		s.first.timer.Stop()
	}
	g.m.disconnects.WithLabelValues(reason).Inc()
	g.log.Debug("device disconnected", "device", s.key.String(), "reason", reason, "error", err)
	if reason == ReasonSize || reason == ReasonPacket {
		g.refuse(s.conn.host+" "+s.key.String(), "", reason)
	}
	g.endWill(s)
}

// notConnected counts a connection that ended before it was anybody's.
func (g *Gateway) notConnected(c *conn, err error) {
	if errors.Is(err, errTurnedAway) {
		return // counted when the client was told
	}
	reason := endReason(err)
	switch {
	case reason == "keepalive":
		reason = "timeout"
	case reason == ReasonSize, reason == ReasonPacket, reason == ReasonWill, strings.HasPrefix(reason, certReasons):
		g.refuse(c.host, "", reason)
	}
	g.log.Debug("mqtt connection not made", "source", c.host, "transport", c.transport.String(), "reason", reason, "error", err)
	g.m.connects.WithLabelValues(reason).Inc()
}

// will is a device's last word.
type will struct {
	topic       string
	payload     []byte
	contentType string
	delay       time.Duration
}

type delayedWill struct {
	s  *session
	at time.Time
}

func (g *Gateway) checkWill(s *session, hello *greeting) (*will, refusal) {
	w := hello.will
	switch {
	case w == nil:
		return nil, refusal{}
	case !s.mayWill(w.topic):
		return nil, refusal{packets.ErrNotAuthorized, ReasonWill}
	case w.qos > 1:
		return nil, refusal{packets.ErrQosNotSupported, ReasonWill}
	case w.retain && s.v5:
		return nil, refusal{packets.ErrRetainNotSupported, ReasonWill}
	}
	delay := min(w.delay, hello.expiry)
	return &will{topic: w.topic, payload: w.payload, contentType: w.contentType,
		delay: min(time.Duration(delay)*time.Second, g.cfg.MaxSessionExpiry)}, refusal{}
}

// mayWill: a will is a status of the device itself, or the death certificate of a Sparkplug edge node.
func (s *session) mayWill(topic string) bool {
	if s.first != nil {
		return false
	}
	if t, err := wire.ParseSparkplugTopic(topic); err == nil {
		return t.Kind == wire.NDeath && t.Speaks() == s.key
	}
	t, err := wire.ParseTopic(topic)
	return err == nil && t.Class == fleet.Status && t.Device() == s.key
}

// endWill decides about the will of a connection that is over.
func (g *Gateway) endWill(s *session) {
	switch {
	case s.will == nil:
	case s.silent.Load():
		g.m.wills.WithLabelValues("dropped").Inc()
	case s.will.delay > 0:
		g.mu.Lock()
		if g.sessions[s.id] == nil {
			g.delayed[s.id] = delayedWill{s, time.Now().Add(s.will.delay)}
		}
		g.mu.Unlock()
	default:
		g.sendWill(s)
	}
}

func (g *Gateway) sendWill(s *session) {
	err := g.deps.Ingest.Submit(g.ctx, wire.Inbound{Door: "gateway", Speaker: s.key, Topic: s.will.topic,
		Payload: s.will.payload, ContentType: s.will.contentType})
	if err != nil {
		g.m.wills.WithLabelValues("dropped").Inc()
		return
	}
	g.m.wills.WithLabelValues("sent").Inc()
}
