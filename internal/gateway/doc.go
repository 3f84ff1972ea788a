// Package gateway is the door devices use directly: MQTT 3.1.1 and 5 inside the process. It authenticates connections, checks
// what they publish and subscribe, hands messages to ingest, and acknowledges a message only after ingest said what became
// of it.
//
// It is not a message router. Decoding of payloads, the model's profile and the journal are ingest's.
//
// The protocol is spoken here and not by an embedded broker. It was mochi's until there was little left of it in use: it
// acknowledges before it delivers and drops for slow subscribers, so that no PUBLISH could reach its own path, and it held
// 32 KB for a connection that does nothing (a second goroutine, a queue, a buffer, 16 KB of stack). framer.go and decode.go hold
// 7 KB, and one goroutine, which waits without a buffer. Of mochi the names of packets and reason codes and the encoding of
// CONNACK are used, and its decoder as what ours is compared with (FuzzDecode).
//
// Who may import it: app, config, cmd. It imports fleet, wire and obs.
//
// # Policies
//
// Transports. TCP, TLS 1.2 or later with Go's choice of ciphers, WebSocket (path gateway.ws.path, subprotocol "mqtt", binary
// messages of at most 1 MiB whose boundaries mean nothing) and WebSocket over TLS; an empty address is off. All share one accept
// path and its limits; the deadline of CONNECT includes the handshakes before it. A request with an Origin, that is, from a web
// page, is refused unless gateway.ws.origins lists it. Below TLS and WebSocket a write never waits (socket.go): a client that
// does not read stalls nobody on any transport.
//
// Certificates of devices (gateway.tls.client_auth). The chain, the dates, the extended key usage clientAuth (a certificate
// without any is refused, unless gateway.tls.any_purpose), keys of at least RSA 2048 or 256-bit curves, and the revocation lists
// are checked, then the registry is asked. The identity is the one value at the place that gateway.tls.identity names; none or
// two are refused, and so is a common name that shares its part of the subject or stands before country, locality, organisation
// or unit: a subject the other way round is read differently by different readers. A user name may be left out; if there is
// one it must be the identity. A password is not looked at. TLS sessions are not resumed.
//
// Revocation lists are complete ones, signed by a CA of gateway.tls.client_ca. With gateway.tls.crl_policy refuse, a device whose
// CA has none in force (past its next update, or not given) is refused when it connects, but stays when it is connected: an old
// list must not end a fleet. Revoked certificates end live sessions within 5 s; so does the end of a certificate or of its CA.
//
// Files of certificates and lists are looked at every second and read again when they change. What is broken is logged and
// counted, and what was read before stays in force.
//
// Identity. The user name is "tenant/serial". The client id must be the serial, or "tenant/serial", or begin with one of
// them followed by '-', ':' or '/'. Sessions are kept per identity and client id, so that nobody takes over a session of
// another device whose serial happens to begin the same way or belongs to another tenant.
//
// Publishing. A device publishes to devices/{tenant}/{model}/{serial}/{telemetry|event|status|reply} of its own serial or of one
// it speaks for. Any other topic ($SYS and names with wildcards too) is counted as refused and, with QoS 1, acknowledged: an
// MQTT 5 client reads the reason code "not authorized"; a 3.1.1 client gets a plain PUBACK, because the only other
// answer that version has is to close the connection, and a device that resends its queue would never get past the message.
//
// Acknowledging. PUBACKs leave in the order the messages came, after ingest's Done, those due on a connection in one write.
// A connection has at most MaxInflight unanswered messages; then its reader pauses. A reader that pauses for longer than
// half the keep-alive is disconnected, so that the device does not take a full server for a dead one. A connection that does
// not take its acknowledgements within WriteTimeout is closed.
//
// QoS. 0 and 1. A client that publishes with QoS 2 is disconnected (MQTT 5: CONNACK said so before): lowering it in silence
// would leave it waiting for a PUBREC. A PUBREL of an earlier life elsewhere is answered.
//
// Wills. Only to the device's own status topic (or NDEATH), with QoS 0 or 1; else the CONNECT is refused. They go to ingest like any
// status. A will delay is kept up to the session expiry. No will is sent when the same client id connects again (the
// device is there), when the connection is closed by Disconnect, or because this process stops.
//
// Retained messages are not available: MQTT 5 clients are told, a retain flag on a message is ignored, an MQTT 5 will with
// it is refused as the specification asks, a 3.1.1 one is taken without it.
//
// Topic aliases are not available. A packet above MaxPacket, a malformed one or a second CONNECT ends the connection, as if it
// had been lost: its will is sent. MQTT 5 clients are told with a DISCONNECT why (aftercare_gateway_disconnects_sent_total by
// code), 3.1.1 has no such packet. What the specification calls malformed is refused, also where brokers commonly let it pass:
// bytes after the end, properties that are there twice, reserved bits. DISCONNECT takes back the will only with reason 0.
//
// Subscriptions. Only devices/{tenant}/{model}/{serial}/command of the serials the device speaks for, without wildcards or
// $share, at most MaxSubscriptions; of a Sparkplug edge node, its own NCMD and DCMD topics (below).
//
// Sessions. What a session listens to outlives its connection as long as it asks, at most MaxSessionExpiry (3.1.1 without the
// clean flag: that long), in this process; of one device not more sessions are kept than MaxPerDevice, the oldest go. A client
// that finds its session (session present) need not subscribe again.
//
// Messages to devices go through Publish, to a live session, with packet ids of our own and never more unacknowledged than
// the client's Receive Maximum or more queued than MaxOutgoing. What is not acknowledged when a connection ends is not sent
// again from here: commands are kept in SQL and come again when Subscribed tells that the device listens.
//
// Sparkplug. An edge node publishes to spBv1.0/{tenant}/N.../{its serial}, and D... of devices it speaks for; its will may be
// its NDEATH. It listens to NCMD/{serial} and DCMD/{serial}/{device}; libraries write NCMD/{serial}/#, DCMD/{serial}/# or
// DCMD/{serial}/+, which reach nothing else and are the only wildcards there are. STATE topics are refused: no host
// application speaks here, and a node that waits for one has to be told not to.
//
// Presence. The first session of an identity and the end of its last are told to Deps.Presence, take-overs and our own end
// are not. A client that we disconnect (slow, malformed) is lost until it is back.
//
// First contact. A session that came with its model's provisioning secret may listen to its command topic, where it gets its
// own credential, and publish its reply; it ends after PUBACK or 30 s. Many know that secret: the session takes over none of
// the real device, gets none of its commands, and counts against none of its limits but the tenant's.
//
// Limits. Packets and bytes a second, per device and tenant, are token buckets. A connection that is over one is read more
// slowly, QoS 0 and 1 alike; nothing is dropped. Accounts are charged after every chunk of up to 64 packets or 64 KiB, so what is
// sent may be above the limit by that much a connection. No pause before one packet is longer than a second, nor than a
// quarter of the keep-alive: limits that would need more are not kept to. A device in debt with many messages on
// their way has its PINGREQ behind them; keep a limit above the messages it has in flight, divided by its ping timeout.
//
// Too large. A packet above MaxPacket ends the connection. A 3.1.1 device learns of the limit nowhere and will send it again
// when it is back, for ever: every round is a refusal "oversize" with its name, so that it is found by count. Give such
// devices a smaller batch, or raise MaxPacket.
//
// Wrong credentials are answered with growing delays per address and user name. Not per address alone: behind a NAT or a
// balancer that would let one bad device shut out a fleet; a guess against 128 random bits gains nothing from more tries.
// Secrets are compared where they are known: Auth has to do it in constant time and take as long for a device it does
// not know (the registry compares HMACs with crypto/subtle).
package gateway
