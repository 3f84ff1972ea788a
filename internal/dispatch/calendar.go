package dispatch

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/emersion/go-ical"

	"aftercare/internal/fleet"
)

// Entry is what a calendar shows of a visit, in the partner's language. None of it is trusted.
type Entry struct {
	Summary     string
	Description string
	Location    string // region; the address comes from the owner
	URL         string // the order's page; may be empty
	Organizer   string // e-mail address
}

// Calendar returns the visit as an iCalendar object (RFC 5545): published, or cancelled for an order that is over without a visit. It
// is no request: a mail program's own button would answer to nobody, and the order's page is where it is answered (RFC 5546, 3.2.1, 4.1.3).
// The UID stays the same over all versions of the order, so that a later one takes the place of an earlier one (RFC 5546).
func Calendar(o *fleet.Order, e Entry) ([]byte, error) {
	cal := ical.NewCalendar()
	cal.Props.SetText(ical.PropVersion, "2.0")
	cal.Props.SetText(ical.PropProductID, "-//aftercare//work orders//EN")
	ev := ical.NewEvent()
	ev.Props.SetText(ical.PropUID, o.ID+"@aftercare")
	sequence := ical.NewProp(ical.PropSequence)
	sequence.Value = strconv.FormatInt(o.Version, 10)
	ev.Props.Set(sequence)
	ev.Props.SetDateTime(ical.PropDateTimeStamp, o.UpdatedAt.UTC())
	ev.Props.SetDateTime(ical.PropDateTimeStart, o.From.UTC())
	ev.Props.SetDateTime(ical.PropDateTimeEnd, o.To.UTC())
	for _, p := range []struct{ name, text string }{{ical.PropSummary, e.Summary}, {ical.PropDescription, e.Description}, {ical.PropLocation, e.Location}} {
		if p.text != "" {
			ev.Props.SetText(p.name, plain(p.text))
		}
	}
	if e.URL != "" {
		u := ical.NewProp(ical.PropURL)
		u.Value = plain(e.URL)
		ev.Props.Set(u)
	}
	if e.Organizer != "" {
		org := ical.NewProp(ical.PropOrganizer)
		org.Value = "mailto:" + plain(e.Organizer)
		ev.Props.Set(org)
	}
	switch o.State {
	case fleet.OrderOffered:
		cal.Props.SetText(ical.PropMethod, "PUBLISH")
		ev.SetStatus(ical.EventTentative)
	case fleet.OrderAccepted, fleet.OrderDone:
		cal.Props.SetText(ical.PropMethod, "PUBLISH")
		ev.SetStatus(ical.EventConfirmed)
	default:
		cal.Props.SetText(ical.PropMethod, "CANCEL")
		ev.SetStatus(ical.EventCancelled)
	}
	cal.Children = append(cal.Children, ev.Component)
	var b bytes.Buffer
	if err := ical.NewEncoder(&b).Encode(cal); err != nil {
		return nil, fmt.Errorf("calendar entry of work order %q: %w", o.ID, err)
	}
	return b.Bytes(), nil
}

// plain takes control characters out: a line break in a value would begin a property.
func plain(s string) string {
	return string(bytes.Map(func(r rune) rune {
		if r == '\n' {
			return ' '
		}
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, []byte(s)))
}
