package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/websocket"
)

const (
	maxUpgrade   = 8 << 10 // bytes of the HTTP request; browsers stay below 2 KiB
	maxWSMessage = 1 << 20 // bytes of one WebSocket message, which may hold several MQTT packets; nothing is allocated for it
	wsBuffer     = 1 << 10
)

var errNotBinary = errors.New("a WebSocket message is not binary") // MQTT-6.0.0-1

// upgrade answers the HTTP request that opens a WebSocket. There is no http.Server: one request a connection, the same
// accept path and the same goroutine as for every other transport.
func (g *Gateway) upgrade(c *conn) error {
	head := bufio.NewReaderSize(io.LimitReader(c.Conn, maxUpgrade), wsBuffer)
	req, err := http.ReadRequest(head)
	if err != nil {
		return &handshakeError{reasonUpgrade, err}
	}
	if req.Body != nil {
		_ = req.Body.Close()
	}
	w := &upgradeWriter{c: c.Conn, in: head, header: http.Header{}}
	if status := g.cfg.WS.refuses(req); status != 0 {
		w.refuse(status)
		return &handshakeError{reasonUpgrade, fmt.Errorf("answered with %d", status)}
	}
	up := websocket.Upgrader{ReadBufferSize: wsBuffer, WriteBufferSize: wsBuffer, WriteBufferPool: &g.wsBuffers,
		Subprotocols: []string{"mqtt"}, CheckOrigin: func(*http.Request) bool { return true }} // refuses has looked
	ws, err := up.Upgrade(w, req, nil)
	if err != nil {
		w.finish()
		return &handshakeError{reasonUpgrade, err}
	}
	ws.SetReadLimit(maxWSMessage)
	c.Conn = &wsConn{Conn: c.Conn, ws: ws}
	return nil
}

// refuses returns the status that refuses a request, 0 for a good one. A browser sends an Origin: pages of any site could reach
// us through it, so that no origin is allowed that is not listed.
func (c WSConfig) refuses(req *http.Request) int {
	origin := req.Header.Get("Origin")
	switch {
	case req.URL.Path != c.Path:
		return http.StatusNotFound
	case origin != "" && !slices.Contains(c.Origins, origin):
		return http.StatusForbidden
	case !slices.Contains(websocket.Subprotocols(req), "mqtt"): // MQTT-6.0.0-3
		return http.StatusBadRequest
	}
	return 0
}

// upgradeWriter is the little of net/http that the library wants to take the connection over.
type upgradeWriter struct {
	c      net.Conn
	in     *bufio.Reader
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *upgradeWriter) Header() http.Header         { return w.header }
func (w *upgradeWriter) WriteHeader(status int)      { w.status = status }
func (w *upgradeWriter) Write(p []byte) (int, error) { return w.body.Write(p) }

func (w *upgradeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.c, bufio.NewReadWriter(w.in, bufio.NewWriterSize(w.c, wsBuffer)), nil
}

func (w *upgradeWriter) refuse(status int) {
	http.Error(w, http.StatusText(status), status)
	w.finish()
}

// finish sends the refusal, if there is one.
func (w *upgradeWriter) finish() {
	if w.status == 0 {
		return
	}
	res := http.Response{StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Close: true,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len())}
	_ = res.Write(w.c)
}

// wsConn makes a stream of the messages of a WebSocket: their boundaries need not be those of packets (MQTT-6.0.0-2).
type wsConn struct {
	net.Conn // what is below
	ws       *websocket.Conn
	r        io.Reader // the message being read; nil: between two
}

// Read returns no more than is there of the current message.
func (w *wsConn) Read(p []byte) (int, error) {
	for {
		if w.r == nil {
			kind, r, err := w.ws.NextReader()
			if err != nil {
				return 0, wsError(err)
			}
			if kind != websocket.BinaryMessage {
				return 0, errNotBinary
			}
			w.r = r
		}
		n, err := w.r.Read(p)
		if errors.Is(err, io.EOF) {
			w.r, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, wsError(err)
		}
	}
}

// wsError makes a close frame the end of the stream, which it is to MQTT.
func wsError(err error) error {
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		return io.EOF
	}
	return err
}

// Write sends p as one message. One caller at a time.
func (w *wsConn) Write(p []byte) (int, error) {
	if err := w.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close says so to the client if it reads, and closes.
func (w *wsConn) Close() error {
	_ = w.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	return w.Conn.Close()
}
