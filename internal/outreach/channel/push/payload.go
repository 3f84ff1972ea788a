package push

import (
	"bytes"
	"encoding/json"
	"sort"
	"strings"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

// maxPayload leaves some of maxPlain unused: push services count a little differently.
const maxPayload = 3800

// Bounds of what a notification shows; maxTag and below are in bytes and only keep a broken caller from being sent nothing.
const (
	maxTitle = 200 // characters
	maxLabel = 40
	minBody  = 120 // characters that are kept before a button goes
	maxWord  = 200
)

// payload is what the service worker reads.
type payload struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Body    string   `json:"body,omitempty"`
	URL     string   `json:"url,omitempty"`
	Tag     string   `json:"tag"` // a notification takes the place of an earlier one with the same
	Actions []button `json:"actions,omitempty"`
	Receipt string   `json:"receipt,omitempty"`
	Urgent  bool     `json:"urgent,omitempty"`
	Lang    string   `json:"lang,omitempty"`
}

type button struct {
	Action fleet.Verdict `json:"action"`
	Title  string        `json:"title"`
	Token  string        `json:"token"`
}

// compose returns the message as JSON of at most maxPayload bytes, and whether something had to be left out: the end of the body
// first, then buttons from the last, and at the very end the receipt and the link.
func compose(m fleet.Message) (text []byte, shortened bool) {
	p := payload{ID: bounded(m.ID), Title: cut(m.Title, maxTitle), Body: strings.ToValidUTF8(m.Body, ""), URL: m.URL, Tag: bounded(m.Collapse), Receipt: m.Receipt,
		Urgent: m.Subject == fleet.TopicSafety, Lang: bounded(m.Locale)}
	if p.Tag == "" {
		p.Tag = p.ID
	}
	for _, a := range m.Actions {
		if a.Token != "" && a.Label != "" {
			p.Actions = append(p.Actions, button{a.Verdict, cut(a.Label, maxLabel), a.Token})
		}
	}
	for body := []rune(p.Body); ; {
		text = encode(p)
		if len(text) <= maxPayload {
			return text, shortened
		}
		shortened = true
		fits := sort.Search(len(body), func(n int) bool { // the first length that is too long, less one
			p.Body = string(body[:n]) + "…"
			return len(encode(p)) > maxPayload
		}) - 1
		switch {
		case fits >= min(minBody, len(body)):
			p.Body = string(body[:fits]) + "…"
		case len(p.Actions) > 0:
			p.Body, p.Actions = string(body), p.Actions[:len(p.Actions)-1]
		case p.Receipt != "":
			p.Body, p.Receipt = string(body), ""
		case p.URL != "":
			p.Body, p.URL = string(body), ""
		default:
			body, p.Body = nil, "" // cannot be: without them there is room
			p.Title = ""
		}
	}
}

// encode is JSON that does not escape what only HTML minds: the service worker shows text.
func encode(p payload) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(p) // strings and a bool: it cannot fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// bounded keeps what is ours and short short.
func bounded(s string) string { return cut(s, maxWord) }

// cut shortens to so many characters, on one line.
func cut(s string, limit int) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-1]) + "…"
}
