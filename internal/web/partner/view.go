package partner

import (
	"net/http"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

// view is what the template sees.
type view struct {
	Lang    string
	Problem string // a key of the texts; empty: none
	Order   *fleet.Order
	Partner string
	What    string // the case's first line
	Why     string
	Serial  string
	Model   string
	Region  string
	Done    bool

	loc    words.Locale
	now    time.Time
	status int
}

// stamp is how a browser's form writes a local time.
const stamp = "2006-01-02T15:04"

func requestLang(r *http.Request) string {
	if l := r.URL.Query().Get("lang"); l == "en" || l == "de" {
		return l
	}
	if strings.HasPrefix(strings.ToLower(r.Header.Get("Accept-Language")), "de") {
		return "de"
	}
	return "en"
}

// about fills in the order as its partner reads it.
func (v *view) about(r *http.Request, o *fleet.Order, p *fleet.Partner, now time.Time) {
	if l := r.URL.Query().Get("lang"); l != "en" && l != "de" && p.Locale != "" {
		v.Lang = words.For(p.Locale, p.Zone, "").Lang
	}
	v.loc, v.now = words.For(v.Lang, p.Zone, ""), now
	v.Order, v.Partner, v.Done = o, p.Name, r.URL.Query().Get("done") == "1"
}

// T is a text in the reader's language, the key itself if there is none.
func (v *view) T(key string) string {
	t, ok := texts[key]
	if !ok {
		return key
	}
	if v.Lang == "de" {
		return t[1]
	}
	return t[0]
}

// Open reports whether the partner may still answer; Accepted whether only the report is missing.
func (v *view) Open() bool { return v.Order != nil && v.Order.State.Open() }

// Accepted reports whether the visit is agreed.
func (v *view) Accepted() bool { return v.Order != nil && v.Order.State == fleet.OrderAccepted }

// State is where the order stands, in words.
func (v *view) State() string { return v.T("state." + string(v.Order.State)) }

// When is the visit's time in the partner's zone.
func (v *view) When() string {
	from, to := v.Order.From.In(v.loc.Zone), v.Order.To.In(v.loc.Zone)
	layout := "Mon 2 Jan 2006, 15:04"
	if v.Lang == "de" {
		layout = "02.01.2006, 15:04"
	}
	end := "15:04"
	if to.YearDay() != from.YearDay() || to.Year() != from.Year() {
		end = layout
	}
	return from.Format(layout) + " – " + to.Format(end) + " (" + v.loc.Zone.String() + ")"
}

// From and To are the visit's time as a form's field has it.
func (v *view) From() string { return v.Order.From.In(v.loc.Zone).Format(stamp) }

// To is the end of it.
func (v *view) To() string { return v.Order.To.In(v.loc.Zone).Format(stamp) }

// Pays says who pays.
func (v *view) Pays() string {
	if s := v.Order.Cover.Text.In(v.Lang); s != "" {
		return s
	}
	if v.Order.Cover.Pays {
		return v.T("pays." + v.Order.Cover.Kind)
	}
	return v.T("pays.owner")
}

// outcome is one choice of the report.
type outcome struct{ Value, Text string }

// Outcomes are what a partner may report.
func (v *view) Outcomes() []outcome {
	choices := []fleet.Outcome{fleet.OutcomeRepaired, fleet.OutcomePart, fleet.OutcomeUpdated, fleet.OutcomeNoFault}
	out := make([]outcome, len(choices))
	for i, o := range choices {
		out[i] = outcome{string(o), v.T("outcome." + string(o))}
	}
	return out
}

// Reason is why the order ended; empty when nobody said.
func (v *view) Reason() string { return words.OrderReason(v.Lang, v.Order.Reason) }

// Outcome is the one reported.
func (v *view) Outcome() string { return v.T("outcome." + string(v.Order.Outcome)) }

// visit reads the time of the form, in the partner's zone; without one it is that of the order.
func (v *view) visit(r *http.Request) (from, to time.Time, err error) {
	f, t := r.PostForm.Get("from"), r.PostForm.Get("to")
	if f == "" && t == "" {
		return time.Time{}, time.Time{}, nil
	}
	if from, err = time.ParseInLocation(stamp, f, v.loc.Zone); err == nil {
		to, err = time.ParseInLocation(stamp, t, v.loc.Zone)
	}
	if err != nil {
		return from, to, fleet.Errorf(fleet.CodeInvalid, "the time of the visit: %w", err)
	}
	return from, to, nil
}
