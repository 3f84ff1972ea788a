package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

type quarantinePage struct {
	*view
	Filter   fleet.QuarantineFilter
	Filtered bool
	Entries  []quarantineRow
	Older    string // the next page; empty on the last
	Done     *fleet.Reingest
	Quality  []qualityRow
	Reasons  []reasonCount
	Recent   []refusalRow
	Refused  uint64
}

type quarantineRow struct {
	At        time.Time
	Reason    string
	Detail    string
	Topic     string
	Device    string
	DeviceURL string
	Known     bool
	Firmware  string
	Payload   string
	Size      int
	Cut       bool
}

// qualityRow is how good the reports of one model and firmware were in the last days.
type qualityRow struct {
	Model, Firmware string
	Reports, Aside  int64
	Share           string // of reports that were set aside
	Causes          []qualityCause
	Link            string // the quarantine of this firmware
}

// ReasonOptions are the reasons of quarantine that have words, by those words.
func (p *quarantinePage) ReasonOptions() []reasonCount {
	out := make([]reasonCount, 0, len(asideReasons))
	for _, code := range asideReasons {
		out = append(out, reasonCount{Reason: p.orHuman("reason.", code), Code: code})
	}
	if p.Filter.Reason != "" && !slices.Contains(asideReasons, p.Filter.Reason) {
		out = append(out, reasonCount{Reason: p.orHuman("reason.", p.Filter.Reason), Code: p.Filter.Reason})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Reason < out[j].Reason })
	return out
}

// asideReasons are what the filter offers; another reason can be asked for in the address.
var asideReasons = []string{"syntax", "utf8", "depth", "keys", "duplicate_key", "field_name", "number", "string", "array_value", "timestamp", "no_field", "too_many_readings",
	"wrong_model", "no_profile", "wrong_type", "range", "missing_field", "unknown_field", "too_large", "format", "version", "must_know", "tag", "bad_reply",
	"sparkplug_unborn", "sparkplug_alias", "sparkplug_gap", "sparkplug_too_much", "database", "damaged"}

type qualityCause struct {
	Words, Field, Example string
	N                     int64
}

type reasonCount struct {
	Reason, Code string
	Count        uint64
}

type refusalRow struct {
	fleet.Refusal
	Words string
}

func (s *Web) quarantine(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	snap, err := s.fleet.get(ctx)
	if err != nil {
		return err
	}
	v := s.view(w, r, "quarantine")
	v.Title = v.T("nav.quarantine")
	p := quarantinePage{view: v, Filter: s.quarantineFilter(r.URL.Query()), Done: doneAgain(r.URL.Query())}
	p.Filtered = p.Filter.Model+p.Filter.Firmware+p.Filter.Serial+p.Filter.Reason != ""
	ask := p.Filter
	ask.Limit++ // one more says whether there is another page
	entries, err := s.deps.Doors.Quarantined(ctx, ask)
	if err != nil {
		return err
	}
	if len(entries) > p.Filter.Limit {
		entries = entries[:p.Filter.Limit]
		p.Older = quarantineURL(p.Filter, entries[len(entries)-1].Seq)
	}
	for _, q := range entries {
		row := quarantineRow{At: q.At, Reason: v.orHuman("reason.", q.Reason), Detail: q.Detail, Topic: q.Topic, Firmware: q.Firmware,
			Device: q.Device.Serial, DeviceURL: deviceURL(q.Device), Size: len(q.Payload), Known: snap.device(q.Device.Serial) != nil}
		row.Payload, row.Cut = printable(q.Payload)
		p.Entries = append(p.Entries, row)
	}
	if err := p.quality(ctx, s); err != nil {
		return err
	}
	p.refusals(s)
	return s.render(w, r, http.StatusOK, "quarantine", &p)
}

func (p *quarantinePage) refusals(s *Web) {
	recent, by := s.deps.Doors.Refusals()
	for code, n := range by {
		p.Refused += n
		p.Reasons = append(p.Reasons, reasonCount{p.orHuman("reason.", code), code, n})
	}
	sort.Slice(p.Reasons, func(i, j int) bool {
		if p.Reasons[i].Count != p.Reasons[j].Count {
			return p.Reasons[i].Count > p.Reasons[j].Count
		}
		return p.Reasons[i].Code < p.Reasons[j].Code
	})
	for _, f := range recent[:min(len(recent), 50)] {
		p.Recent = append(p.Recent, refusalRow{f, p.orHuman("reason.", f.Reason)})
	}
}

func (s *Web) quarantineFilter(q url.Values) fleet.QuarantineFilter {
	f := fleet.QuarantineFilter{Tenant: s.cfg.Tenant, Limit: quarantineShown}
	for to, key := range map[*string]string{&f.Model: "model", &f.Firmware: "firmware", &f.Serial: "serial", &f.Reason: "reason"} {
		*to = strings.TrimSpace(q.Get(key))
	}
	f.Before, _ = strconv.ParseUint(q.Get("before"), 10, 64)
	return f
}

func quarantineURL(f fleet.QuarantineFilter, before uint64) string {
	out := url.Values{}
	for key, v := range map[string]string{"model": f.Model, "firmware": f.Firmware, "serial": f.Serial, "reason": f.Reason} {
		if v != "" {
			out.Set(key, v)
		}
	}
	if before > 0 {
		out.Set("before", strconv.FormatUint(before, 10))
	}
	return "/quarantine?" + out.Encode()
}

// tryAgain has what matches the filter decoded and checked once more.
func (s *Web) tryAgain(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return fleet.Errorf(fleet.CodeInvalid, "read the form: %w", err)
	}
	f := s.quarantineFilter(r.PostForm)
	f.Before, f.Limit = 0, 0
	done, err := s.deps.Mender.Reingest(r.Context(), f)
	if err != nil {
		return err
	}
	s.fleet.forget()
	back := quarantineURL(f, 0) + "&stored=" + strconv.Itoa(done.Stored) + "&bad=" + strconv.Itoa(done.StillBad) + "&left=" + strconv.Itoa(done.Remaining)
	http.Redirect(w, r, strings.Replace(back, "?&", "?", 1), http.StatusSeeOther)
	return nil
}

func doneAgain(q url.Values) *fleet.Reingest {
	if !q.Has("stored") {
		return nil
	}
	n := func(key string) int {
		i, _ := strconv.Atoi(q.Get(key))
		return max(i, 0)
	}
	return &fleet.Reingest{Stored: n("stored"), StillBad: n("bad"), Remaining: n("left")}
}

// How far back the quality report looks, and how many causes it names.
const (
	qualityDays   = 7
	qualityCauses = 3
)

// quality sums the last days up by model and firmware, the worst first.
func (p *quarantinePage) quality(ctx context.Context, s *Web) error {
	rows, err := s.deps.Mender.Quality(ctx, s.cfg.Tenant, p.Filter.Model, p.Now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-qualityDays))
	if err != nil {
		return err
	}
	type key struct{ model, firmware string }
	type cause struct{ reason, field string }
	sums := map[key]*qualityRow{}
	causes := map[key]map[cause]*qualityCause{}
	for _, q := range rows {
		k := key{q.Model, q.Firmware}
		row, ok := sums[k]
		if !ok {
			row = &qualityRow{Model: q.Model, Firmware: q.Firmware, Link: quarantineURL(fleet.QuarantineFilter{Model: q.Model, Firmware: q.Firmware}, 0)}
			sums[k], causes[k] = row, map[cause]*qualityCause{}
		}
		if q.Reason == "" {
			row.Reports += q.N
			continue
		}
		if !storedAllTheSame[q.Reason] {
			row.Aside += q.N
		}
		c := cause{q.Reason, q.Field}
		if causes[k][c] == nil {
			causes[k][c] = &qualityCause{Words: p.orHuman("reason.", q.Reason), Field: q.Field}
		}
		causes[k][c].N += q.N
		causes[k][c].Example = q.Example
	}
	for k, row := range sums {
		for _, c := range causes[k] {
			row.Causes = append(row.Causes, *c)
		}
		sort.Slice(row.Causes, func(i, j int) bool {
			a, b := row.Causes[i], row.Causes[j]
			return a.N > b.N || a.N == b.N && a.Words+a.Field < b.Words+b.Field
		})
		row.Causes = row.Causes[:min(len(row.Causes), qualityCauses)]
		row.Share = p.Value(100*float64(row.Aside)/float64(max(row.Reports, row.Aside, 1)), "%")
		p.Quality = append(p.Quality, *row)
	}
	sort.Slice(p.Quality, func(i, j int) bool {
		a, b := p.Quality[i], p.Quality[j]
		return a.Aside > b.Aside || a.Aside == b.Aside && a.Model+"\x00"+a.Firmware < b.Model+"\x00"+b.Firmware
	})
	return nil
}

var storedAllTheSame = map[string]bool{fleet.QualityUnknownKept: true, fleet.QualityUnknownDropped: true, fleet.QualityClock: true, fleet.QualityUnnumbered: true}

const payloadShown = 2048 // bytes

// printable makes a payload fit to be looked at: text as it is with control and invisible characters made visible, anything
// else as hexadecimal. The template escapes it.
func printable(b []byte) (text string, cut bool) {
	if len(b) > payloadShown {
		b, cut = b[:payloadShown], true
		for range utf8.UTFMax - 1 { // not in the middle of a letter
			if utf8.Valid(b) {
				break
			}
			b = b[:len(b)-1]
		}
	}
	if !utf8.Valid(b) {
		return hexLines(b[:min(len(b), payloadShown/4)]), cut || len(b) > payloadShown/4
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < 0x20:
			return 0x2400 + r // the control pictures
		case r == 0x7f:
			return 0x2421
		case !unicode.IsGraphic(r):
			return '\uFFFD'
		}
		return r
	}, string(b)), cut
}

func hexLines(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for i, c := range b {
		switch {
		case i > 0 && i%16 == 0:
			out.WriteByte('\n')
		case i > 0:
			out.WriteByte(' ')
		}
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}
