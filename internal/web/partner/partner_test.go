package partner

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
	"aftercare/internal/words"
)

var now = time.Date(2026, 3, 4, 15, 0, 0, 0, time.UTC)

// desk is one order, its case and its partner; it notes what it is asked to do.
type desk struct {
	order fleet.Order
	asked []string
	err   error
}

func (d *desk) Accept(_ context.Context, _, _, by string, from, _, _ time.Time) error {
	d.asked = append(d.asked, "accept "+by+" "+from.UTC().Format(stamp))
	return d.err
}
func (d *desk) Decline(_ context.Context, _, _, by, reason string, _ time.Time) error {
	d.asked = append(d.asked, "decline "+by+" "+reason)
	return d.err
}
func (d *desk) Report(_ context.Context, _, _, by string, o fleet.Outcome, _, part, _ string, _ time.Time) error {
	d.asked = append(d.asked, "report "+by+" "+string(o)+" "+part)
	return d.err
}
func (d *desk) Order(context.Context, string, string) (*fleet.Order, error) { return &d.order, nil }
func (d *desk) Case(context.Context, string, string) (*fleet.Case, error) {
	return &fleet.Case{ID: "c", Device: d.order.Device, Model: "washer"}, nil
}
func (d *desk) Device(key fleet.DeviceKey) (*fleet.Device, bool) {
	return &fleet.Device{Key: key, Model: "washer", Name: "Omas Liebling"}, true
}
func (d *desk) Partner(_, id string) (*fleet.Partner, bool) {
	return &fleet.Partner{ID: id, Name: "Nord <b>", Locale: "de-DE", Zone: "Europe/Berlin"}, true
}

var key = seal.New([]byte(strings.Repeat("k", 32)))

func link(person string, expires time.Time) string {
	return "/order/" + key.Sign(seal.Claim{Purpose: seal.Order, Tenant: "demo", Subject: "o", Person: person, Expires: expires})
}

func (d *desk) ask(t *testing.T, path string, form url.Values) *httptest.ResponseRecorder {
	t.Helper()
	p, err := New(Deps{Orders: d, Reads: d, Registry: d, Teller: words.New(nil, func(string) fleet.Texts { return nil }), Seal: key, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if form != nil {
		r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	mux := http.NewServeMux()
	mux.Handle("/order/{seal}", p)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

func sample(state fleet.OrderState) *desk {
	return &desk{order: fleet.Order{ID: "o", Tenant: "demo", CaseID: "c", Device: fleet.DeviceKey{Tenant: "demo", Serial: "W1"}, PartnerID: "north", State: state,
		Part: "<script>alert(1)</script>", Contact: "Anna", From: now.Add(48 * time.Hour), To: now.Add(52 * time.Hour)}}
}

// SEC-16: looking changes nothing, in any state; SEC-17: hostile texts stay texts; the owner is named once the visit is agreed.
func TestThePageOfEachState(t *testing.T) {
	for state, buttons := range map[fleet.OrderState]string{fleet.OrderOffered: "accept decline", fleet.OrderAccepted: "report accept decline", fleet.OrderDeclined: "",
		fleet.OrderDone: "", fleet.OrderCancelled: ""} {
		d := sample(state)
		w := d.ask(t, link("north", now.Add(time.Hour)), nil)
		body := w.Body.String()
		var got []string
		for _, b := range []string{"report", "accept", "decline"} {
			if strings.Contains(body, `name="answer" value="`+b+`"`) {
				got = append(got, b)
			}
		}
		if w.Code != http.StatusOK || strings.Join(got, " ") != buttons || len(d.asked) != 0 {
			t.Errorf("%s: %d, buttons %q, asked %v", state, w.Code, got, d.asked)
		}
		if strings.Contains(body, "<script") || strings.Contains(body, "Liebling") || !strings.Contains(body, `lang="de"`) {
			t.Errorf("%s:\n%s", state, body)
		}
		if strings.Contains(body, "Anna") != (state == fleet.OrderAccepted) {
			t.Errorf("%s: the owner's name", state)
		}
	}
}

func TestLinksThatLeadNowhere(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		want int
	}{"foreign": {"/order/x.y", 404}, "other partner": {link("south", now.Add(time.Hour)), 404}, "expired": {link("north", now.Add(-time.Hour)), 410},
		"other purpose": {"/order/" + key.Sign(seal.Claim{Purpose: seal.Message, Tenant: "demo", Subject: "o", Person: "north"}), 404}} {
		d := sample(fleet.OrderOffered)
		for _, form := range []url.Values{nil, {"answer": {"accept"}}} {
			if w := d.ask(t, c.path, form); w.Code != c.want || len(d.asked) != 0 {
				t.Errorf("%s: %d, asked %v", name, w.Code, d.asked)
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	for want, form := range map[string]url.Values{"accept north 2026-03-09T08:00": {"answer": {"accept"}, "from": {"2026-03-09T09:00"}, "to": {"2026-03-09T11:00"}},
		"decline north full": {"answer": {"decline"}, "reason": {" full "}}, "report north part_replaced pump": {"answer": {"report"}, "outcome": {"part_replaced"}, "part": {"pump"}}} {
		d := sample(fleet.OrderAccepted)
		if w := d.ask(t, link("north", now.Add(time.Hour)), form); w.Code != http.StatusSeeOther || strings.Join(d.asked, ",") != want {
			t.Errorf("%d, asked %v, want %s", w.Code, d.asked, want)
		}
		d.err = fleet.Errorf(fleet.CodeConflict, "over")
		if w := d.ask(t, link("north", now.Add(time.Hour)), form); w.Code != http.StatusConflict {
			t.Errorf("%d", w.Code)
		}
	}
}
