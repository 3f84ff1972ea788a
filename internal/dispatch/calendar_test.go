package dispatch

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-ical"

	"aftercare/internal/fleet"
)

func TestCalendar(t *testing.T) {
	o := fleet.Order{ID: "order-1", Version: 2, State: fleet.OrderAccepted, UpdatedAt: t0, From: t0.Add(48 * time.Hour), To: t0.Add(52 * time.Hour)}
	for state, want := range map[fleet.OrderState][2]string{fleet.OrderOffered: {"PUBLISH", "TENTATIVE"}, fleet.OrderAccepted: {"PUBLISH", "CONFIRMED"},
		fleet.OrderCancelled: {"CANCEL", "CANCELLED"}, fleet.OrderDeclined: {"CANCEL", "CANCELLED"}} {
		o.State = state
		text, err := Calendar(&o, Entry{Summary: "Waschmaschine; Pumpe, prüfen", Location: "DE-BY", URL: "https://care.example.org/order/x", Organizer: "care@example.org"})
		must(t, err)
		cal, err := ical.NewDecoder(bytes.NewReader(text)).Decode()
		must(t, err)
		ev := cal.Events()[0]
		method, _ := cal.Props.Text(ical.PropMethod)
		status, _ := ev.Status()
		summary, _ := ev.Props.Text(ical.PropSummary)
		from, _ := ev.DateTimeStart(time.UTC)
		if method != want[0] || string(status) != want[1] || summary != "Waschmaschine; Pumpe, prüfen" || !from.Equal(o.From) || ev.Props.Get(ical.PropSequence).Value != "2" {
			t.Errorf("%s:\n%s", state, text)
		}
	}
}

// SEC-17: what people and devices wrote stays in its value.
func TestCalendarInjection(t *testing.T) {
	evil := "x\r\nATTENDEE:mailto:evil@example.org\nEND:VEVENT\u0000\r\n BEGIN:VALARM"
	text, err := Calendar(&fleet.Order{ID: "o", UpdatedAt: t0, From: t0, To: t0.Add(time.Hour)}, Entry{Summary: evil, Description: evil, Location: evil, URL: "https://x/" + evil, Organizer: evil})
	must(t, err)
	cal, err := ical.NewDecoder(bytes.NewReader(text)).Decode()
	must(t, err)
	if len(cal.Events()) != 1 || len(cal.Events()[0].Children) != 0 || cal.Events()[0].Props.Get("ATTENDEE") != nil {
		t.Errorf("something was let in:\n%s", text)
	}
	for _, line := range strings.Split(string(text), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
			t.Errorf("line %q", line)
		}
	}
}
