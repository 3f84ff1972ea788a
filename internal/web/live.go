package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"aftercare/internal/fleet"
)

const (
	liveWriteWait = 5 * time.Second  // a browser that takes nothing for so long is gone
	liveBeat      = 20 * time.Second // a comment, so that both ends notice a dead connection
	liveRetryMS   = 2000
)

// liveEvent is what a page is told: that something happened and to whom, not what. It fetches the part of the page that shows
// it, which is rendered by the same template as the first time.
type liveEvent struct {
	ID     string `json:"id"`
	Type   string `json:"type"`
	Action string `json:"action"`
	Device string `json:"device"` // "tenant/serial"
	Case   string `json:"case"`
	Person string `json:"person,omitempty"`
}

// live streams notices as server-sent events until the browser leaves, falls behind, or the program ends. With ?person= only
// what concerns that person's messages and things is sent.
func (s *Web) live(w http.ResponseWriter, r *http.Request) {
	select {
	case s.liveSlots <- struct{}{}:
		defer func() { <-s.liveSlots }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many live connections", http.StatusServiceUnavailable)
		return
	}
	notices, cancel := s.deps.Feed.Subscribe()
	defer cancel()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	out := http.NewResponseController(w)
	send := func(format string, args ...any) bool {
		_ = out.SetWriteDeadline(time.Now().Add(liveWriteWait)) // not every writer has one
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	if !send("retry: %d\n\n", liveRetryMS) {
		return
	}
	beat := time.NewTicker(liveBeat)
	defer beat.Stop()
	person := r.URL.Query().Get("person")
	for {
		ok := true
		select {
		case <-r.Context().Done():
			return
		case <-s.closing:
			return
		case <-beat.C:
			ok = send(": still here\n\n")
		case n, open := <-notices:
			if !open {
				return
			}
			s.fleet.outdate()
			if s.concerns(r, n, person) {
				ok = s.sendNotice(send, n)
			}
		}
		if !ok {
			return
		}
	}
}

func (s *Web) concerns(r *http.Request, n fleet.Notice, person string) bool {
	if n.Device.Tenant != s.cfg.Tenant {
		return false
	}
	if person == "" {
		return true
	}
	if n.Type == "message" {
		return n.PersonID == person
	}
	snap, err := s.fleet.get(r.Context())
	if err != nil {
		return false
	}
	d := snap.device(n.Device.Serial)
	return d != nil && d.OwnerID == person
}

func (s *Web) sendNotice(send func(string, ...any) bool, n fleet.Notice) bool {
	body, err := json.Marshal(liveEvent{ID: n.ID, Type: n.Type, Action: n.Action, Device: n.Device.String(), Case: n.CaseID, Person: n.PersonID})
	if err != nil {
		s.log.Error("live event", "notice", n.ID, "err", err)
		return true
	}
	return send("data: %s\n\n", body)
}
