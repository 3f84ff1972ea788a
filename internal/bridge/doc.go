// Package bridge is the door for fleets that already have an MQTT broker (EMQX, HiveMQ, NATS, a cloud's): a
// subscriber that hands what it receives to ingest and acknowledges to the broker only after ingest said what became of it.
//
// It is not a broker. What it publishes (Publish) is commands and Sparkplug's requests for a new birth, never readings. Who may use
// which topic is the broker's business: ingest is told that it vouches for the sender, so a broker that lets any device publish
// anything lets it speak for every registered device. The broker is also trusted not to attack: paho panics on a SUBACK with
// more answers than filters, and reads packets of up to 256 MiB. MQTT 3.1.1 only. configs/bridge/README.md says what to set.
//
// Who may import it: app, config, cmd. It imports fleet, wire and obs.
//
// # Policies
//
// The session is persistent and the client id stable, so the broker keeps what comes while we are away. Messages are
// acknowledged in the order they were received on their connection, never before ingest's Done. An acknowledgement that is
// due after its connection was lost goes nowhere; the broker delivers the message again and ingest recognises it.
//
// Each connection has a paho client of its own, and connecting again is done here, not by paho: its waits cannot be ended,
// and a message of an old connection must not be acknowledged on a new one.
//
// We subscribe at each connection, because only a SUBACK tells what the broker grants; less than QoS 1 is an error that stays in the
// health check. What a persistent session has subscribed to cannot be asked for, and it goes on for ever: the list is kept in a
// file, and what the configuration does not name any more is unsubscribed (again, until the broker has answered).
//
// The callback that paho calls only queues. A message that finds the queue full is left unacknowledged, counted, and asked
// for again (by connecting again) when the queue has become empty; with QoS 0, which no broker repeats, it is lost and
// counted as refused.
//
// Retained messages, which a broker repeats on every subscription, are what was true once and not a new report: they
// are counted as refused and acknowledged. What a broker keeps for us while we are away does not carry that flag.
//
// Commands are published on the connection there is, and given up with it: who sends them keeps them. Nothing is sent twice here.
//
// # Traps of the client, and of others that use it
//
//	trap                                           avoided by                                  provoked by
//	paho #459: acknowledged when the handler       SetAutoAckDisabled                          TestREL02AckOnlyAfterDoneAndInOrder
//	  returns, whatever Ack is for
//	paho #578: Ack in any order goes out in        the window gives them out in order          TestREL02AckOnlyAfterDoneAndInOrder
//	  any order
//	paho #726: an Ack after the connection was     expected: the entry knows its connection,   TestLateAckIsNotSentOnTheNextConnection,
//	  lost is dropped in silence                   counted as "connection gone"                TestBrokerRestart
//	paho #22, #173: no subscription after a new    subscribed at each connection               TestSessionLost,
//	  connection, no data                                                                      TestBrokerRestartWithoutPersistence
//	telegraf #6232: kept messages come before      default handler set before Connect          TestBrokerRestart (the last 50)
//	  any handler is there
//	telegraf #9703: changed topics have no effect  the list of filters in a file               TestChangedTopics,
//	  on a persistent session                                                                  TestChangedTopicsAtMosquitto
//	telegraf #16293: a ping without answer, then   a new client for each connection            TestKeepAliveOfASilentBroker,
//	  never connected again                                                                    TestNetworkStall
//	a handler that blocks stops reading, also of   the handler only queues                     TestFullQueue
//	  ping answers
//	a refused SUBSCRIBE is no error                the SUBACK is looked at                     TestRefusedSubscriptionIsNoticed,
//	                                                                                           TestDowngradedSubscription
//	wildcards in Publish are sent, and the broker  refused here                                TestPublish
//	  closes
//	tokens of a persistent session never complete  waits end with the connection               TestPublishAcrossLoss
//	  after a loss
//	a system call for each read and each PUBACK    conn                                        TestConnReadsInBlocks,
//	                                                                                           TestConnCoalescesAndCloses
//
// paho #505, #729 and #474 are on the list that this was written from; what they say could not be looked up, so no test claims them.
// paho's own reconnecting and its message store, where much of its known trouble is, are not used at all.
package bridge
