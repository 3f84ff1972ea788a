package owner

import (
	"bytes"
	"context"
	"html/template"
	"net/http"
	"time"

	"aftercare/internal/chart"
	"aftercare/internal/fleet"
)

type thingData struct {
	*visit
	Row     thingRow
	Serial  string
	Name    string // as the owner wrote it
	Room    string
	What    string // what it is: the model's label
	New     bool   // just claimed
	Figure  *figure
	Letters []letterRow
	Cover   string
	Away    bool
	AwayAt  time.Time
	Saved   bool
}

// thing is one of the person's things.
func (s *Site) thing(v *visit) error {
	ctx := v.r.Context()
	d, err := s.ownDevice(v)
	if err != nil {
		return err
	}
	p := thingData{visit: v, Serial: d.Key.Serial, Name: d.Name, Room: d.Room, New: v.r.URL.Query().Has("new"), Saved: v.r.URL.Query().Has("saved")}
	v.Nav = "me"
	if p.Row, err = s.thingRow(ctx, v, d); err != nil {
		return err
	}
	v.Title = p.Row.Name
	if p.Letters, err = s.letters(ctx, v, d.Key.Serial); err != nil {
		return err
	}
	if p.AwayAt, p.Away, err = s.deps.Things.PutAway(ctx, d.Key); err != nil {
		return err
	}
	if m, ok := s.deps.Models.Model(d.Model); ok {
		p.What = m.Label.In(v.Loc.Lang)
		p.Figure = s.figure(ctx, v, d, m)
	}
	p.Cover = s.cover(v, d, nil)
	return s.render(v, http.StatusOK, "thing", p)
}

// cover is who pays until when, in one sentence.
func (s *Site) cover(v *visit, d *fleet.Device, c *fleet.Case) string {
	cover := s.deps.Things.Cover(d, v.Now, c)
	if t := cover.Text.In(v.Loc.Lang); t != "" {
		return t
	}
	if d.WarrantyUntil.IsZero() {
		return v.T("cover.unknown")
	}
	if t := v.Loc.Cover(v.Now, d.WarrantyUntil); t != "" {
		return upperFirst(t) + "."
	}
	return v.F("cover.over", v.Date(d.WarrantyUntil))
}

func upperFirst(s string) string {
	for _, r := range s {
		first := string(r)
		return string(bytes.ToUpper([]byte(first))) + s[len(first):]
	}
	return s
}

// figure is one chart with its caption and the table behind it.
type figure struct {
	Label        string
	Wide, Narrow template.HTML
	Rows         []figureRow
}

type figureRow struct {
	At    time.Time
	Value string
}

const (
	figureTime  = 7 * 24 * time.Hour
	figureEvery = 2 * time.Hour
	figureRows  = 40
	figureWait  = 4 * time.Second // without its chart the page still says what counts
)

// figure draws the last week of what the model shows first; nil when there is nothing to draw.
func (s *Site) figure(ctx context.Context, v *visit, d *fleet.Device, m *fleet.Model) *figure {
	if s.deps.History == nil || len(m.Chart) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, figureWait)
	defer cancel()
	field := m.Field(m.Chart[0])
	if field == nil {
		return nil
	}
	from := v.Now.Add(-figureTime)
	if d.OwnedSince.After(from) { // what the one before did with it is not hers to see
		from = d.OwnedSince
	}
	if !v.Now.After(from.Add(figureEvery)) {
		return nil
	}
	points, err := s.deps.History.Series(ctx, d.Key, m.ID, field.Name, from, v.Now, figureEvery)
	if err != nil {
		s.log.Warn("an owner's chart was not drawn", "device", d.Key, "err", err)
		return nil
	}
	if len(points) == 0 {
		return nil
	}
	f := &figure{Label: upperFirst(field.Label.In(v.Loc.Lang))}
	if f.Label == "" {
		f.Label = upperFirst(field.Name)
	}
	spec := chart.Spec{ID: "week", Title: f.Label, From: from, To: v.Now, Zone: v.Loc.Zone, Locale: v.Loc.Lang, Points: points, Gap: max(4*figureEvery, 3*m.Interval),
		NoData: v.T("chart.nodata"), Last: v.Value(points[len(points)-1].Value, field.Unit)}
	var wide, narrow bytes.Buffer
	spec.Width, spec.Height = 608, 220
	err = chart.Line(&wide, spec)
	spec.Width, spec.Height, spec.ID = 328, 200, "week-n"
	if err == nil {
		err = chart.Line(&narrow, spec)
	}
	if err != nil {
		s.log.Warn("an owner's chart was not drawn", "device", d.Key, "err", err)
		return nil
	}
	f.Wide, f.Narrow = template.HTML(wide.String()), template.HTML(narrow.String()) //nolint:gosec // chart escapes all words
	for i := len(points) - 1; i >= 0; i -= max(1, (len(points)+figureRows-1)/figureRows) {
		f.Rows = append(f.Rows, figureRow{points[i].At, v.Value(points[i].Value, field.Unit)})
	}
	return f
}

const maxThingName = 60

// nameThing keeps what the owner calls a thing and where it stands.
func (s *Site) nameThing(v *visit) error {
	d, err := s.ownDevice(v)
	if err != nil {
		return err
	}
	if err := s.deps.Keeper.NameDevice(v.r.Context(), d.Key, oneLine(v.r.PostForm.Get("name"), maxThingName), oneLine(v.r.PostForm.Get("room"), maxThingName)); err != nil {
		return err
	}
	return v.redirect("/me/things/" + d.Key.Serial + "?saved=1")
}

// putAway says that a thing is not in use, or is again: silence and stale values mean nothing meanwhile.
func (s *Site) putAway(v *visit) error {
	d, err := s.ownDevice(v)
	if err != nil {
		return err
	}
	if err := s.deps.Keeper.SetAway(v.r.Context(), d.Key, v.r.PostForm.Get("away") == "1"); err != nil && fleet.CodeOf(err) != fleet.CodeConflict {
		return err
	}
	return v.redirect("/me/things/" + d.Key.Serial + "?saved=1")
}

type codeData struct {
	*visit
	Name   string
	Code   string
	Until  time.Time
	URL    string // a link instead of a code
	Invite bool   // into the household
}

const transferTime = 14 * 24 * time.Hour

// transfer shows a code, once, with which the thing's next owner takes it over.
func (s *Site) transfer(v *visit) error {
	d, err := s.ownDevice(v)
	if err != nil {
		return err
	}
	until := v.Now.Add(transferTime)
	code, err := s.deps.Claims.TransferCode(v.r.Context(), d.Key, until)
	if err != nil {
		return err
	}
	v.Title, v.Nav = v.T("transfer.title"), "me"
	return s.render(v, http.StatusOK, "code", codeData{visit: v, Name: s.nameOf(v, d), Code: code, Until: until})
}
