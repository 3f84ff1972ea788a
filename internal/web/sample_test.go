package web

import (
	"context"
	"fmt"
	"math"
	"sort"
	"sync"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

// sample is a small fleet as the pages' sources: inputs, written out. It is what the other parts of the program would answer on
// a Friday evening.
type sample struct {
	mu         sync.Mutex
	now        time.Time
	devices    []fleet.Device
	people     map[string]fleet.Person
	models     map[string]*fleet.Model
	cases      []fleet.Case
	audit      map[string][]fleet.Audit
	sent       []fleet.Delivery
	inbox      []fleet.Message
	aside      []fleet.Quarantined
	refusals   []fleet.Refusal
	byReason   map[string]uint64
	seen       map[string]time.Time
	historyErr error
	agentErr   error
	done       []string // what agents did
	acts       []fleet.CaseAct
	desk       deskSample
}

var friday = time.Date(2025, 11, 21, 19, 4, 0, 0, time.UTC)

func field(name string, typ fleet.FieldType, unit, en, de string) fleet.FieldSpec {
	return fleet.FieldSpec{Name: name, Type: typ, Unit: unit, Label: fleet.Words{"en": en, "de": de}}
}

func sampleModels() []fleet.Model {
	m := func(id, category, en, de string, chart []string, fields ...fleet.FieldSpec) fleet.Model {
		return fleet.Model{ID: id, Category: category, Label: fleet.Words{"en": en, "de": de}, Interval: 10 * time.Minute, Chart: chart, Fields: fields}
	}
	models := []fleet.Model{
		m("washer-w7", "washing-machine", "washing machine", "Waschmaschine", []string{"drain_s", "vibration_mm_s"},
			field("drain_s", fleet.Float, "s", "draining time", "Abpumpzeit"), field("vibration_mm_s", fleet.Float, "mm/s", "vibration when spinning", "Vibration beim Schleudern"),
			field("cycles", fleet.Integer, "1", "washes", "Waschgänge"), field("door_locked", fleet.Boolean, "1", "door locked", "Tür verriegelt")),
		m("freezer-f3", "refrigerator", "freezer", "Gefrierschrank", []string{"temp_c", "power_w"},
			field("temp_c", fleet.Float, "°C", "temperature inside", "Innentemperatur"), field("power_w", fleet.Float, "W", "power", "Leistung"), field("door_open", fleet.Boolean, "1", "door open", "Tür offen")),
		m("mower-r2", "robot-mower", "robot mower", "Mähroboter", []string{"blade_h"}, field("blade_h", fleet.Float, "h", "blade hours", "Messerstunden")),
		m("drill-d5", "cordless-drill", "cordless drill", "Akkuschrauber", []string{"cell_c"}, field("cell_c", fleet.Float, "°C", "cell temperature", "Zelltemperatur")),
		m("printer-p9", "office-printer", "office printer", "Bürodrucker", []string{"fuser_c"}, field("fuser_c", fleet.Float, "°C", "fuser temperature", "Fixiertemperatur")),
		m("charger-e1", "ev-charger", "car charger", "Wallbox", []string{"contact_c"}, field("contact_c", fleet.Float, "°C", "contact temperature", "Kontakttemperatur")),
	}
	models[0].Components = []fleet.Component{{Name: "drain-pump", Label: fleet.Words{"en": "drain pump", "de": "Ablaufpumpe"}}}
	models[0].Commands = []fleet.CommandSpec{{Name: "identify", Label: fleet.Words{"en": "identify", "de": "sich zeigen"}}, {Name: "restart", Label: fleet.Words{"en": "restart", "de": "neu starten"}, Disruptive: true}}
	models[4].FaultCodes = []fleet.FaultCode{{Code: "E18", Meaning: fleet.Words{"en": "the paper path is blocked", "de": "der Papierweg ist blockiert"},
		Cause: fleet.Words{"en": "a torn sheet behind the fuser", "de": "ein gerissenes Blatt hinter der Fixiereinheit"}, Remedy: fleet.Words{"en": "open the rear flap and pull the sheet out downwards", "de": "hintere Klappe öffnen und das Blatt nach unten herausziehen"}, Part: "fuser unit"}}
	return models
}

var sampleTexts = map[string]fleet.Texts{
	"washer-drain-slow": {"en": {What: "{{.Thing}} drains slowly.", Why: `Draining took {{value "drain_s"}} on average today; yours usually needs {{normal "drain_s"}}.`, Do: "Clean the drain filter: 10 minutes, no tool.", Clear: "{{.Thing}} drains as usual again."},
		"de": {What: "{{.Thing}} pumpt langsam ab.", Why: `Das Abpumpen dauerte heute im Mittel {{value "drain_s"}}; sonst sind es {{normal "drain_s"}}.`, Do: "Reinigen Sie das Flusensieb: 10 Minuten, ohne Werkzeug.", Clear: "{{.Thing}} pumpt wieder normal ab."}},
	"freezer-warm": {"en": {What: `{{.Thing}} is at {{value "temp_c"}} and rising.`}, "de": {What: `{{.Thing}} hat {{value "temp_c"}} und wird wärmer.`}},
	"mower-blade":  {"en": {What: "{{.Thing}} needs new blades soon."}, "de": {What: "{{.Thing}} braucht bald neue Messer."}},
	"printer-code": {"en": {What: "{{.Thing}} has a paper jam."}, "de": {What: "{{.Thing}} hat einen Papierstau."}},
	"charger-hot":  {"en": {What: "{{.Thing}} gets too hot at a contact."}, "de": {What: "{{.Thing}} wird an einem Kontakt zu heiß."}},
	"drill-warm":   {"en": {What: "{{.Thing}} charges warmer than usual."}, "de": {What: "{{.Thing}} wird beim Laden wärmer als sonst."}},
}

func newSample() *sample {
	s := &sample{now: friday, people: map[string]fleet.Person{}, models: map[string]*fleet.Model{}, audit: map[string][]fleet.Audit{},
		byReason: map[string]uint64{"credentials": 14, "foreign_topic": 3, "oversize": 1}, seen: map[string]time.Time{}}
	models := sampleModels()
	for i := range models {
		s.models[models[i].ID] = &models[i]
	}
	owners := make([]fleet.Person, 0, 36)
	owners = append(owners, []fleet.Person{
		{ID: "p-berger", Tenant: "demo", Name: "Anna Berger", Locale: "de-DE", Zone: "Europe/Berlin"},
		{ID: "p-hughes", Tenant: "demo", Name: "Tom Hughes", Locale: "en-GB", Zone: "Europe/London"},
		{ID: "p-lindqvist", Tenant: "demo", Name: "Maja Lindqvist", Locale: "en-SE", Zone: "Europe/Stockholm"},
	}...)
	for i, name := range []string{"Jonas Weber", "Priya Nair", "Luc Martin", "Eva Novak", "Sam Okoye", "Ines Costa", "Karl Ott", "Rosa Blum", "Nils Dahl", "Mia Roth", "Paul Adler", "Zoe Grant",
		"Ben Cole", "Lea Funk", "Omar Said", "Ida Lund", "Max Kern", "Ana Reyes", "Tim Vogt", "Ella Hart", "Jan Bos", "Uta Lang", "Leo Marx", "Amy Reed", "Finn Boll", "Nora Stein", "Hugo Paz", "Lisa Thal", "Erik Holm", "Gina Rossi", "Otto Haas", "Vera Klein", "Yusuf Demir"} {
		owners = append(owners, fleet.Person{ID: fmt.Sprintf("p-%02d", i), Tenant: "demo", Name: name, Locale: []string{"de-DE", "en-GB"}[i%2], Zone: "Europe/Berlin"})
	}
	for _, p := range owners {
		s.people[p.ID] = p
	}
	rooms := []string{"cellar", "kitchen", "garage", "garden", "office on the second floor", ""}
	prefix := map[string]string{"washer-w7": "WM", "freezer-f3": "FR", "mower-r2": "RM", "drill-d5": "CD", "printer-p9": "OP", "charger-e1": "EV"}
	for mi, m := range models {
		for i := range 36 {
			d := fleet.Device{Key: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("%s-%04d", prefix[m.ID], i+1)}, Model: m.ID, Category: m.Category,
				Room: rooms[(i+mi)%len(rooms)], OwnerID: owners[(i+mi*5)%len(owners)].ID, Firmware: fmt.Sprintf("1.%d.2", 3+i%2), Batch: "2024-31", Region: "DE-BY",
				InstalledAt: friday.AddDate(-1, -i%9, 0), WarrantyUntil: friday.AddDate(0, 0, 23+i*20), Seller: "Elektro Huber"}
			if m.ID == "drill-d5" && i > 0 {
				d.Parent = "CD-0001"
			}
			s.devices = append(s.devices, d)
			s.seen[d.Key.Serial] = friday.Add(-time.Duration(1+i%9) * time.Minute)
			if i == 30 || i == 31 && mi < 3 {
				s.seen[d.Key.Serial] = friday.Add(-26 * time.Hour)
			}
		}
	}
	s.device("WM-0001").OwnerID, s.device("WM-0001").Room = "p-berger", "Keller"
	s.device("FR-0002").OwnerID, s.device("EV-0005").OwnerID = "p-lindqvist", "p-hughes"
	s.device("WM-0001").Name = "Washing machine in the cellar"
	s.device("FR-0002").Name = "Freezer in the pantry"
	s.addCases()
	s.addDoors()
	s.addDesk()
	return s
}

func (s *sample) device(serial string) *fleet.Device {
	for i := range s.devices {
		if s.devices[i].Key.Serial == serial {
			return &s.devices[i]
		}
	}
	panic("no device " + serial)
}

func (s *sample) addCase(serial, rule string, kind fleet.Kind, sev fleet.Severity, since time.Duration, evs ...fleet.Evidence) *fleet.Case {
	d := s.device(serial)
	at := friday.Add(-since)
	for i := range evs {
		evs[i].At = at
	}
	id := fleet.ID("case", "demo", serial, rule)
	s.cases = append(s.cases, fleet.Case{ID: id, Version: 1, Device: d.Key, Model: d.Model, Category: d.Category, Problem: rule, Rule: rule, Kind: kind, Severity: sev,
		State: fleet.CaseNew, OpenedAt: at, UpdatedAt: at, Count: 1, Live: true, Episodes: []fleet.Episode{{FindingID: id, Rule: rule, RuleHash: "5f0c1a77b2e94d10", Severity: sev, OpenedAt: at, Evidence: evs}}})
	s.audit[id] = []fleet.Audit{{CaseID: id, At: at.Add(time.Second), Actor: "rules", Action: "opened", Detail: sev.String()}}
	return &s.cases[len(s.cases)-1]
}

func (s *sample) tell(c *fleet.Case, after time.Duration, title, body, channel, state, reason string) {
	d := s.device(c.Device.Serial)
	id := fleet.ID("msg", c.ID, channel)
	at := c.OpenedAt.Add(after)
	if channel == "inbox" && title != "" {
		s.inbox = append(s.inbox, fleet.Message{ID: id, Tenant: "demo", CaseID: c.ID, Device: c.Device, PersonID: d.OwnerID, Channel: channel, Topic: "opened", Kind: c.Kind, Severity: c.Severity, Title: title, Body: body, At: at})
	}
	s.sent = append(s.sent, fleet.Delivery{OutboxID: id, CaseID: c.ID, PersonID: d.OwnerID, Channel: channel, State: state, Reason: reason, At: at, Attempts: 1})
}

func (s *sample) addCases() {
	c := s.addCase("EV-0005", "charger-hot", fleet.KindSafety, fleet.Danger, 22*time.Minute, fleet.Evidence{Name: "contact_c", Value: 94.2, Unit: "°C", Normal: 41, HasNormal: true, Limit: 85, HasLimit: true})
	s.tell(c, 4*time.Second, "Stop charging now: a contact of the car charger is at 94 °C", "Yours usually stays at 41 °C; above 85 °C the plug can melt.\n\nEnd the charge in the car, then switch off the charger's fuse. Do not touch the plug for 30 minutes.\n\nAn electrician must look at it before you charge again. Covered until 2 April.", "inbox", "sent", "")
	s.tell(c, 4*time.Second, "", "", "ntfy", "sent", "")
	c = s.addCase("FR-0002", "freezer-warm", fleet.KindFault, fleet.Fault, 144*time.Minute, fleet.Evidence{Name: "temp_c", Value: -9.1, Unit: "°C", Normal: -18.6, HasNormal: true, Limit: -12, HasLimit: true},
		fleet.Evidence{Name: `avg(power_w, "24h")`, Value: 132, Unit: "W", Normal: 61, HasNormal: true})
	s.tell(c, 6*time.Second, "The freezer is at -9 °C and rising since 16:40. The door seems open.", "It usually stays at -19 °C.\n\nFood begins to thaw in about two hours.\n\nClose the door firmly: one minute. If it does not cool by 21:00, move the food.", "inbox", "sent", "")
	s.tell(c, 6*time.Second, "", "", "webhook", "dead", "the address answers 410 Gone since 18 November")
	c = s.addCase("WM-0001", "washer-drain-slow", fleet.KindMaintenance, fleet.Due, 27*time.Hour, fleet.Evidence{Name: `avg(drain_s, "24h")`, Value: 94, Unit: "s", Normal: 55, HasNormal: true, Limit: 77, HasLimit: true},
		fleet.Evidence{Name: "drain_s", Value: 94, Unit: "s", Normal: 55, HasNormal: true})
	s.tell(c, 5*time.Second, "Die Waschmaschine im Keller pumpt langsam ab", "Das Abpumpen dauerte heute 94 s; sonst sind es 55 s.\n\nBei den meisten Maschinen steht die Pumpe dann nach etwa zwei Wochen.\n\nReinigen Sie das Flusensieb: 10 Minuten, ohne Werkzeug.\n\nFalls jemand kommen muss: gedeckt bis 14. Dezember, 23 Tage.", "inbox", "sent", "")
	c.State, c.Assignee, c.Count = fleet.CaseAcked, "agent:desk", 2
	s.audit[c.ID] = append(s.audit[c.ID], fleet.Audit{CaseID: c.ID, At: friday.Add(-3 * time.Hour), Actor: "agent:desk", Action: "acknowledged"},
		fleet.Audit{CaseID: c.ID, At: friday.Add(-2 * time.Hour), Actor: "agent:desk", Action: "comment", Detail: "Called; the owner cleans the filter tonight."})
	c = s.addCase("OP-0003", "printer-code", fleet.KindFault, fleet.Fault, 5*time.Hour, fleet.Evidence{Name: "code", Text: "E18"})
	s.tell(c, 3*time.Second, "The office printer has a paper jam", "It reported E18 at 14:04: the paper path is blocked.\n\nOpen the rear flap and pull the sheet out downwards: 2 minutes.", "inbox", "sent", "")
	c = s.addCase("RM-0004", "mower-blade", fleet.KindMaintenance, fleet.Watch, 3*24*time.Hour, fleet.Evidence{Name: "blade_h", Value: 112, Unit: "h", Limit: 120, HasLimit: true})
	s.tell(c, 5*time.Second, "", "", "inbox", "held", "quiet hours until 07:00")
	s.addCase("CD-0007", "drill-warm", fleet.KindUsage, fleet.Watch, 9*time.Hour, fleet.Evidence{Name: "cell_c", Value: 47, Unit: "°C", Normal: 38, HasNormal: true})
	c = s.addCase("WM-0001", "washer-vibrates", fleet.KindMaintenance, fleet.Watch, 9*24*time.Hour, fleet.Evidence{Name: "vibration_mm_s", Value: 12.1, Unit: "mm/s", Limit: 11, HasLimit: true})
	c.State, c.ClosedAt, c.Outcome, c.UpdatedAt = fleet.CaseResolved, friday.Add(-8*24*time.Hour), "cleared", friday.Add(-8*24*time.Hour)
	c.Episodes[0].ClearedAt = c.ClosedAt
	s.audit[c.ID] = append(s.audit[c.ID], fleet.Audit{CaseID: c.ID, At: c.ClosedAt, Actor: "rules", Action: "cleared"})
	sort.SliceStable(s.inbox, func(i, j int) bool { return s.inbox[i].At.After(s.inbox[j].At) })
}

func (s *sample) addDoors() {
	q := func(ago time.Duration, serial, model, reason, detail, payload string) {
		s.aside = append(s.aside, fleet.Quarantined{At: friday.Add(-ago), Device: fleet.DeviceKey{Tenant: "demo", Serial: serial}, Model: model,
			Topic: "devices/demo/" + model + "/" + serial + "/telemetry", Reason: reason, Detail: detail, Payload: []byte(payload)})
	}
	q(40*time.Minute, "FR-0009", "freezer-f3", "range", `"temp_c" is 412 °C: possible is -60 to 60`, `{"ts":1763751600000,"boot":4,"seq":1822,"temp_c":412,"power_w":61.5,"door_open":false}`)
	q(95*time.Minute, "WM-0012", "washer-w7", "syntax", "at byte 17: the text ends inside a string", `{"ts":1763748300,"drai`)
	q(3*time.Hour, "CD-0020", "drill-d5", "wrong_model", "the registry says the device is a printer-p9", "\x00\x01\xfe\xffBIN\x10")
	s.refusals = []fleet.Refusal{{At: friday.Add(-3 * time.Minute), Door: "gateway", Source: "127.0.0.1:50412", Reason: "credentials"},
		{At: friday.Add(-50 * time.Minute), Door: "gateway", Source: "demo/WM-0007", Topic: "devices/demo/washer-w7/WM-0008/telemetry", Reason: "foreign_topic"}}
}

// arrive adds a message to Anna Berger's inbox and returns the notice that the feed would carry.
func (s *sample) arrive(id, title string) fleet.Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cases[2]
	m := fleet.Message{ID: id, Tenant: "demo", CaseID: c.ID, Device: c.Device, PersonID: s.device(c.Device.Serial).OwnerID, Channel: "inbox", Topic: "opened", Severity: fleet.Due, Title: title, Body: "Nothing to do.", At: s.now}
	s.inbox = append([]fleet.Message{m}, s.inbox...)
	return fleet.Notice{ID: id, Type: "message", Device: c.Device, CaseID: c.ID, Action: "sent", PersonID: m.PersonID, At: s.now}
}

func (s *sample) Cases(_ context.Context, f fleet.CaseFilter) ([]fleet.Case, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []fleet.Case
	for _, c := range s.cases {
		state := len(f.States) == 0
		for _, st := range f.States {
			state = state || c.State == st
		}
		if state && c.Device.Tenant == f.Tenant && (f.Device == "" || f.Device == c.Device.Serial) && (f.Kind == "" || f.Kind == c.Kind) {
			out = append(out, c)
		}
	}
	sortCases(out)
	return out, nil
}

func (s *sample) Case(_ context.Context, tenant, id string) (*fleet.Case, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.cases {
		if c.ID == id && c.Device.Tenant == tenant {
			return &c, nil
		}
	}
	return nil, fleet.Errorf(fleet.CodeNotFound, "no case %q", id)
}

func (s *sample) CaseAudit(_ context.Context, _, id string) ([]fleet.Audit, error) {
	return s.audit[id], nil
}

func (s *sample) CaseDeliveries(_ context.Context, _, id string) ([]fleet.Delivery, error) {
	var out []fleet.Delivery
	for _, d := range s.sent {
		if d.CaseID == id {
			out = append(out, d)
		}
	}
	return out, nil
}

func (s *sample) Devices(_ context.Context, f fleet.DeviceFilter) ([]fleet.Device, int, error) {
	return append([]fleet.Device(nil), s.devices...), len(s.devices), nil
}

func (s *sample) Person(_ context.Context, _, id string) (*fleet.Person, error) {
	if p, ok := s.people[id]; ok {
		return &p, nil
	}
	return nil, fleet.Errorf(fleet.CodeNotFound, "no person %q", id)
}

func (s *sample) Model(id string) (*fleet.Model, bool) { m, ok := s.models[id]; return m, ok }

func (s *sample) Inbox(_ context.Context, _, person string, limit int) ([]fleet.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []fleet.Message
	for _, m := range s.inbox {
		if m.PersonID == person && len(out) < limit {
			out = append(out, m)
		}
	}
	return out, nil
}

func (s *sample) RecentMessages(_ context.Context, _ string, limit int) ([]fleet.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]fleet.Message(nil), s.inbox[:min(limit, len(s.inbox))]...), nil
}

func (s *sample) RecentDeliveries(context.Context, string, int) ([]fleet.Delivery, error) {
	return s.sent, nil
}

// Series is a plausible past: a daily rhythm, some noise, a rise where a case is open, a night without link.
func (s *sample) Series(_ context.Context, key fleet.DeviceKey, _, field string, from, to time.Time, every time.Duration) ([]fleet.Point, error) {
	if s.historyErr != nil {
		return nil, s.historyErr
	}
	base := map[string][2]float64{"drain_s": {55, 4}, "vibration_mm_s": {7, 1.6}, "temp_c": {-18.5, 0.7}, "power_w": {61, 14}, "blade_h": {100, 1}, "cell_c": {36, 3}, "fuser_c": {181, 6}, "contact_c": {40, 4}}[field]
	rise := map[string]float64{"drain_s": 38, "temp_c": 9.6, "power_w": 70, "contact_c": 52, "blade_h": 9}[field]
	var out []fleet.Point
	for at := from.Truncate(every); at.Before(to); at = at.Add(every) {
		h := at.Sub(friday).Hours()
		if h > -44 && h < -37 && key.Serial == "WM-0001" {
			continue
		}
		x := float64(at.Unix()) / 3600
		v := base[0] + base[1]*(0.6*math.Sin(x*2*math.Pi/24)+0.4*math.Sin(x*2.7)*math.Sin(x*1.3))
		for _, c := range s.cases {
			if c.Device == key && c.State != fleet.CaseResolved {
				v += rise * 0.85 / (1 + math.Exp(-(at.Sub(c.OpenedAt).Hours()+3)*6/math.Max(1, friday.Sub(c.OpenedAt).Hours())))
			}
		}
		out = append(out, fleet.Point{At: at, Value: v})
	}
	return out, nil
}

func (s *sample) Latest(ctx context.Context, key fleet.DeviceKey, model string) (fleet.Reading, error) {
	if s.historyErr != nil {
		return fleet.Reading{}, s.historyErr
	}
	r := fleet.Reading{Device: key, Model: model, Time: s.seen[key.Serial]}
	for _, f := range s.models[model].Fields {
		v := fleet.Value{Type: f.Type, Int: 812}
		if f.Type == fleet.Boolean {
			v.Int = 1
		}
		if f.Type == fleet.Float {
			if pts, err := s.Series(ctx, key, model, f.Name, friday.Add(-time.Hour), friday, 10*time.Minute); err == nil && len(pts) > 0 {
				v.Float = pts[len(pts)-1].Value
			}
		}
		r.Fields = append(r.Fields, fleet.Field{Name: f.Name, Value: v})
	}
	return r, nil
}

func (s *sample) LastSeen(context.Context, string, []string) (map[string]time.Time, error) {
	return s.seen, s.historyErr
}

func (s *sample) Quarantined(_ context.Context, f fleet.QuarantineFilter) ([]fleet.Quarantined, error) {
	var out []fleet.Quarantined
	for _, q := range s.aside {
		if (f.Reason == "" || q.Reason == f.Reason) && (f.Model == "" || q.Model == f.Model) && (f.Before == 0 || q.Seq < f.Before) && len(out) < f.Limit {
			out = append(out, q)
		}
	}
	return out, nil
}

func (s *sample) Reingest(_ context.Context, f fleet.QuarantineFilter) (fleet.Reingest, error) {
	s.done = append(s.done, "again "+f.Tenant+" "+f.Model+" "+f.Reason)
	return fleet.Reingest{Tried: 3, Stored: 2, StillBad: 1}, s.agentErr
}

func (s *sample) Quality(context.Context, string, string, time.Time) ([]fleet.Quality, error) {
	row := func(firmware, reason, field string, n int64, example string) fleet.Quality {
		return fleet.Quality{Tenant: "demo", Model: "washer-w7", Firmware: firmware, Day: friday, Reason: reason, Field: field, N: n, Example: example, LastAt: friday}
	}
	return []fleet.Quality{row("2.0.1", "", "", 40_000, ""), row("2.1.0", "", "", 800, ""), row("2.1.0", "range", "drain_s", 37, `"drain_s" is 9000 s: possible is 0 to 900`),
		row("2.1.0", fleet.QualityUnknownKept, "drum_rpm", 800, "")}, nil
}

func (s *sample) SendCommand(_ context.Context, c fleet.Command) (fleet.Command, error) {
	s.done = append(s.done, "command "+c.Device.Serial+" "+c.Name+" "+c.By)
	return c, s.agentErr
}

func (s *sample) Commands(_ context.Context, f fleet.CommandFilter) ([]fleet.Command, error) {
	if f.Device != "WM-0001" {
		return nil, nil
	}
	return []fleet.Command{{ID: "cmd-2", Name: "restart", State: fleet.CommandNotNow, Reason: "a wash is running", CreatedAt: friday.Add(-time.Hour), SentAt: friday.Add(-time.Minute), By: "agent:desk"},
		{ID: "cmd-1", Name: "identify", State: fleet.CommandDone, CreatedAt: friday.Add(-2 * time.Hour), AnsweredAt: friday.Add(-2*time.Hour + time.Second), By: "agent:desk"}}, nil
}

func (s *sample) State(key fleet.DeviceKey) (fleet.Link, bool) {
	if key.Serial != "WM-0001" {
		return fleet.Link{}, false
	}
	return fleet.Link{Online: true, Cause: fleet.CauseConnected, Since: friday.Add(-26 * time.Hour)}, true
}

func (s *sample) Refusals() ([]fleet.Refusal, map[string]uint64) { return s.refusals, s.byReason }

func (s *sample) Pulse() Pulse {
	return Pulse{PerMinute: 21.6, LastReading: s.now.Add(-4 * time.Second)}
}

func (s *sample) renderer() *words.Renderer {
	models := make([]fleet.Model, 0, len(s.models))
	for _, m := range s.models {
		models = append(models, *m)
	}
	return words.New(models, func(rule string) fleet.Texts { return sampleTexts[rule] })
}
