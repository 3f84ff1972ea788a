package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/chart"
	"aftercare/internal/fleet"
)

const devicesPerPage = 50

type devicesPage struct {
	*view
	Rows       []deviceRow
	Total      int
	From, To   int
	Prev, Next string
	Category   string
	State      state
	Text       string
	Categories []categoryCount
	States     []state
	Filtered   bool
}

func (s *Web) deviceList(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.fleet.get(r.Context())
	if err != nil {
		return err
	}
	q := r.URL.Query()
	v := s.view(w, r, "devices")
	v.Title = v.T("nav.devices")
	p := devicesPage{view: v, Category: q.Get("category"), State: state(q.Get("state")), Text: strings.TrimSpace(q.Get("q")),
		Categories: snap.categories(v.L), States: stateOrder}
	p.Filtered = p.Category != "" || p.State != "" || p.Text != ""
	var match []*fleet.Device
	for i := range snap.devices {
		if d := &snap.devices[i]; p.wants(snap, d, s.thing(d, v)) {
			match = append(match, d)
		}
	}
	p.Total = len(match)
	page, _ := strconv.Atoi(q.Get("page"))
	page = min(max(page, 1), 1+max(0, p.Total-1)/devicesPerPage)
	from := (page - 1) * devicesPerPage
	to := min(from+devicesPerPage, p.Total)
	p.From, p.To = from+1, to
	people := s.names(r.Context())
	for _, d := range match[from:to] {
		p.Rows = append(p.Rows, s.deviceRow(v, snap, people, d))
	}
	if from > 0 {
		p.Prev = pageURL(q, page-1)
	}
	if to < p.Total {
		p.Next = pageURL(q, page+1)
	}
	return s.render(w, r, http.StatusOK, "devices", p)
}

func (p *devicesPage) wants(snap *snapshot, d *fleet.Device, thing string) bool {
	if p.Category != "" && d.Category != p.Category || p.State != "" && snap.state(d) != p.State {
		return false
	}
	if p.Text == "" {
		return true
	}
	text := strings.ToLower(p.Text)
	for _, in := range []string{thing, d.Key.Serial, d.Room, d.Model, d.Firmware, d.Batch} {
		if strings.Contains(strings.ToLower(in), text) {
			return true
		}
	}
	return false
}

func pageURL(q url.Values, page int) string {
	out := url.Values{}
	for _, k := range []string{"category", "state", "q", "kind", "show"} {
		if v := q.Get(k); v != "" {
			out.Set(k, v)
		}
	}
	out.Set("page", strconv.Itoa(page))
	return "?" + out.Encode()
}

type devicePage struct {
	*view
	Device   fleet.Device
	State    state
	Name     string
	Label    string
	Owner    string
	OwnerURL string
	Cover    string
	Parent   *link
	Tools    []link // what this base station speaks for
	Seen     time.Time
	Ranges   []rangeLink
	Charts   []figure
	Latest   []reading
	LatestAt time.Time
	NoData   bool // history does not answer
	Link     *linkRow
	Care     []careRow // what rules know of it
	Commands commandBox
	Cases    []caseRow
	Messages []messageRow
}

type link struct{ Text, URL string }

type rangeLink struct {
	Text, URL string
	Current   bool
}

// spans are the ranges a device's charts are shown over; the steps keep a line below 400 points.
var spans = []struct {
	key   string
	span  time.Duration
	every time.Duration
}{{"24h", 24 * time.Hour, 10 * time.Minute}, {"7d", 7 * 24 * time.Hour, 30 * time.Minute}, {"14d", 14 * 24 * time.Hour, time.Hour}}

// linkRow says whether the device can be reached, and since when it is so.
type linkRow struct {
	Words  string
	Online bool
	Since  time.Time
}

type reading struct {
	Label, Value string
	Unit         string
}

func (s *Web) deviceOne(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if err := s.ours(r.PathValue("tenant")); err != nil {
		return err
	}
	snap, err := s.fleet.get(ctx)
	if err != nil {
		return err
	}
	d := snap.device(r.PathValue("serial"))
	if d == nil {
		return fleet.Errorf(fleet.CodeNotFound, "no device %q", r.PathValue("serial"))
	}
	v := s.view(w, r, "devices")
	p := devicePage{view: v, Device: *d, State: snap.state(d), Name: s.thing(d, v), Label: s.label(d.Model, v.Loc.Lang),
		Seen: snap.seen[d.Key.Serial], Cover: upperFirst(v.Loc.Cover(v.Now, d.WarrantyUntil))}
	v.Title = p.Name
	if d.OwnerID != "" {
		p.Owner, p.OwnerURL = s.names(ctx).name(d.OwnerID), personURL(d.Key.Tenant, d.OwnerID)
	}
	p.family(s, snap)
	cases, err := s.deps.Cases.Cases(ctx, fleet.CaseFilter{Tenant: d.Key.Tenant, Device: d.Key.Serial, ByTime: true, Limit: 50})
	if err != nil {
		return err
	}
	sortCases(cases)
	p.Cases = s.caseRows(ctx, v, snap, cases)
	for i := range p.Cases {
		p.Cases[i].HideDevice = true
	}
	if err := p.messages(s, r, snap); err != nil {
		return err
	}
	if err := p.commands(s, r); err != nil {
		return err
	}
	if err := p.care(ctx, s); err != nil {
		return err
	}
	if l, ok := s.deps.Links.State(d.Key); ok {
		p.Link = &linkRow{v.orHuman("link.", l.Cause), l.Online, l.Since}
	}
	p.telemetry(s, r, cases)
	if p.State == chart.Silent && !snap.quiet(d, p.Seen) { // its newest reading is younger than the view of the fleet
		p.State = chart.Good
	}
	return s.render(w, r, http.StatusOK, "device", p)
}

// family links base station and tools.
func (p *devicePage) family(s *Web, snap *snapshot) {
	if p.Device.Parent != "" {
		p.Parent = &link{p.Device.Parent, ""}
		if b := snap.device(p.Device.Parent); b != nil {
			p.Parent = &link{s.thing(b, p.view), deviceURL(b.Key)}
		}
	}
	for i := range snap.devices {
		if c := &snap.devices[i]; c.Parent != "" && c.Parent == p.Device.Key.Serial {
			p.Tools = append(p.Tools, link{s.thing(c, p.view), deviceURL(c.Key)})
		}
	}
}

func (p *devicePage) messages(s *Web, r *http.Request, snap *snapshot) error {
	if p.Device.OwnerID == "" {
		return nil
	}
	inbox, err := s.deps.Mail.Inbox(r.Context(), p.Device.Key.Tenant, p.Device.OwnerID, 100)
	if err != nil {
		return err
	}
	people := s.names(r.Context())
	for _, m := range inbox {
		if m.Device == p.Device.Key && len(p.Messages) < 10 {
			p.Messages = append(p.Messages, s.messageRow(p.view, snap, people, m))
		}
	}
	return nil
}

// telemetry draws the charts and lists the last values. When history does not answer, the page says so and shows the rest.
func (p *devicePage) telemetry(s *Web, r *http.Request, cases []fleet.Case) {
	chosen := spans[0]
	for _, sp := range spans {
		if sp.key == r.URL.Query().Get("range") {
			chosen = sp
		}
	}
	for _, sp := range spans {
		p.Ranges = append(p.Ranges, rangeLink{p.T("range." + sp.key), "?range=" + sp.key, sp.key == chosen.key})
	}
	m, ok := s.deps.Models.Model(p.Device.Model)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), seriesPatience)
	defer cancel()
	last, err := s.deps.History.Latest(ctx, p.Device.Key, p.Device.Model)
	if err != nil && fleet.CodeOf(err) != fleet.CodeNotFound {
		s.log.Warn("latest reading", "device", p.Device.Key, "err", err)
		p.NoData = true
		return
	}
	p.LatestAt = last.Time
	if last.Time.After(p.Seen) {
		p.Seen = last.Time
	}
	values := map[string]fleet.Value{}
	for _, f := range last.Fields {
		values[f.Name] = f.Value
	}
	for i := range m.Fields {
		if val, ok := values[m.Fields[i].Name]; ok {
			p.Latest = append(p.Latest, reading{Label: p.fieldLabel(&m.Fields[i]), Value: p.fieldValue(val, &m.Fields[i])})
		}
	}
	for _, name := range m.Chart {
		spec := m.Field(name)
		if spec == nil {
			continue
		}
		ask := series{device: &p.Device, model: m, field: spec, from: p.Now.Add(-chosen.span), to: p.Now, every: chosen.every, cases: cases, id: "c-" + name}
		if val, ok := values[name]; ok {
			ask.last = p.fieldValue(val, spec)
		}
		f, err := s.figure(ctx, p.view, ask)
		if err != nil {
			s.log.Warn("series", "device", p.Device.Key, "field", name, "err", err)
			p.NoData = true
			return
		}
		p.Charts = append(p.Charts, f)
	}
}

func (v *view) fieldLabel(f *fleet.FieldSpec) string {
	if t := f.Label.In(v.Loc.Lang); t != "" {
		return upperFirst(t)
	}
	return upperFirst(humanise(f.Name))
}

func (v *view) fieldValue(val fleet.Value, f *fleet.FieldSpec) string {
	if f.Type == fleet.String {
		return val.Str
	}
	n, ok := val.Number()
	if !ok {
		return val.Str
	}
	if f.Type == fleet.Boolean {
		return v.Loc.YesNo(n != 0)
	}
	return v.Value(n, f.Unit)
}
