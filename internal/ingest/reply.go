package ingest

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Bounds of a device's answer to a command. A reason or a result longer than what is kept of a command is no mistake here: an
// answer that is put aside lets the command be sent again.
const (
	maxReply       = 32 << 10 // bytes of the payload
	maxReplyRetryS = 30 * 24 * 3600
)

// reasonReply is the reason of quarantine of an answer that is not one.
const reasonReply = "bad_reply"

// reply checks a device's answer to a command and makes its record. An answer is not a reading, but it is counted as one.
func (w *worker) reply() {
	var r fleet.CommandReply
	if detail := parseReply(w.message.Payload, &r); detail != "" {
		w.putAside(reasonReply, detail)
		return
	}
	record, err := wire.EncodeReply(w.partition, wire.Reply{Device: w.device.Key, At: w.now, Reply: r})
	if err != nil {
		w.putAside(reasonReply, err.Error())
		return
	}
	w.stored++
	w.extra = append(w.extra, record)
}

// parseReply reads an answer; it returns what is wrong with it, nothing if it is right.
func parseReply(payload []byte, r *fleet.CommandReply) (wrong string) {
	if len(payload) > maxReply {
		return fmt.Sprintf("the answer has %d bytes: at most %d", len(payload), maxReply)
	}
	if !utf8.Valid(payload) {
		return "the answer is not UTF-8"
	}
	if d := jsonDepth(payload); d > wire.MaxDepth {
		return fmt.Sprintf("nested deeper than %d", wire.MaxDepth)
	}
	if err := json.Unmarshal(payload, r); err != nil {
		return "the answer is not a JSON object with id and status: " + err.Error()
	}
	if !fleet.ValidName(r.ID) {
		return fmt.Sprintf("id %.80q is not a command's id", r.ID)
	}
	switch fleet.CommandState(r.Status) {
	case fleet.CommandRunning, fleet.CommandDone, fleet.CommandFailed, fleet.CommandNotNow, fleet.CommandRefused:
	default:
		return fmt.Sprintf("status %.40q: want running, done, failed, not_now or refused", r.Status)
	}
	if r.RetryS < 0 || r.RetryS > maxReplyRetryS {
		return fmt.Sprintf("retry_s is %d: want 0 to %d", r.RetryS, maxReplyRetryS)
	}
	if string(r.Result) == "null" {
		r.Result = nil
	}
	return ""
}

// jsonDepth returns how deep a text that may be JSON is nested; what is inside quotes does not count.
func jsonDepth(s []byte) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}
