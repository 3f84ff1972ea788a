package owner

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/seal"
)

const tenant = "demo"

var (
	testKey = bytes.Repeat([]byte("k"), 32)
	sampled = time.Date(2026, 11, 23, 18, 40, 0, 0, time.UTC)
)

// world is everything behind the pages, in memory.
type world struct {
	mu        sync.Mutex
	now       time.Time
	people    map[string]fleet.Person
	devices   map[string]fleet.Device
	away      map[string]time.Time
	codes     map[string]string // code: serial
	sessions  map[string]fleet.Session
	consents  []fleet.Consent
	messages  []fleet.Message
	cases     map[string]fleet.Case
	answers   []fleet.Answer
	receipts  []string
	tried     []fleet.Message
	tryError  error
	pushKey   string
	heard     map[string]fleet.Link
	answerErr error
	used      map[string]bool
}

func newWorld() *world {
	since := sampled.AddDate(0, -3, 0)
	w := &world{now: sampled, people: map[string]fleet.Person{}, devices: map[string]fleet.Device{}, away: map[string]time.Time{}, codes: map[string]string{},
		sessions: map[string]fleet.Session{}, cases: map[string]fleet.Case{}, heard: map[string]fleet.Link{}, used: map[string]bool{}}
	w.people["anna"] = fleet.Person{ID: "anna", Tenant: tenant, Name: "Anna Berger", Locale: "de-DE", Zone: "Europe/Berlin", Household: "h1",
		Endpoints: []fleet.Endpoint{{Channel: "email", Address: "anna@example.org"}}}
	w.people["ben"] = fleet.Person{ID: "ben", Tenant: tenant, Name: "Ben Ode", Locale: "en-GB", Zone: "Europe/London"}
	w.people["cara"] = fleet.Person{ID: "cara", Tenant: tenant, Name: "Cara Berger", Locale: "de-DE", Zone: "Europe/Berlin", Household: "h1"}
	add := func(serial, model, name, room, owner string) {
		w.devices[serial] = fleet.Device{Key: fleet.DeviceKey{Tenant: tenant, Serial: serial}, Model: model, Name: name, Room: room, OwnerID: owner, OwnedSince: since,
			Region: "DE", WarrantyUntil: sampled.AddDate(0, 0, 23)}
		w.heard[serial] = fleet.Link{Online: true, Heard: sampled.Add(-2 * time.Minute)}
	}
	add("WM-1", "washer", "Waschmaschine im Keller", "Keller", "anna")
	add("FR-1", "freezer", "", "Vorratsraum", "anna")
	add("HP-1", "washer", "Die alte Maschine", "Garage", "anna")
	add("BEN-1", "washer", "Bens Maschine", "", "ben")
	add("NEW-1", "freezer", "", "", "")
	w.heard["HP-1"] = fleet.Link{Heard: sampled.Add(-50 * time.Hour)}
	w.codes["ABCDEFGHJK"] = "NEW-1"
	w.cases["c-drain"] = fleet.Case{ID: "c-drain", Device: w.devices["WM-1"].Key, Kind: fleet.KindFault, Severity: fleet.Due, State: fleet.CaseNew, UpdatedAt: sampled.Add(-3 * time.Hour)}
	w.cases["c-warm"] = fleet.Case{ID: "c-warm", Device: w.devices["FR-1"].Key, Kind: fleet.KindSafety, Severity: fleet.Danger, State: fleet.CaseNew, UpdatedAt: sampled.Add(-time.Hour)}
	w.messages = sampleMessages(w)
	return w
}

func sampleMessages(w *world) []fleet.Message {
	return []fleet.Message{
		{ID: "m-warm", Tenant: tenant, CaseID: "c-warm", Device: w.devices["FR-1"].Key, PersonID: "anna", Channel: "inbox", Topic: fleet.EventOpened, Subject: fleet.TopicSafety,
			Kind: fleet.KindSafety, Severity: fleet.Danger, Locale: "de", Title: "Der Gefrierschrank im Vorratsraum ist bei -9 °C und wird wärmer",
			Body: "Seit 16:40 steigt die Temperatur; sonst sind es -18 °C.\n\nIn etwa fünf Stunden taut das Gefriergut.\n\nSchließen Sie die Tür: eine Minute. Steigt es weiter, räumen Sie um.",
			Do:   "Schließen Sie die Tür: eine Minute.", At: sampled.Add(-time.Hour), Rule: "freezer-warm", Evidence: []fleet.Evidence{{Name: "temp_c", Value: -9, Unit: "°C", At: sampled.Add(-time.Hour), Normal: -18, HasNormal: true, Limit: -12, HasLimit: true}}},
		{ID: "m-drain", Tenant: tenant, CaseID: "c-drain", Device: w.devices["WM-1"].Key, PersonID: "anna", Channel: "inbox", Topic: fleet.EventOpened, Subject: fleet.TopicFault,
			Kind: fleet.KindFault, Severity: fleet.Due, Locale: "de", Title: "Die Waschmaschine im Keller pumpt langsam ab",
			Body: "Das Abpumpen dauerte bei den letzten drei Wäschen 94 s; Ihre braucht sonst 55 s.\n\nBei den meisten Maschinen bleibt die Pumpe binnen zwei Wochen stehen.\n\nReinigen Sie das Flusensieb: 10 Minuten, ohne Werkzeug.\n\nGedeckt bis 16. Dezember, 23 Tage.",
			Do:   "Reinigen Sie das Flusensieb: 10 Minuten, ohne Werkzeug.", At: sampled.Add(-3 * time.Hour), Rule: "washer-drain-slow", RuleHash: "abc", Evidence: []fleet.Evidence{{Name: "mean(drain_s, 3)", Value: 94, Unit: "s", At: sampled.Add(-3 * time.Hour), Normal: 55, HasNormal: true}}},
		{ID: "m-before", Tenant: tenant, Device: w.devices["WM-1"].Key, PersonID: "anna", Channel: "inbox", Topic: fleet.EventOpened, Kind: fleet.KindFault, Severity: fleet.Fault,
			Title: "Vom Leben davor", At: sampled.AddDate(-1, 0, 0)},
		{ID: "m-ben", Tenant: tenant, Device: w.devices["BEN-1"].Key, PersonID: "ben", Channel: "inbox", Topic: fleet.EventOpened, Subject: fleet.TopicFault, Kind: fleet.KindFault, Severity: fleet.Fault,
			Title: "Bens Geheimnis", At: sampled.Add(-time.Hour)},
	}
}

func (w *world) Person(_, id string) (*fleet.Person, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.people[id]
	return &p, ok
}

func (w *world) Household(_, id string) (h fleet.Household, _ bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.people {
		if p.Household == id || p.ID == id {
			h.Members = append(h.Members, p)
		}
	}
	slices.SortFunc(h.Members, func(a, b fleet.Person) int { return strings.Compare(a.ID, b.ID) })
	return h, len(h.Members) > 0
}

func (w *world) edit(id string, f func(*fleet.Person)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.people[id]
	if !ok {
		return fleet.Errorf(fleet.CodeNotFound, "no person")
	}
	p.Endpoints, p.Preferences = slices.Clone(p.Endpoints), slices.Clone(p.Preferences)
	f(&p)
	w.people[id] = p
	return nil
}

func (w *world) SetProfile(_ context.Context, n fleet.Person) error {
	return w.edit(n.ID, func(p *fleet.Person) {
		p.Name, p.Locale, p.Zone, p.DigestDay, p.DigestHour = n.Name, n.Locale, n.Zone, n.DigestDay, n.DigestHour
	})
}

func (w *world) SetPreferences(_ context.Context, _, id string, wishes ...fleet.Preference) error {
	return w.edit(id, func(p *fleet.Person) {
		for _, x := range wishes {
			p.Preferences = slices.DeleteFunc(p.Preferences, func(h fleet.Preference) bool { return h.Topic == x.Topic && h.Channel == x.Channel })
			if x.Want != "" {
				p.Preferences = append(p.Preferences, x)
			}
		}
	})
}

func (w *world) AddEndpoint(_ context.Context, _, id string, e fleet.Endpoint) error {
	return w.edit(id, func(p *fleet.Person) { p.Endpoints = append(p.Endpoints, e) })
}

func (w *world) RemoveEndpoint(_ context.Context, _, id, channel, address string) error {
	return w.edit(id, func(p *fleet.Person) {
		p.Endpoints = slices.DeleteFunc(p.Endpoints, func(e fleet.Endpoint) bool { return e.Channel == channel && e.Address == address })
	})
}

func (w *world) PreferEndpoint(_ context.Context, _, id, channel, address string) error {
	return w.edit(id, func(p *fleet.Person) {
		slices.SortStableFunc(p.Endpoints, func(a, b fleet.Endpoint) int {
			is := func(e fleet.Endpoint) int {
				if e.Channel == channel && e.Address == address {
					return 0
				}
				return 1
			}
			return is(a) - is(b)
		})
	})
}

func (w *world) SetHousehold(_ context.Context, _, id, household string, rank int) error {
	return w.edit(id, func(p *fleet.Person) { p.Household, p.Rank = household, rank })
}

func (w *world) NewMember(_ context.Context, p fleet.Person) (fleet.Person, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.ID = "new-" + itoa(len(w.people))
	w.people[p.ID] = p
	return p, nil
}

func (w *world) UseLink(_ context.Context, _, id string, _ time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.used[id] {
		return fleet.Errorf(fleet.CodeDenied, "used")
	}
	w.used[id] = true
	return nil
}

func (w *world) Consents(_ context.Context, _, id string) (out []fleet.Consent, _ error) {
	for _, c := range w.consents {
		if c.PersonID == id {
			out = append(out, c)
		}
	}
	return out, nil
}

func (w *world) GiveConsent(_ context.Context, _, id string, p fleet.Purpose, text, source string) error {
	w.consents = append(w.consents, fleet.Consent{PersonID: id, Purpose: p, Text: text, Source: source, GivenAt: w.now})
	return nil
}

func (w *world) WithdrawConsent(_ context.Context, _, id string, p fleet.Purpose) error {
	for i := range w.consents {
		if c := &w.consents[i]; c.PersonID == id && c.Purpose == p && c.WithdrawnAt.IsZero() {
			c.WithdrawnAt = w.now
		}
	}
	return nil
}

func (w *world) ClaimAs(_ context.Context, typed string, p fleet.Person) (string, fleet.DeviceKey, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	code := strings.ReplaceAll(strings.ToUpper(typed), "-", "")
	if len(code) != 10 {
		return "", fleet.DeviceKey{}, fleet.Errorf(fleet.CodeInvalid, "typing mistake")
	}
	serial, ok := w.codes[code]
	if !ok {
		return "", fleet.DeviceKey{}, fleet.Errorf(fleet.CodeNotFound, "no such code")
	}
	if p.ID == "" {
		p.ID = "new-" + itoa(len(w.people))
		w.people[p.ID] = p
	}
	d := w.devices[serial]
	d.OwnerID, d.OwnedSince = p.ID, w.now
	w.devices[serial] = d
	delete(w.codes, code)
	return p.ID, d.Key, nil
}

func (w *world) TransferCode(_ context.Context, key fleet.DeviceKey, _ time.Time) (string, error) {
	w.codes["QRSTVWXYZ0"] = key.Serial
	return "QRSTV-WXYZ0", nil
}

func (w *world) OpenSession(ctx context.Context, tenant, person, agent string, ttl time.Duration) (string, error) {
	return w.OpenSessionByLink(ctx, tenant, person, agent, ttl, "", time.Time{})
}

func (w *world) OpenSessionByLink(_ context.Context, tenant, person, agent string, ttl time.Duration, link string, _ time.Time) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, used := w.sessions["session-"+link]; used && link != "" {
		return "", fleet.Errorf(fleet.CodeDenied, "used")
	}
	if link == "" {
		link = itoa(len(w.sessions))
	}
	s := fleet.Session{ID: "session-" + link, Tenant: tenant, PersonID: person, Hash: []byte("token-" + link), Agent: agent, CreatedAt: w.now, UsedAt: w.now, ExpiresAt: w.now.Add(ttl)}
	w.sessions[s.ID] = s
	return string(s.Hash), nil
}

func (w *world) UseSession(_ context.Context, token string) (*fleet.Session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sessions {
		if string(s.Hash) == token && s.RevokedAt.IsZero() && s.ExpiresAt.After(w.now) {
			return &s, nil
		}
	}
	return nil, fleet.Errorf(fleet.CodeDenied, "no session")
}

func (w *world) Sessions(_ context.Context, _, person string) (out []fleet.Session, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sessions {
		if s.PersonID == person {
			out = append(out, s)
		}
	}
	return out, nil
}

func (w *world) RevokeSession(_ context.Context, _, person, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, s := range w.sessions {
		if s.PersonID == person && (id == "" || id == k) {
			s.RevokedAt = w.now
			w.sessions[k] = s
		}
	}
	return nil
}

func (w *world) Device(key fleet.DeviceKey) (*fleet.Device, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, ok := w.devices[key.Serial]
	return &d, ok
}

func (w *world) DevicesOf(_, person string) (out []*fleet.Device) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.devices {
		if d.OwnerID == person {
			out = append(out, &d)
		}
	}
	slices.SortFunc(out, func(a, b *fleet.Device) int { return strings.Compare(a.Key.Serial, b.Key.Serial) })
	return out
}

func (w *world) Cover(*fleet.Device, time.Time, *fleet.Case) fleet.Cover { return fleet.Cover{} }

func (w *world) PutAway(_ context.Context, key fleet.DeviceKey) (time.Time, bool, error) {
	at, ok := w.away[key.Serial]
	return at, ok, nil
}

func (w *world) NameDevice(_ context.Context, key fleet.DeviceKey, name, room string) error {
	d := w.devices[key.Serial]
	d.Name, d.Room = name, room
	w.devices[key.Serial] = d
	return nil
}

func (w *world) SetAway(_ context.Context, key fleet.DeviceKey, away bool) error {
	delete(w.away, key.Serial)
	if away {
		w.away[key.Serial] = w.now
	}
	return nil
}

func (w *world) Model(id string) (*fleet.Model, bool) {
	label := map[string]fleet.Words{"washer": {"en": "washing machine", "de": "Waschmaschine"}, "freezer": {"en": "freezer", "de": "Gefrierschrank"}}[id]
	return &fleet.Model{ID: id, Label: label, Interval: time.Hour, Chart: []string{"temp_c"}, Fields: []fleet.FieldSpec{
		{Name: "temp_c", Type: fleet.Float, Unit: "°C", Label: fleet.Words{"en": "temperature", "de": "Temperatur"}},
		{Name: "drain_s", Type: fleet.Float, Unit: "s", Label: fleet.Words{"en": "draining time", "de": "Abpumpzeit"}}}}, label != nil
}

func (w *world) State(key fleet.DeviceKey) (fleet.Link, bool) {
	l, ok := w.heard[key.Serial]
	return l, ok
}

func (w *world) Cases(_ context.Context, f fleet.CaseFilter) (out []fleet.Case, _ error) {
	for _, c := range w.cases {
		if c.Device.Serial == f.Device && slices.Contains(f.States, c.State) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b fleet.Case) int { return cmp.Compare(b.Severity, a.Severity) })
	return out, nil
}

func (w *world) Case(_ context.Context, _, id string) (*fleet.Case, error) {
	if c, ok := w.cases[id]; ok {
		return &c, nil
	}
	return nil, fleet.Errorf(fleet.CodeNotFound, "no case")
}

func (w *world) Inbox(_ context.Context, _, person string, _ int) (out []fleet.Message, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.messages {
		if m.PersonID == person {
			out = append(out, m)
		}
	}
	return out, nil
}

func (w *world) Message(_ context.Context, _, person, id string) (*fleet.Message, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.messages {
		if m.ID == id && m.PersonID == person {
			return &m, nil
		}
	}
	return nil, fleet.Errorf(fleet.CodeNotFound, "no message")
}

func (w *world) AnswersTo(_ context.Context, _, _, id string) (out []fleet.Answer, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.answers {
		if a.MessageID == id {
			out = append(out, a)
		}
	}
	return out, nil
}

func (w *world) MarkRead(_ context.Context, _, _, id string, at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.messages {
		if w.messages[i].ID == id && w.messages[i].ReadAt.IsZero() {
			w.messages[i].ReadAt = at
		}
	}
	return nil
}

func (w *world) MarkDelivery(_ context.Context, _, id, what string, _ time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.receipts = append(w.receipts, id+" "+what)
	return nil
}

func (w *world) Answer(_ context.Context, a fleet.Answer) error {
	if w.answerErr != nil {
		return w.answerErr
	}
	if a.Verdict == fleet.VerdictStop {
		_ = w.SetPreferences(context.Background(), a.Tenant, a.PersonID, fleet.Preference{Topic: a.Topic, Channel: "inbox", Want: fleet.WantNever})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, have := range w.answers {
		if have.MessageID == a.MessageID && have.Verdict == a.Verdict {
			return nil
		}
	}
	w.answers = append(w.answers, a)
	return nil
}

func (w *world) Series(_ context.Context, _ fleet.DeviceKey, _, _ string, from, to time.Time, every time.Duration) (out []fleet.Point, _ error) {
	for at := from; at.Before(to); at = at.Add(every) {
		out = append(out, fleet.Point{At: at, Value: -18 + math.Sin(at.Sub(from).Hours()/4)})
	}
	return out, nil
}

func (w *world) Key() string { return w.pushKey }

func (w *world) Accepts(endpoint string) error {
	if strings.Contains(endpoint, "internal") || !strings.HasPrefix(endpoint, "https://") && !strings.HasPrefix(endpoint, "http://127.0.0.1:") {
		return fleet.Errorf(fleet.CodeInvalid, "not a push service")
	}
	return nil
}

func (w *world) Try(_ context.Context, m fleet.Message, _ fleet.Endpoint) error {
	w.tried = append(w.tried, m)
	return w.tryError
}

// fixture is the pages over a world, with a browser that keeps cookies and sends what browsers send.
type fixture struct {
	*world
	t    *testing.T
	site *Site
	srv  *httptest.Server
	http *http.Client
	seal *seal.Seal
	from string // X-Forwarded-For of the browser
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{world: newWorld(), t: t, seal: seal.New(testKey)}
	f.pushKey = "BEl62iUYgUivxIkv69yViEuiBIa-Ib9-SkvMeAtA3LFgDzkrxZJjSgSnfckjBJuBkr3qBUYIHBQFLXYp5Nksh8U"
	cfg := DefaultConfig()
	cfg.Proxy = []string{"127.0.0.1", "::1"}
	cfg.Contact = "0800 123456"
	f.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.site.ServeHTTP(w, r) }))
	t.Cleanup(f.srv.Close)
	w := f.world
	site, err := New(cfg, f.srv.URL, Deps{People: w, Wishes: w, Consents: w, Homes: w, Email: true, Claims: w, Sessions: w, Things: w, Keeper: w, Models: w, Links: w, Cases: w, Mail: w,
		Receipts: w, Answers: w, History: w, Push: w, Tester: w, Tenant: tenant, Key: testKey, Log: obs.Discard(), Registerer: prometheus.NewRegistry(), Now: func() time.Time { return f.now }})
	if err != nil {
		t.Fatal(err)
	}
	f.site = site
	f.http = f.browser()
	return f
}

func (f *fixture) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// answer is what a test looks at; the body has been read.
type answer struct {
	StatusCode int
	Header     http.Header
	cookies    []*http.Cookie
}

func (a *answer) Cookies() []*http.Cookie { return a.cookies }

func (f *fixture) do(method, path string, form url.Values, header ...string) (*answer, string) {
	f.t.Helper()
	body := strings.NewReader("")
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.srv.URL+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", f.srv.URL)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	r.Header.Set("Accept-Language", "en-GB")
	r.Header.Set("User-Agent", "Mozilla/5.0 (Linux; Android 15) Chrome/130 Mobile Safari/537.36")
	if f.from != "" {
		r.Header.Set("X-Forwarded-For", f.from)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Del(header[i])
		if header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	res, err := f.http.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	_, _ = b.ReadFrom(res.Body)
	return &answer{res.StatusCode, res.Header, res.Cookies()}, b.String()
}

func (f *fixture) get(path string) (*answer, string) {
	f.t.Helper()
	return f.do("GET", path, nil)
}

var formField = regexp.MustCompile(`name="form" value="([^"]+)"`)

// post loads the page of a form for its token and sends it.
func (f *fixture) post(page, action string, fields ...string) (*answer, string) {
	f.t.Helper()
	_, body := f.get(page)
	m := formField.FindStringSubmatch(body)
	if m == nil {
		f.t.Fatalf("no form on %s:\n%s", page, body)
	}
	form := url.Values{"form": {m[1]}}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return f.do("POST", action, form)
}

func (f *fixture) link(purpose, subject, person string, expires time.Time) string {
	return f.seal.Sign(seal.Claim{Purpose: purpose, Tenant: tenant, Subject: subject, Person: person, Expires: expires})
}

// signIn signs the browser in.
func (f *fixture) signIn(person string) {
	f.t.Helper()
	path := strings.TrimPrefix(LoginLink(f.seal, f.srv.URL, tenant, person, f.now.Add(time.Hour)), f.srv.URL)
	if res, body := f.post(path, path); res.StatusCode != http.StatusSeeOther {
		f.t.Fatalf("signing in answers %d:\n%s", res.StatusCode, body)
	}
}
