package api

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"aftercare/internal/fleet"
)

// Device is a registered product.
type Device struct {
	Tenant        string     `json:"tenant"`
	Serial        string     `json:"serial"`
	Model         string     `json:"model"`
	Category      string     `json:"category"`
	Name          string     `json:"name,omitempty" doc:"the owner's name for it"`
	Room          string     `json:"room,omitempty"`
	Region        string     `json:"region,omitempty" doc:"ISO 3166"`
	Firmware      string     `json:"firmware,omitempty"`
	Hardware      string     `json:"hardware,omitempty"`
	Batch         string     `json:"batch,omitempty"`
	Parent        string     `json:"parent,omitempty" doc:"serial of the base station that may speak for it"`
	Owner         string     `json:"owner,omitempty" doc:"id of the person who hears of it"`
	InstalledAt   *time.Time `json:"installed_at,omitempty"`
	WarrantyUntil *time.Time `json:"warranty_until,omitempty"`
	Seller        string     `json:"seller,omitempty"`
	Revoked       bool       `json:"revoked,omitempty" doc:"no credential of it is valid any more"`
	WorstCase     string     `json:"worst_case,omitempty" enum:"info,watch,due,fault,danger" doc:"highest severity among its open cases; absent when there is none"`
}

func device(d *fleet.Device, worst map[string]fleet.Severity) Device {
	out := Device{Tenant: d.Key.Tenant, Serial: d.Key.Serial, Model: d.Model, Category: d.Category, Name: d.Name, Room: d.Room, Region: d.Region,
		Firmware: d.Firmware, Hardware: d.Hardware, Batch: d.Batch, Parent: d.Parent, Owner: d.OwnerID, InstalledAt: moment(d.InstalledAt),
		WarrantyUntil: moment(d.WarrantyUntil), Seller: d.Seller, Revoked: d.Revoked}
	if s, ok := worst[d.Key.Serial]; ok {
		out.WorstCase = s.String()
	}
	return out
}

// Reading is the newest report of a device.
type Reading struct {
	At     time.Time      `json:"at" doc:"the device's clock"`
	Fields map[string]any `json:"fields"`
}

// Point is one value of a series.
type Point struct {
	At    time.Time `json:"at" doc:"start of the interval"`
	Value float64   `json:"value" doc:"mean over the interval"`
}

// Link is whether a device can be reached, as the server sees it.
type Link struct {
	Online    bool       `json:"online"`
	Connected bool       `json:"connected" doc:"its connection is up; with cause silent: connected, and says nothing"`
	Cause     string     `json:"cause" enum:"connected,heard,disconnected,lost,will,silent,station_lost,revoked"`
	Since     time.Time  `json:"since"`
	Heard     *time.Time `json:"heard,omitempty" doc:"when anything last came from it"`
}

type devicesIn struct {
	Category string `query:"category"`
	Owner    string `query:"owner" doc:"id of a person"`
	Query    string `query:"q" maxLength:"100" doc:"part of serial, name, room or model"`
	Limit    int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Offset   int    `query:"offset" minimum:"0"`
}

type devicesOut struct {
	Body struct {
		Total   int      `json:"total" doc:"how many match in all"`
		Devices []Device `json:"devices"`
	}
}

// DeviceRef names a device in a path. It is exported because huma fills only exported embedded structs.
type DeviceRef struct {
	Tenant string `path:"tenant" maxLength:"64"`
	Serial string `path:"serial" maxLength:"64"`
}

type deviceOut struct {
	Body struct {
		Device
		Latest *Reading `json:"latest,omitempty" doc:"absent when it has not reported yet"`
		Link   *Link    `json:"link,omitempty" doc:"absent when nothing was ever heard of it"`
	}
}

type seriesIn struct {
	DeviceRef
	Field string    `path:"field" maxLength:"128"`
	From  time.Time `query:"from" doc:"RFC 3339; default: a day before to"`
	To    time.Time `query:"to" doc:"RFC 3339; default: now"`
	Every string    `query:"every" default:"10m" doc:"length of an interval: 10m, 1h"`
}

type seriesOut struct {
	Body struct {
		Field  string  `json:"field"`
		Unit   string  `json:"unit,omitempty"`
		Points []Point `json:"points" doc:"oldest first; an interval without readings is absent"`
	}
}

// maxPoints is the longest series that is answered at once.
const maxPoints = 5000

func (a *api) devices(h huma.API) {
	huma.Register(h, a.operation("list-devices", http.MethodGet, "/devices", "Devices, a page at a time"), a.listDevices)
	huma.Register(h, a.operation("get-device", http.MethodGet, "/devices/{tenant}/{serial}", "One device with its newest reading", 404), a.getDevice)
	huma.Register(h, a.operation("get-series", http.MethodGet, "/devices/{tenant}/{serial}/series/{field}", "Means of a field over intervals", 400, 404), a.getSeries)
}

func (a *api) listDevices(ctx context.Context, in *devicesIn) (*devicesOut, error) {
	ds, total, err := a.deps.Devices.Devices(ctx, fleet.DeviceFilter{Tenant: a.cfg.Tenant, Category: in.Category, OwnerID: in.Owner, Query: in.Query, Limit: in.Limit, Offset: in.Offset})
	if err != nil {
		return nil, a.failed("list-devices", err)
	}
	worst, err := a.deps.Cases.OpenCasesByDevice(ctx, a.cfg.Tenant)
	if err != nil {
		return nil, a.failed("list-devices", err)
	}
	out := &devicesOut{}
	out.Body.Total, out.Body.Devices = total, make([]Device, 0, len(ds))
	for i := range ds {
		out.Body.Devices = append(out.Body.Devices, device(&ds[i], worst))
	}
	return out, nil
}

func (a *api) find(ctx context.Context, in DeviceRef) (*fleet.Device, error) {
	if err := a.ours(in.Tenant); err != nil {
		return nil, err
	}
	// The filter finds a serial also as a part of others, so the one that is meant is picked out of the matches.
	for offset := 0; ; offset += findPage {
		ds, total, err := a.deps.Devices.Devices(ctx, fleet.DeviceFilter{Tenant: in.Tenant, Query: in.Serial, Limit: findPage, Offset: offset})
		if err != nil {
			return nil, err
		}
		for i := range ds {
			if ds[i].Key.Serial == in.Serial {
				return &ds[i], nil
			}
		}
		if len(ds) == 0 || offset+len(ds) >= total {
			return nil, fleet.Errorf(fleet.CodeNotFound, "there is no device %q", in.Serial)
		}
	}
}

const findPage = 500

func (a *api) getDevice(ctx context.Context, in *DeviceRef) (*deviceOut, error) {
	d, err := a.find(ctx, *in)
	if err != nil {
		return nil, a.failed("get-device", err)
	}
	worst, err := a.deps.Cases.OpenCasesByDevice(ctx, a.cfg.Tenant)
	if err != nil {
		return nil, a.failed("get-device", err)
	}
	out := &deviceOut{}
	out.Body.Device = device(d, worst)
	if l, ok := a.deps.Links.State(d.Key); ok {
		out.Body.Link = &Link{l.Online, l.Connected, l.Cause, l.Since.UTC(), moment(l.Heard)}
	}
	r, err := a.deps.History.Latest(ctx, d.Key, d.Model)
	if fleet.CodeOf(err) == fleet.CodeNotFound {
		return out, nil
	}
	if err != nil {
		return nil, a.failed("get-device", err)
	}
	out.Body.Latest = &Reading{At: r.Time.UTC(), Fields: a.fields(d.Model, r.Fields)}
	return out, nil
}

// fields gives each value the type its profile says.
func (a *api) fields(model string, in []fleet.Field) map[string]any {
	out := make(map[string]any, len(in))
	m, known := a.deps.Models.Model(model)
	for _, f := range in {
		n, isNumber := f.Value.Number()
		typ := f.Value.Type
		if known {
			if spec := m.Field(f.Name); spec != nil {
				typ = spec.Type
			}
		}
		switch {
		case !isNumber:
			out[f.Name] = f.Value.Str
		case typ == fleet.Boolean:
			out[f.Name] = n != 0
		case math.IsNaN(n) || math.IsInf(n, 0): // JSON has no word for them
			out[f.Name] = nil
		default:
			out[f.Name] = n
		}
	}
	return out
}

func (a *api) getSeries(ctx context.Context, in *seriesIn) (*seriesOut, error) {
	out, err := a.series(ctx, in)
	if err != nil {
		return nil, a.failed("get-series", err)
	}
	return out, nil
}

func (a *api) series(ctx context.Context, in *seriesIn) (*seriesOut, error) {
	d, err := a.find(ctx, in.DeviceRef)
	if err != nil {
		return nil, err
	}
	every, err := time.ParseDuration(in.Every)
	if err != nil || every < time.Second {
		return nil, fleet.Errorf(fleet.CodeInvalid, "every %q: want a duration of at least a second, such as 10m or 1h", in.Every)
	}
	to, from := in.To, in.From
	if to.IsZero() {
		to = a.now()
	}
	if from.IsZero() {
		from = to.Add(-24 * time.Hour)
	}
	if !from.Before(to) || to.Sub(from)/every > maxPoints {
		return nil, fleet.Errorf(fleet.CodeInvalid, "from %s to %s every %s: want from before to, and at most %d intervals",
			from.Format(time.RFC3339), to.Format(time.RFC3339), every, maxPoints)
	}
	points, err := a.deps.History.Series(ctx, d.Key, d.Model, in.Field, from, to, every)
	if err != nil {
		return nil, err
	}
	out := &seriesOut{}
	out.Body.Field, out.Body.Points = in.Field, make([]Point, 0, len(points))
	if m, ok := a.deps.Models.Model(d.Model); ok {
		if spec := m.Field(in.Field); spec != nil && spec.Unit != "1" {
			out.Body.Unit = spec.Unit
		}
	}
	for _, p := range points {
		if !math.IsNaN(p.Value) && !math.IsInf(p.Value, 0) {
			out.Body.Points = append(out.Body.Points, Point{p.At.UTC(), p.Value})
		}
	}
	return out, nil
}
