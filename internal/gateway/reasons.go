package gateway

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Reasons of refusals. Those of messages come first; the others are about connections and subscriptions and belong to no
// message.
const (
	ReasonTopic  = "foreign_topic" // not a topic of the device
	ReasonQoS    = "qos2"          // also ends the connection
	ReasonSize   = "oversize"      // also ends the connection
	ReasonPacket = "malformed"     // also ends the connection

	ReasonCredentials  = "credentials"
	ReasonBackoff      = "backoff" // too many wrong credentials before
	ReasonClientID     = "client_id"
	ReasonWill         = "will"
	ReasonSubscription = "foreign_subscription"
	ReasonTooMany      = "too_many_connections"

	ReasonSubscriptions = "too_many_subscriptions"
	ReasonState         = "sparkplug_state" // of messages too: there is no host application to wait for
	ReasonFirstContact  = "first_contact"   // of messages too: a session that may do nothing but fetch its credential

	// A client certificate that is not taken.
	ReasonCertDate      = "certificate_date"      // expired or not yet valid
	ReasonCertRevoked   = "certificate_revoked"   // on a revocation list
	ReasonCertList      = "certificate_list"      // no revocation list of its CA is in force
	ReasonCertUntrusted = "certificate_untrusted" // no chain to gateway.tls.client_ca
	ReasonCertPurpose   = "certificate_purpose"   // not for client authentication
	ReasonCertWeak      = "certificate_weak"      // key or signature
	ReasonCertName      = "certificate_name"      // names nobody, or not clearly, or not who the user name says
)

// Why a handshake did not come about, for the metric only.
const (
	reasonHandshake = "tls"
	reasonUpgrade   = "websocket"
	reasonNoCert    = "no_certificate"
)

// Ends of connections that more than one place speaks of.
const (
	slowReader    = "slow reader"
	reasonRevoked = "revoked"
)

var (
	errPanic      = errors.New("panic in the connection")
	errTurnedAway = errors.New("connection refused")
)

// refuse reports one refusal. The topic is cut and copied: it may be long, and it aliases the packet.
func (g *Gateway) refuse(source, topic, reason string) {
	g.deps.Refuse(fleet.Refusal{At: time.Now(), Door: "gateway", Source: source,
		Topic: strings.Clone(topic[:min(len(topic), wire.MaxTopic)]), Reason: reason})
}

// endReason names why a connection ended by itself, for the metric.
func endReason(err error) string {
	var code packets.Code
	var hand *handshakeError
	switch {
	case errors.Is(err, errClient):
		return "client"
	case errors.Is(err, errPanic):
		return "panic"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "keepalive"
	case errors.As(err, &hand):
		return hand.reason
	case errors.Is(err, packets.ErrPacketTooLarge):
		return ReasonSize
	case errors.As(err, &code):
		return ReasonPacket
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "lost"
	default:
		var op *net.OpError
		if errors.As(err, &op) {
			return "lost"
		}
		return ReasonPacket
	}
}
