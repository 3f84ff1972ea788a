package mqttload

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// MQTT 3.1.1 packet types, in the upper half of the first byte (section 2.2.1).
const (
	typeConnect    = 1 << 4
	typeConnack    = 2 << 4
	typePublish    = 3 << 4
	typePuback     = 4 << 4
	typePingreq    = 12 << 4
	typePingresp   = 13 << 4
	typeDisconnect = 14 << 4

	flagQoS1 = 0x02
	flagDup  = 0x08
)

func appendLength(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendText(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// appendConnect appends a CONNECT with a clean session, user name and password; the client id is the user name.
func appendConnect(dst []byte, username, password string, keepAlive time.Duration) []byte {
	body := appendText(nil, "MQTT")
	body = append(body, 4, 0x80|0x40|0x02) // level 4; user name, password, clean session
	body = binary.BigEndian.AppendUint16(body, uint16(keepAlive/time.Second))
	body = appendText(body, username)
	body = appendText(body, username)
	body = appendText(body, password)
	dst = appendLength(append(dst, typeConnect), len(body))
	return append(dst, body...)
}

// The widths of the numbers that are patched into a template. JSON allows blanks before a number, not zeros.
const (
	tsWidth  = 13
	seqWidth = 10
)

// template is a PUBLISH with QoS 1, encoded once; packet id, device time and running number are patched per message.
type template struct {
	bytes       []byte
	id, ts, seq int // offsets
}

// newTemplate encodes a PUBLISH to topic. fields are the JSON members after the reserved keys, without braces.
func newTemplate(topic string, boot int64, fields string) template {
	payload := []byte(`{"ts":`)
	ts := len(payload)
	payload = append(payload, "0000000000000"...)
	payload = strconv.AppendInt(append(payload, `,"boot":`...), boot, 10)
	payload = append(payload, `,"seq":`...)
	seq := len(payload)
	payload = append(payload, "          "...)
	payload = append(payload, ","+fields+"}"...)

	t := template{bytes: appendLength([]byte{typePublish | flagQoS1}, 2+len(topic)+2+len(payload))}
	t.bytes = appendText(t.bytes, topic)
	t.id = len(t.bytes)
	t.bytes = append(t.bytes, 0, 0)
	t.ts, t.seq = len(t.bytes)+ts, len(t.bytes)+seq
	t.bytes = append(t.bytes, payload...)
	return t
}

// append appends the packet for one message; dup marks a repetition.
func (t *template) append(dst []byte, id uint16, tsMillis, seq int64, dup bool) []byte {
	at := len(dst)
	dst = append(dst, t.bytes...)
	p := dst[at:]
	if dup {
		p[0] |= flagDup
	}
	binary.BigEndian.PutUint16(p[t.id:], id)
	putRight(p[t.ts:t.ts+tsWidth], tsMillis)
	putRight(p[t.seq:t.seq+seqWidth], seq)
	return dst
}

// putRight writes a positive number into the right end of a field and blanks before it.
func putRight(field []byte, n int64) {
	for i := len(field) - 1; i >= 0; i-- {
		if n == 0 && i < len(field)-1 {
			field[i] = ' '
			continue
		}
		field[i] = byte('0' + n%10)
		n /= 10
	}
}

var errProtocol = errors.New("the server does not speak MQTT 3.1.1")

// readHead reads a packet's type and the length of what follows.
func readHead(r *bufio.Reader) (kind byte, length int, err error) {
	if kind, err = r.ReadByte(); err != nil {
		return 0, 0, err
	}
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, 0, unexpected(err)
		}
		length |= int(b&0x7f) << shift
		if b < 0x80 {
			return kind, length, nil
		}
		if shift == 21 {
			return 0, 0, errProtocol
		}
	}
}

// readConnack reads the answer to CONNECT.
func readConnack(r *bufio.Reader) error {
	kind, length, err := readHead(r)
	if err != nil {
		return fmt.Errorf("read CONNACK: %w", err)
	}
	if kind != typeConnack || length != 2 {
		return errProtocol
	}
	var body [2]byte
	if _, err := io.ReadFull(r, body[:]); err != nil {
		return fmt.Errorf("read CONNACK: %w", err)
	}
	if body[1] != 0 {
		return &refusedError{code: body[1]}
	}
	return nil
}

// refusedError is a CONNACK that says no; trying again does not help.
type refusedError struct{ code byte }

func (e *refusedError) Error() string {
	reasons := [...]string{1: "protocol version", 2: "client id", 3: "server unavailable", 4: "user name or password", 5: "not authorised"}
	if int(e.code) < len(reasons) && reasons[e.code] != "" {
		return "the server refuses the connection: " + reasons[e.code]
	}
	return fmt.Sprintf("the server refuses the connection: code %d", e.code)
}

// readAck reads packets until a PUBACK and returns its packet id; a PINGRESP is passed over.
func readAck(r *bufio.Reader) (uint16, error) {
	for {
		kind, length, err := readHead(r)
		if err != nil {
			return 0, err
		}
		switch {
		case kind == typePuback && length == 2:
			var body [2]byte
			if _, err := io.ReadFull(r, body[:]); err != nil {
				return 0, unexpected(err)
			}
			return binary.BigEndian.Uint16(body[:]), nil
		case kind == typePingresp && length == 0:
		default:
			return 0, errProtocol
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
