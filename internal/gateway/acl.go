package gateway

import (
	"strings"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// mayPublish returns why a device may not publish to a topic; empty: it may. A device mostly uses one topic: its check is
// remembered. The grammar of both name spaces bounds depth (5 levels) and length (wire.MaxTopic).
func (s *session) mayPublish(topic string) string {
	if topic == s.topic {
		return ""
	}
	if wire.IsSparkplug(topic) {
		return s.mayPublishSparkplug(topic)
	}
	t, err := wire.ParseTopic(topic)
	switch {
	case err != nil || t.Tenant != s.key.Tenant:
		return ReasonTopic
	case s.first != nil:
		if t.Serial != s.key.Serial || t.Class != fleet.Reply || t.Model != s.first.login.Model {
			return ReasonFirstContact
		}
		return ""
	case t.Serial == s.key.Serial:
		s.topic = strings.Clone(topic)
		return ""
	case s.g.deps.Auth.SpeaksFor(s.key, t.Serial):
		return ""
	}
	return ReasonTopic
}

// mayPublishSparkplug: an edge node publishes in its own name only, for itself and the devices it speaks for.
func (s *session) mayPublishSparkplug(topic string) string {
	t, err := wire.ParseSparkplugTopic(topic)
	switch {
	case isState(topic):
		return ReasonState
	case err != nil || t.Speaks() != s.key:
		return ReasonTopic
	case s.first != nil:
		return ReasonFirstContact
	case t.Device == "" || t.Device == s.key.Serial:
		s.topic = strings.Clone(topic)
		return ""
	case s.g.deps.Auth.SpeaksFor(s.key, t.Device):
		return ""
	}
	return ReasonTopic
}

// isState recognises the topics of Sparkplug's host applications, of version 3 and before. We are not one that edge nodes
// wait for: our rebirth requests do not depend on it.
func isState(topic string) bool {
	return strings.HasPrefix(topic, "spBv1.0/STATE/") || strings.HasPrefix(topic, "STATE/")
}

// maySubscribe returns why a device may not listen to a filter; empty: it may. It is asked again for what a resumed session
// brings and for every message, because a device may have moved to another base station meanwhile.
func (s *session) maySubscribe(filter string) string {
	if isState(filter) {
		return ReasonState
	}
	if wire.IsSparkplug(filter) {
		return s.maySubscribeSparkplug(filter)
	}
	device, ok := strings.CutSuffix(filter, "/command")
	if !ok {
		return ReasonSubscription
	}
	t, err := wire.ParseTopic(device + "/" + fleet.Status.String()) // the same names, without wildcards
	switch {
	case err != nil || t.Tenant != s.key.Tenant:
		return ReasonSubscription
	case s.first != nil:
		if t.Serial != s.key.Serial || t.Model != s.first.login.Model {
			return ReasonFirstContact
		}
		return ""
	case t.Serial == s.key.Serial || s.g.deps.Auth.SpeaksFor(s.key, t.Serial):
		return ""
	}
	return ReasonSubscription
}

// maySubscribeSparkplug: an edge node listens to its own commands and those of its devices. Libraries write NCMD/{edge}/# and
// DCMD/{edge}/# or /+, which cover nothing but that: those are the only wildcards there are.
func (s *session) maySubscribeSparkplug(filter string) string {
	own := wire.SparkplugTopic{Tenant: s.key.Tenant, Kind: wire.NCommand, Edge: s.key.Serial}
	node := own.String()
	own.Kind = wire.DCommand
	devices := own.String()
	t, err := wire.ParseSparkplugCommandTopic(filter)
	wild := filter == node+"/#" || filter == devices+"/#" || filter == devices+"/+"
	switch {
	case !wild && (err != nil || t.Speaks() != s.key):
		return ReasonSubscription
	case s.first != nil:
		return ReasonFirstContact
	case wild, t.Device == "", t.Device == s.key.Serial, s.g.deps.Auth.SpeaksFor(s.key, t.Device):
		return ""
	}
	return ReasonSubscription
}

// cutWildcard takes a last level "#" or "+" off a filter.
func cutWildcard(filter string) (string, bool) {
	for _, w := range [...]string{"/#", "/+"} {
		if rest, ok := strings.CutSuffix(filter, w); ok {
			return rest, true
		}
	}
	return filter, false
}

// matches reports whether a granted filter covers a topic we send to.
func matches(filter, topic string) bool {
	rest, all := cutWildcard(filter)
	if !all {
		return filter == topic
	}
	below, ok := strings.CutPrefix(topic, rest)
	return ok && (strings.HasPrefix(below, "/") || below == "" && strings.HasSuffix(filter, "#"))
}
