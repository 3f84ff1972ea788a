package ingest

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

// Bounds of the counts that wait for the next flush. What exceeds one is counted under "other".
const (
	maxSheets    = 20_000
	maxFirmwares = 200 // of one model and day
	maxRows      = 150 // reasons and fields of one sheet
	otherName    = "other"
	flushEvery   = 10 * time.Second
	maxExample   = 300 // bytes
)

// sheet counts the readings of one model and firmware on one UTC day. It is found once for many messages, so that counting a
// good reading is an addition.
type sheet struct {
	key   sheetKey
	total atomic.Int64
	last  atomic.Int64 // unix milliseconds of the newest

	mu   sync.Mutex
	rows map[rowKey]*row
}

type sheetKey struct {
	tenant, model, firmware string
	day                     int64 // days since 1970
}

type rowKey struct{ reason, field string }

type row struct {
	n       int64
	example string
	at      time.Time
}

// quality is the sheets that are open.
type quality struct {
	mu        sync.Mutex
	sheets    map[sheetKey]*sheet
	firmwares map[sheetKey]int // how many there are of a model and day; the firmware is empty
}

func newQuality() *quality {
	return &quality{sheets: map[sheetKey]*sheet{}, firmwares: map[sheetKey]int{}}
}

func (q *quality) open(k sheetKey) *sheet {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.sheets[k]; s != nil {
		return s
	}
	group := sheetKey{tenant: k.tenant, model: k.model, day: k.day}
	if q.firmwares[group] >= maxFirmwares || len(q.sheets) >= maxSheets {
		k.firmware = otherName
		if s := q.sheets[k]; s != nil {
			return s
		}
	}
	s := &sheet{key: k, rows: map[rowKey]*row{}}
	q.sheets[k] = s
	q.firmwares[group]++
	return s
}

// sheetOf returns the sheet for a device's readings of now. The caller holds the track's lock.
func (q *quality) sheetOf(t *track, d *fleet.Device, now time.Time) *sheet {
	day := now.Unix() / 86400
	if t.sheet == nil || t.day != day || t.model != d.Model || t.firmware != d.Firmware {
		t.day, t.model, t.firmware = day, d.Model, d.Firmware
		t.sheet = q.open(sheetKey{tenant: d.Key.Tenant, model: d.Model, firmware: d.Firmware, day: day})
	}
	return t.sheet
}

func (s *sheet) arrived(n int, now time.Time) {
	s.total.Add(int64(n))
	s.last.Store(now.UnixMilli())
}

// note counts n readings under a reason; field and example may alias what does not live on.
func (s *sheet) note(reason, field, example string, n int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := rowKey{reason, field}
	r := s.rows[k]
	if r == nil {
		if len(s.rows) >= maxRows && field != "" {
			k.field = otherName
		}
		k.field = strings.Clone(k.field)
		if r = s.rows[k]; r == nil {
			r = &row{}
			s.rows[k] = r
		}
	}
	r.n += int64(n)
	r.at = now
	if example != "" {
		r.example = clip(example, maxExample)
	}
}

// clip copies the beginning of a text, whole characters only.
func clip(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.Clone(s)
}

// rows takes the counts out of all sheets and closes those of days that are over.
func (q *quality) rows(now time.Time) (out []fleet.Quality) {
	q.mu.Lock()
	sheets := make([]*sheet, 0, len(q.sheets))
	over := now.Add(-time.Hour).Unix() / 86400 // a sheet of yesterday may still be at work for a moment
	for k, s := range q.sheets {
		sheets = append(sheets, s)
		if k.day < over {
			delete(q.sheets, k)
			delete(q.firmwares, sheetKey{tenant: k.tenant, model: k.model, day: k.day})
		}
	}
	q.mu.Unlock()
	for _, s := range sheets {
		base := fleet.Quality{Tenant: s.key.tenant, Model: s.key.model, Firmware: s.key.firmware, Day: time.Unix(s.key.day*86400, 0).UTC()}
		if n := s.total.Swap(0); n > 0 {
			r := base
			r.N, r.LastAt = n, time.UnixMilli(s.last.Load())
			out = append(out, r)
		}
		s.mu.Lock()
		for k, x := range s.rows {
			r := base
			r.Reason, r.Field, r.N, r.Example, r.LastAt = k.reason, k.field, x.n, x.example, x.at
			out = append(out, r)
		}
		clear(s.rows)
		s.mu.Unlock()
	}
	return out
}

// restore puts rows back that could not be saved.
func (q *quality) restore(rows []fleet.Quality) {
	for _, r := range rows {
		s := q.open(sheetKey{tenant: r.Tenant, model: r.Model, firmware: r.Firmware, day: r.Day.Unix() / 86400})
		if r.Reason == "" {
			s.total.Add(r.N)
			s.last.CompareAndSwap(0, r.LastAt.UnixMilli())
			continue
		}
		s.note(r.Reason, r.Field, r.Example, int(r.N), r.LastAt)
	}
}

// flush saves the counts; what cannot be saved is kept for the next time.
func (in *Ingest) flush(ctx context.Context) {
	rows := in.quality.rows(in.deps.Now())
	if len(rows) == 0 || in.deps.Quality == nil {
		return
	}
	if err := in.deps.Quality.SaveQuality(ctx, rows); err != nil {
		in.quality.restore(rows)
		in.deps.Log.Warn("the counts of what devices send are not saved; they are kept for the next time", "rows", len(rows), "err", err)
	}
}

// flushing saves the counts every few seconds until ctx ends, and once more.
func (in *Ingest) flushing(ctx context.Context) {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			in.flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.Background(), lastTry)
			defer cancel()
			in.flush(last)
			return
		}
	}
}
