package gateway

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/mochi-mqtt/server/v2/packets"
)

// doors is a gateway that listens on all transports.
type doors struct {
	*rig
	ca  *authority
	dir string
}

// every makes the gateway listen on every transport.
func (d *doors) every(c *Config) {
	c.TLS.Listen, c.WS.Listen, c.WS.TLSListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.TLS.Cert, c.TLS.Key = d.ca.serverFiles(d.t, d.dir)
}

func startDoors(t *testing.T, in *inbox, change ...func(*doors, *Config)) *doors {
	t.Helper()
	d := &doors{rig: &rig{t: t}, ca: newAuthority(t, "Acme devices", nil), dir: t.TempDir()}
	d.rig = start(t, in, func(c *Config, _ *Deps) {
		d.every(c)
		for _, f := range change {
			f(d, c)
		}
	})
	return d
}

func (d *doors) tlsConfig(cert *tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(d.ca.cert)
	c := &tls.Config{RootCAs: roots, ServerName: "gateway.test"}
	if cert != nil {
		// Always, also when the server did not name its CA: a certificate in Certificates would stay at home then.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return c
}

// via opens a connection without MQTT yet. cert nil: none is shown.
func (d *doors) via(t testing.TB, tr Transport, cert *tls.Certificate) (net.Conn, error) {
	t.Helper()
	c, err := net.Dial("tcp", d.AddrOf(tr).String())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = c.Close() })
	return d.over(c, tr, cert)
}

// over does the handshakes of a transport.
func (d *doors) over(c net.Conn, tr Transport, cert *tls.Certificate) (net.Conn, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if tr.encrypted() {
		over := tls.Client(c, d.tlsConfig(cert))
		if err := over.Handshake(); err != nil {
			return nil, err
		}
		c = over
	}
	if tr.webSocket() {
		ws, err := dialWS(c, "/mqtt", nil)
		if err != nil {
			return nil, err
		}
		c = &wsConn{Conn: c, ws: ws}
	}
	return c, nil
}

func dialWS(c net.Conn, path string, header http.Header, protocols ...string) (*websocket.Conn, error) {
	if protocols == nil {
		protocols = []string{"mqtt"}
	}
	dialer := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return c, nil }, Subprotocols: protocols}
	ws, res, err := dialer.Dial("ws://gateway.test"+path, header)
	if res != nil {
		_ = res.Body.Close()
	}
	return ws, err
}

func (d *doors) dialVia(t *testing.T, tr Transport, version byte) *device {
	t.Helper()
	c, err := d.via(t, tr, nil)
	if err != nil {
		t.Fatalf("%s: %v", tr, err)
	}
	return &device{t: t, c: c, r: bufio.NewReader(c), v: version}
}

func TestEveryTransport(t *testing.T) {
	in := newInbox(false)
	r := startDoors(t, in)
	for tr := range transports {
		for _, version := range []byte{4, 5} {
			d := r.dialVia(t, tr, version)
			if code := d.connect("demo/A1", "pw-wrong", "A1"); code == 0 {
				t.Errorf("%s: a wrong password is good", tr)
			}
			d = r.dialVia(t, tr, version)
			if code := d.connect("demo/A1", "pw-A1", "A1"); code != 0 {
				t.Fatalf("%s: code %#x", tr, code)
			}
			d.subscribe("devices/demo/washer-w7/A1/command")
			for id := uint16(1); id < 50; id++ {
				d.send(publish(topic("A1"), 1, id))
			}
			for id := uint16(1); id < 50; id++ {
				d.acked(id)
			}
			d.ping()
			r.Disconnect(keyOf("demo/A1"))
			if code := d.closed(); version == 5 && code != packets.ErrAdministrativeAction.Code {
				t.Errorf("%s: code %#x at the end", tr, code)
			}
			eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
		}
	}
	in.wait(t, int(transports)*2*49)
	if n := r.metric("slow_writes_total", ""); n > 0 {
		t.Errorf("%v acknowledgements went the slow way", n)
	}
}

func TestTransportsAreOffWithoutAnAddress(t *testing.T) {
	r := startDoors(t, newInbox(false), func(_ *doors, c *Config) { c.Listen, c.WS.Listen = "", "" })
	if r.Addr() != nil || r.AddrOf(WS) != nil || r.AddrOf(TLS) == nil || r.AddrOf(WSS) == nil {
		t.Error("wrong addresses")
	}
	if code := r.dialVia(t, TLS, 4).connect("demo/A1", "pw-A1", "A1"); code != 0 {
		t.Errorf("code %#x", code)
	}
}

// MQTT-6.0.0-1 and -2: packets are a stream over binary messages, wherever those begin and end.
func TestWebSocketMessagesNeedNotBePackets(t *testing.T) {
	in := newInbox(false)
	r := startDoors(t, in)
	d := r.dialVia(t, WS, 4)
	ws := d.c.(*wsConn).ws
	var all []byte
	all = append(all, encode(t, 4, seedConnect("A1"))...)
	for id := uint16(1); id <= 20; id++ {
		all = append(all, encode(t, 4, publish(topic("A1"), 1, id))...)
	}
	for chunk := range slices.Chunk(all, 7) {
		if err := ws.WriteMessage(websocket.BinaryMessage, chunk); err != nil {
			t.Fatal(err)
		}
		if err := ws.WriteMessage(websocket.BinaryMessage, nil); err != nil {
			t.Fatal(err)
		}
	}
	w, _ := ws.NextWriter(websocket.BinaryMessage) // the library fragments what is larger than its buffer
	for id := uint16(21); id <= 200; id++ {
		_, _ = w.Write(encode(t, 4, publish(topic("A1"), 1, id)))
	}
	_ = ws.WriteControl(websocket.PingMessage, []byte("between"), time.Now().Add(patience))
	_ = w.Close()
	if pk := d.read(); pk.FixedHeader.Type != packets.Connack || pk.ReasonCode != 0 {
		t.Fatalf("%+v", pk)
	}
	for id := uint16(1); id <= 200; id++ {
		d.acked(id)
	}
	if err := ws.WriteMessage(websocket.TextMessage, encode(t, 4, publish(topic("A1"), 1, 1))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a text message ends it", func() bool { return r.metric("connections", "") == 0 })
	if got := len(in.all()); got != 200 {
		t.Errorf("%d messages", got)
	}
}

func TestWebSocketMessageIsBounded(t *testing.T) {
	r := startDoors(t, newInbox(false))
	d := r.dialVia(t, WS, 4)
	d.connect("demo/A1", "pw-A1", "A1")
	// A frame that announces 2 MiB, and pings that it never reads the answers of.
	_, _ = d.c.(*wsConn).Conn.Write([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 1, 2, 3, 4})
	eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
}

func TestWebSocketUpgradeIsRefused(t *testing.T) {
	r := startDoors(t, newInbox(false), func(_ *doors, c *Config) { c.WS.Origins = []string{"https://app.acme.test"} })
	origin := func(o string) http.Header { return http.Header{"Origin": {o}} }
	for name, c := range map[string]struct {
		path   string
		header http.Header
		proto  string
		ok     bool
	}{
		"good":             {"/mqtt", nil, "mqtt", true},
		"listed origin":    {"/mqtt", origin("https://app.acme.test"), "mqtt", true},
		"other origin":     {"/mqtt", origin("https://evil.test"), "mqtt", false},
		"same host origin": {"/mqtt", origin("http://gateway.test"), "mqtt", false},
		"null origin":      {"/mqtt", origin("null"), "mqtt", false},
		"other path":       {"/", nil, "mqtt", false},
		"other protocol":   {"/mqtt", nil, "mqttv3.1", false},
	} {
		conn, err := net.Dial("tcp", r.AddrOf(WS).String())
		if err != nil {
			t.Fatal(err)
		}
		ws, err := dialWS(conn, c.path, c.header, c.proto)
		if (err == nil) != c.ok || c.ok && ws.Subprotocol() != "mqtt" {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok && !errors.Is(err, websocket.ErrBadHandshake) {
			t.Errorf("%s: no answer: %v", name, err)
		}
		_ = conn.Close()
	}
	for name, request := range map[string]string{
		"not http":      "\x10\x20hello\r\n\r\n",
		"no upgrade":    "GET /mqtt HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
		"endless":       "GET /mqtt HTTP/1.1\r\nX: " + string(bytes.Repeat([]byte("x"), 2*maxUpgrade)),
		"post":          "POST /mqtt HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Protocol: mqtt\r\nContent-Length: 5\r\n\r\nhello",
		"data too soon": "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n\x82\x00",
	} {
		conn, err := net.Dial("tcp", r.AddrOf(WS).String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(request))
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 4096)
		for err == nil {
			_, err = conn.Read(buf)
		}
		if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
			t.Errorf("%s: not closed", name)
		}
		_ = conn.Close()
	}
	eventually(t, "all over", func() bool { return r.metric("connections", "") == 0 })
	if n := r.metric("connects_total", reasonUpgrade); n != 10 {
		t.Errorf("%v counted", n)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	r := startDoors(t, newInbox(false))
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		cfg := r.tlsConfig(nil)
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, version
		c, err := tls.Dial("tcp", r.AddrOf(TLS).String(), cfg)
		if (err == nil) != ok {
			t.Errorf("%x: %v", version, err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
}

// A client that does not read its acknowledgements holds up nobody on any transport: not the flusher, which all others need,
// however long it is waited for; and it is closed when that is over.
func TestSlowReaderOnEveryTransport(t *testing.T) {
	for tr := range transports {
		t.Run(tr.String(), func(t *testing.T) {
			r := startDoors(t, newInbox(false), func(_ *doors, c *Config) { c.WriteTimeout = time.Hour })
			slow := r.deaf(t, tr)
			eventually(t, "a write that the client does not take", func() bool { return r.metric("slow_writes_total", "") > 0 })
			good := r.device(t, 4, "A1")
			for id := uint16(1); id <= 100; id++ { // with one flusher, each of these would wait for the hour
				good.send(publish(topic("A1"), 1, id))
				good.acked(id)
			}
			if r.metric("connections", "") != 2 {
				t.Error("the slow one is gone: nothing was proved")
			}
			_ = slow.Close()

			r = startDoors(t, newInbox(false), func(_ *doors, c *Config) { c.WriteTimeout = 50 * time.Millisecond })
			r.deaf(t, tr)
			eventually(t, "slow reader closed", func() bool { return r.metric("disconnects_total", slowReader) == 1 })
		})
	}
}

// deaf connects a device that publishes until it is closed and reads nothing but CONNACK. The buffers between are small.
func (d *doors) deaf(t *testing.T, tr Transport) net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	// Before it connects: a window that shrinks later can stop the other direction for good.
	small := net.Dialer{Control: smallReceive}
	client, err := small.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = server.(*net.TCPConn).SetWriteBuffer(1)
	d.start(server, tr)
	c, err := d.over(client, tr, nil)
	if err != nil {
		t.Fatal(err)
	}
	slow := &device{t: t, c: c, r: bufio.NewReaderSize(c, 16), v: 4}
	slow.connect("demo/A2", "pw-A2", "A2")
	_ = c.SetDeadline(time.Time{})
	flood := make(chan struct{})
	t.Cleanup(func() { _ = client.Close(); <-flood })
	go func() {
		defer close(flood)
		many := bytes.Repeat(encode(t, 4, publish(topic("A2"), 1, 1)), 20)
		for err := error(nil); err == nil; {
			_, err = c.Write(many)
		}
	}()
	return client
}

// New certificate files are used without a restart; broken ones are not.
func TestServerCertificateIsReadAgain(t *testing.T) {
	r := startDoors(t, newInbox(false))
	shown := func() string {
		c, err := tls.Dial("tcp", r.AddrOf(TLS).String(), r.tlsConfig(nil))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := shown()
	live := r.dialVia(t, TLS, 4)
	live.connect("demo/A1", "pw-A1", "A1")
	cert, _ := r.ca.serverFiles(t, r.dir)
	eventually(t, "new certificate", func() bool { return r.metric("tls_reloads_total", "ok") > 0 })
	second := shown()
	if first == second {
		t.Error("still the old certificate")
	}
	put(t, cert, []byte("-----BEGIN CERTIFICATE-----\nbroken"))
	eventually(t, "failure counted", func() bool { return r.metric("tls_reloads_total", "failed") > 0 })
	if shown() != second {
		t.Error("not what was good before")
	}
	live.ping()
}
