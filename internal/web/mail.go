package web

import (
	"net/http"
	"sort"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

const messagesShown = 100

type messagesPage struct {
	*view
	Rows []messageRow
	Dead []deliveryRow
	Held []deliveryRow // neither sent nor dead, and not shown with a text above
}

// deliveryRow is a message whose text was never made or is not kept.
type deliveryRow struct {
	channelState
	To, ToURL string
	CaseURL   string
}

func (s *Web) messageList(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	snap, err := s.fleet.get(ctx)
	if err != nil {
		return err
	}
	v := s.view(w, r, "messages")
	v.Title = v.T("nav.messages")
	p := messagesPage{view: v}
	if p.Rows, err = s.recentMessages(ctx, v, snap, messagesShown); err != nil {
		return err
	}
	sent, err := s.deps.Mail.RecentDeliveries(ctx, s.cfg.Tenant, 3*messagesShown)
	if err != nil {
		return err
	}
	at := map[string]int{}
	for i := range p.Rows {
		at[p.Rows[i].ID] = i
	}
	people := s.names(ctx)
	for _, d := range sent {
		ch := v.channel(d)
		if i, ok := at[d.OutboxID]; ok {
			p.Rows[i].Channels = append(p.Rows[i].Channels, ch)
			if ch.State != "dead" {
				continue
			}
		}
		row := deliveryRow{channelState: ch, To: people.name(d.PersonID), ToURL: personURL(s.cfg.Tenant, d.PersonID),
			CaseURL: "/cases/" + s.cfg.Tenant + "/" + d.CaseID}
		if ch.State == "dead" {
			p.Dead = append(p.Dead, row)
		} else {
			p.Held = append(p.Held, row)
		}
	}
	return s.render(w, r, http.StatusOK, "messages", p)
}

type quarantinePage struct {
	*view
	Entries  []quarantineRow
	Reasons  []reasonCount
	Recent   []refusalRow
	Refused  uint64
	Capacity int
}

type quarantineRow struct {
	At        time.Time
	Reason    string
	Detail    string
	Topic     string
	Device    string
	DeviceURL string
	Known     bool
	Payload   string
	Size      int
	Cut       bool
}

type reasonCount struct {
	Reason, Code string
	Count        uint64
}

type refusalRow struct {
	fleet.Refusal
	Words string
}

func (s *Web) quarantine(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	snap, err := s.fleet.get(ctx)
	if err != nil {
		return err
	}
	v := s.view(w, r, "quarantine")
	v.Title = v.T("nav.quarantine")
	p := quarantinePage{view: v, Capacity: quarantineShown}
	entries, err := s.deps.Doors.Quarantined(ctx, s.cfg.Tenant, quarantineShown)
	if err != nil {
		return err
	}
	for _, q := range entries {
		row := quarantineRow{At: q.At, Reason: v.orHuman("reason.", q.Reason), Detail: q.Detail, Topic: q.Topic,
			Device: q.Device.Serial, DeviceURL: deviceURL(q.Device), Size: len(q.Payload), Known: snap.device(q.Device.Serial) != nil}
		row.Payload, row.Cut = printable(q.Payload)
		p.Entries = append(p.Entries, row)
	}
	recent, by := s.deps.Doors.Refusals()
	for code, n := range by {
		p.Refused += n
		p.Reasons = append(p.Reasons, reasonCount{v.orHuman("reason.", code), code, n})
	}
	sort.Slice(p.Reasons, func(i, j int) bool {
		if p.Reasons[i].Count != p.Reasons[j].Count {
			return p.Reasons[i].Count > p.Reasons[j].Count
		}
		return p.Reasons[i].Code < p.Reasons[j].Code
	})
	for _, f := range recent[:min(len(recent), 50)] {
		p.Recent = append(p.Recent, refusalRow{f, v.orHuman("reason.", f.Reason)})
	}
	return s.render(w, r, http.StatusOK, "quarantine", p)
}

const payloadShown = 2048 // bytes

// printable makes a payload fit to be looked at: text as it is with control and invisible characters made visible, anything
// else as hexadecimal. The template escapes it.
func printable(b []byte) (text string, cut bool) {
	if len(b) > payloadShown {
		b, cut = b[:payloadShown], true
		for range utf8.UTFMax - 1 { // not in the middle of a letter
			if utf8.Valid(b) {
				break
			}
			b = b[:len(b)-1]
		}
	}
	if !utf8.Valid(b) {
		return hexLines(b[:min(len(b), payloadShown/4)]), cut || len(b) > payloadShown/4
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < 0x20:
			return 0x2400 + r // the control pictures
		case r == 0x7f:
			return 0x2421
		case !unicode.IsGraphic(r):
			return '\uFFFD'
		}
		return r
	}, string(b)), cut
}

func hexLines(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for i, c := range b {
		switch {
		case i > 0 && i%16 == 0:
			out.WriteByte('\n')
		case i > 0:
			out.WriteByte(' ')
		}
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}
