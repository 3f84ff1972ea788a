package outreach_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"aftercare/configs"
	"aftercare/internal/dispatch"
	"aftercare/internal/egress"
	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channel/email"
	"aftercare/internal/outreach/channel/webhook"
	"aftercare/internal/seal"
	"aftercare/internal/words"
)

// works is a bench with an order of its case that is done by partner north.
type works struct {
	*bench
	t     *testing.T
	d     *dispatch.Dispatch
	box   *postbox
	hook  *receiver
	seal  *seal.Seal
	order fleet.Order
	heard []string
}

func (w *works) Ordered(_ context.Context, o fleet.Order, why string, _ time.Time) error {
	return w.hear("ordered", o, why)
}
func (w *works) Unserved(_ context.Context, o fleet.Order, why string, _ time.Time) error {
	return w.hear("unserved", o, why)
}
func (w *works) Reported(_ context.Context, o fleet.Order, _ time.Time) error {
	return w.hear("reported", o, string(o.Outcome))
}
func (w *works) hear(what string, o fleet.Order, why string) error {
	w.heard = append(w.heard, what+" "+o.PartnerID+" "+why)
	return nil
}
func (w *works) Order(ctx context.Context, tenant, id string) (*fleet.Order, error) {
	return w.store.Order(ctx, tenant, id)
}
func (w *works) Partner(_ context.Context, tenant, id string) (*fleet.Partner, error) {
	if p, ok := w.registry.Partner(tenant, id); ok {
		return p, nil
	}
	return nil, fleet.Errorf(fleet.CodeNotFound, "none")
}

// newWorks books a visit at noon. The partner has a mail address and a webhook; without a postbox here there is no channel for mail.
func newWorks(t *testing.T, box *postbox, hook *receiver, edit ...func(*fleet.Partner)) *works {
	t.Helper()
	b := newBench(t, nil)
	w := &works{bench: b, t: t, box: box, hook: hook, seal: seal.New([]byte(strings.Repeat("k", 32)))}
	p := fleet.Partner{ID: "north", Tenant: "demo", Name: "Kundendienst Nord", Locale: "de-DE", Zone: "Europe/Berlin", Email: "auftrag@nord.example.org"}
	var hooks []*receiver
	if hook != nil {
		p.Webhook, p.Secret, hooks = hook.URL+"/orders", fleet.Secret(secret), append(hooks, hook)
	}
	for _, e := range edit {
		e(&p)
	}
	must(t, b.registry.SavePartner(t.Context(), p))
	must(t, b.registry.GiveConsent(t.Context(), "demo", "anna", fleet.PurposePartner, "partner-2025-11", "test"))
	b.deps.Channels = []outreach.Channel{webhook.New(client(t, 10*time.Second, hooks...), time.Now)}
	if box != nil {
		c := email.DefaultConfig()
		c.Host, c.Port, c.TLS, c.From = "127.0.0.1", box.Addr().(*net.TCPAddr).Port, email.Plain, "Aftercare <care@example.org>"
		out := egress.DefaultConfig()
		out.Allow = []string{box.Addr().String()}
		ch, err := email.New(c, email.Deps{Egress: out, Now: func() time.Time { return noon }})
		must(t, err)
		b.deps.Channels = append(b.deps.Channels, ch)
	}
	b.deps.Words = b.deps.Words.With(templates())
	b.deps.Seal, b.deps.Orders = w.seal, w
	b.deps.Calendar = func(o *fleet.Order, summary, url string) ([]byte, error) {
		return dispatch.Calendar(o, dispatch.Entry{Summary: summary, URL: url, Organizer: "care@example.org"})
	}
	b.restart()
	w.d = dispatch.New(dispatch.DefaultConfig(), dispatch.Deps{Store: b.store, Errands: b.store, Registry: b.registry, Desk: w, Teller: b.deps.Words, Log: b.deps.Log})
	b.change(t, fleet.CaseNew, "", noon)
	var err error
	w.order, err = w.d.Book(t.Context(), dispatch.Wish{Tenant: "demo", CaseID: "case-1", Part: "Pumpe", By: "owner:anna", At: noon})
	must(t, err)
	return w
}

var templates = sync.OnceValue(func() *words.Templates {
	shipped, err := fs.Sub(configs.FS, "templates")
	if err != nil {
		panic(err)
	}
	t, _ := words.LoadTemplates(shipped) // that they are right is tested where they are read
	return t
})

func (b *bench) restart() {
	c := outreach.DefaultConfig()
	c.URL = "https://care.example.org"
	b.deps.Registerer = prometheus.NewRegistry()
	b.o = outreach.New(c, b.deps)
}

func (w *works) pass(at time.Time) {
	w.t.Helper()
	must(w.t, w.d.Pass(w.t.Context(), at))
	must(w.t, w.o.Pass(w.t.Context(), at))
}

// fate is what became of the order's rows, as "topic channel state: reason", in order of time.
func (w *works) fate(want ...string) {
	w.t.Helper()
	ds, err := w.store.RefDeliveries(w.t.Context(), "demo", w.order.ID)
	must(w.t, err)
	var got []string
	for _, d := range ds {
		if !strings.HasPrefix(d.Topic, "order.") {
			continue
		}
		if d.PersonID != "partner:north" || d.CaseID != "case-1" {
			w.t.Errorf("a delivery of %q, case %q", d.PersonID, d.CaseID)
		}
		s := strings.TrimPrefix(d.Topic, "order.") + " " + d.Channel + " " + d.State
		if d.State != "sent" {
			s += ": " + d.Reason
		}
		got = append(got, s)
	}
	slices.Sort(got)
	slices.Sort(want)
	same(w.t, got, want)
}

// TestAPartnerGetsTheOrder by e-mail with an entry for the calendar and by a webhook that the standard's own library verifies.
func TestAPartnerGetsTheOrder(t *testing.T) {
	w := newWorks(t, openPostbox(t), receive(t, status(200)))
	w.pass(noon)
	w.pass(noon)
	w.fate("offered partner sent", "offered email sent", "offered webhook sent")
	link := outreach.OrderLink(w.seal, "https://care.example.org", &w.order)
	claim, err := w.seal.Open(seal.Order, strings.TrimPrefix(link, "https://care.example.org/order/"), noon.AddDate(0, 11, 0))
	must(t, err)
	same(t, []string{claim.Tenant, claim.Subject, claim.Person}, []string{"demo", w.order.ID, "north"})

	mails := w.box.letters(t)
	if len(mails) != 1 {
		t.Fatalf("%d mails", len(mails))
	}
	m := mails[0]
	for _, part := range []string{"Die Waschmaschine pumpt langsam ab", "WM-1", "Mitzubringen: Pumpe", link, "Auftrag öffnen"} {
		if !strings.Contains(m.text, part) {
			t.Errorf("the mail has no %q:\n%s", part, m.text)
		}
	}
	if strings.Contains(m.text, "Anna") || strings.Contains(m.text, "Küche") {
		t.Errorf("the owner is named before the visit is agreed:\n%s", m.text)
	}
	if !strings.HasPrefix(m.subject, "Auftrag: Die Waschmaschine pumpt langsam ab") || m.kind != "PUBLISH" || !strings.Contains(m.calendar, "STATUS:TENTATIVE") {
		t.Errorf("subject %q, calendar (%s)\n%s", m.subject, m.kind, m.calendar)
	}

	c := w.hook.received()[0]
	wh, err := standardwebhooks.NewWebhook(secret)
	must(t, err)
	must(t, wh.VerifyIgnoringTimestamp([]byte(c.body), c.header))
	var got struct {
		Type string
		Data struct {
			OrderID string `json:"order_id"`
			State   string
			Device  struct{ Serial, Model string }
			Problem string
			Summary string
			Part    string
			Visit   struct{ From, To time.Time }
			Contact string
			Link    string
		}
	}
	must(t, json.Unmarshal([]byte(c.body), &got))
	if d := got.Data; got.Type != "order.offered" || d.OrderID != w.order.ID || d.State != "offered" || d.Device.Serial != "WM-1" || d.Device.Model != "washer-w7" || d.Problem != "drain" ||
		d.Summary != "Die Waschmaschine pumpt langsam ab." && d.Summary != "Die Waschmaschine pumpt langsam ab" || d.Part != "Pumpe" || !d.Visit.From.Equal(w.order.From) || d.Contact != "" || d.Link != link {
		t.Errorf("%s", c.body)
	}
}

// TestAgreedAndMoved: the partner hears of the time with how to reach the owner, and of an older time no more.
func TestAgreedAndMoved(t *testing.T) {
	w := newWorks(t, openPostbox(t), nil)
	w.pass(noon)
	must(t, w.d.Accept(t.Context(), "demo", w.order.ID, "north", time.Time{}, time.Time{}, noon.Add(time.Hour)))
	later := w.order.From.Add(24 * time.Hour)
	must(t, w.d.Accept(t.Context(), "demo", w.order.ID, "north", later, later.Add(time.Hour), noon.Add(2*time.Hour)))
	w.pass(noon.Add(2 * time.Hour))
	w.fate("offered partner sent", "offered email sent", "accepted partner skipped: the order has moved on", "accepted partner sent", "accepted email sent")
	mails := w.box.letters(t)
	m := mails[len(mails)-1]
	if !strings.Contains(m.text, "Kundin oder Kunde: Anna") || !strings.Contains(m.calendar, "STATUS:CONFIRMED") || !strings.Contains(m.calendar, "DTSTART:"+later.UTC().Format("20060102T150405Z")) {
		t.Errorf("%s\n%s", m.text, m.calendar)
	}
	// The owner hears once of the visit, of the time that holds, and who comes.
	in := w.inbox(t)
	if len(in) != 1 || in[0].Topic != fleet.EventVisit || !strings.Contains(in[0].Body, "Kundendienst Nord") || !strings.Contains(in[0].Title, later.In(berlin(t)).Format("2.")) {
		t.Errorf("%+v", in)
	}
}

func berlin(t *testing.T) *time.Location {
	t.Helper()
	l, err := time.LoadLocation("Europe/Berlin")
	must(t, err)
	return l
}

// REL-10: what was called off before it left is not sent; what left is called off where it arrived, and nowhere else.
func TestCalledOff(t *testing.T) {
	w := newWorks(t, openPostbox(t), receive(t, status(200)))
	must(t, w.d.Cancel(t.Context(), "demo", w.order.ID, "agent:eve", "wrong case", noon.Add(time.Second)))
	w.pass(noon.Add(time.Second))
	w.fate("offered partner skipped: the order was cancelled before the offer left", "cancelled partner skipped: the partner has not heard of it here")
	same(t, len(w.box.letters(t))+len(w.hook.received()), 0)

	w = newWorks(t, openPostbox(t), receive(t, status(500))) // the webhook is down, the mail arrives
	w.pass(noon)
	must(t, w.d.Cancel(t.Context(), "demo", w.order.ID, "agent:eve", "wrong case", noon.Add(time.Second)))
	w.pass(noon.Add(time.Second))
	w.fate("offered partner sent", "offered email sent", "cancelled partner sent", "cancelled email sent")
	w.pass(noon.Add(2 * time.Hour))
	w.fate("offered partner sent", "offered email sent", "offered webhook skipped: the order was cancelled before the offer left",
		"cancelled partner sent", "cancelled email sent", "cancelled webhook skipped: the partner has not heard of it here")
	m := w.box.letters(t)[1]
	if !strings.HasPrefix(m.subject, "Abgesagt: ") || !strings.Contains(m.text, "Wrong case") || m.kind != "CANCEL" || !strings.Contains(m.calendar, "STATUS:CANCELLED") {
		t.Errorf("%q\n%s\n%s", m.subject, m.text, m.calendar)
	}
	same(t, len(w.inbox(t)), 0) // nothing was agreed
}

func TestAnOfferThatRanOut(t *testing.T) {
	w := newWorks(t, openPostbox(t), nil)
	w.pass(noon)
	w.pass(noon.Add(25 * time.Hour))
	w.pass(noon.Add(25 * time.Hour))
	w.fate("offered partner sent", "offered email sent", "expired partner sent", "expired email sent")
	if m := w.box.letters(t)[1]; !strings.HasPrefix(m.subject, "Vorbei: ") || m.kind != "CANCEL" {
		t.Errorf("%+v", m)
	}
}

// REL-11: a partner's server that fails is tried again under the same key; what cannot arrive is a dead letter with a reason.
func TestReceiversOfOrdersThatFail(t *testing.T) {
	w := newWorks(t, openPostbox(t, "450 greylisted"), receive(t, status(503), status(429, "Retry-After", "60"), status(200)))
	for _, wait := range []time.Duration{0, 10 * time.Second, 2 * time.Minute, time.Hour} {
		w.pass(noon.Add(wait))
	}
	w.fate("offered partner sent", "offered email sent", "offered webhook sent")
	calls := w.hook.received()
	if len(calls) != 3 || calls[0].header.Get("Webhook-Id") != calls[2].header.Get("Webhook-Id") {
		t.Errorf("%d calls", len(calls))
	}

	w = newWorks(t, openPostbox(t, "550 5.1.1 unknown", "550 5.1.1 unknown"), receive(t, status(410)))
	w.pass(noon)
	w.fate("offered partner sent", "offered email dead: email: the mail server answered 550 to the recipient", "offered webhook dead: the receiver answered 410 Gone")
	if _, ok := w.registry.Partner("demo", "north"); !ok {
		t.Error("the partner is gone")
	}

	w = newWorks(t, nil, nil) // no channel for mail here
	w.pass(noon)
	w.fate("offered partner dead: the partner has no address that works: email is not set up here; pass the order's link on, or set it up and try again")
	dead, err := w.store.DeadLetters(t.Context(), "demo", 10)
	must(t, err)
	if len(dead) != 1 || dead[0].Kind != fleet.OutboxOrder || dead[0].Ref != w.order.ID || !strings.Contains(dead[0].LastErr, "pass the order's link on") {
		t.Errorf("%+v", dead)
	}
	must(t, w.d.Accept(t.Context(), "demo", w.order.ID, "north", time.Time{}, time.Time{}, noon)) // by the link that was passed on
	w.pass(noon)
	must(t, w.d.Cancel(t.Context(), "demo", w.order.ID, "agent:eve", "the owner is away", noon.Add(time.Hour)))
	w.pass(noon.Add(time.Hour))
	if dead, err = w.store.DeadLetters(t.Context(), "demo", 10); err != nil || len(dead) != 3 {
		t.Errorf("%d dead letters: who agreed to come has to be told that nothing comes of it", len(dead))
	}
}

// SEC-17: what people and devices wrote stays text, in the mail, its calendar entry and the webhook.
func TestHostileOrder(t *testing.T) {
	evil := "x\r\nBcc: evil@example.org\r\nATTENDEE:mailto:evil@example.org <script>alert(1)</script> {{.Thing}}"
	w := newWorks(t, openPostbox(t), receive(t, status(200)), func(p *fleet.Partner) { p.Name = "<b>{{.Thing}}</b> =?utf-8?q?x?=" })
	must(t, w.d.Cancel(t.Context(), "demo", w.order.ID, "agent:eve", "", noon))
	o, err := w.d.Book(t.Context(), dispatch.Wish{Tenant: "demo", CaseID: "case-1", Part: evil, Note: evil, By: "agent:eve", At: noon})
	must(t, err)
	w.order = o
	w.pass(noon)
	m := w.box.letters(t)[0]
	if raw := w.box.mails[0]; strings.Contains(raw, "\nBcc:") || strings.Contains(raw, "<script>") {
		t.Errorf("%s", raw)
	}
	if strings.Contains(m.calendar, "\nATTENDEE") || strings.Contains(m.text, "\nBcc:") {
		t.Errorf("%s\n%s", m.text, m.calendar)
	}
	var v map[string]any
	must(t, json.Unmarshal([]byte(w.hook.received()[0].body), &v))
}

// What a partner was told is no message to the owner: the all-clear goes to none of the two for it.
func TestAPartnerIsNoReader(t *testing.T) {
	w := newWorks(t, openPostbox(t), nil)
	w.pass(noon)
	w.change(t, fleet.CaseResolved, "cleared", noon.Add(time.Hour))
	must(t, w.o.Pass(t.Context(), noon.Add(time.Hour)))
	if got := w.fates(t); !slices.Contains(got, "inbox skipped: nobody was told of the problem here") {
		t.Errorf("%v", got)
	}
	same(t, len(w.box.letters(t)), 1)
}
