// Package bridge is the door for fleets that already have an MQTT broker (EMQX, HiveMQ, NATS, a cloud's): a
// subscriber that hands what it receives to ingest and acknowledges to the broker only after ingest said what became of it.
//
// It is not a broker. What it publishes (Publish) is commands and Sparkplug's requests for a new birth, never readings. Who may use which topic is the broker's business: ingest is told that it vouches
// for the sender.
//
// Who may import it: app, config, cmd. It imports fleet, wire and obs.
//
// # Policies
//
// The session is persistent and the client id stable, so the broker keeps what comes while we are away. Messages are
// acknowledged in the order they were received on their connection, never before ingest's Done. An acknowledgement that is
// due after its connection was lost goes nowhere (paho drops it); the broker delivers the message again and ingest
// recognises it.
//
// Each connection has a paho client of its own, and connecting again is done here, not by paho: its waits cannot be ended,
// and a message of an old connection must not be acknowledged on a new one.
//
// The callback that paho calls only queues. A message that finds the queue full is left unacknowledged, counted, and asked
// for again (by connecting again) when the queue has become empty; with QoS 0, which no broker repeats, it is lost and
// counted as refused.
//
// Retained messages, which a broker repeats on every subscription, are what was true once and not a new report: they
// are counted as refused and acknowledged. What a broker keeps for us while we are away does not carry that flag.
package bridge
