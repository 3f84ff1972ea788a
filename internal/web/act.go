package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

const (
	deskActor = "desk" // everybody with the start-up link, until people sign in
	maxForm   = 64 << 10
	maxFile   = 2 << 20          // what cases take
	maxUpload = maxFile + 64<<10 // with the rest of the form
	maxNote   = 2000             // characters
	maxWord   = 60               // characters of a name, a cause or a part

	formTime = "2006-01-02T15:04" // what a browser sends of a field for date and time
)

// deskVerbs are what the forms of a case can ask for.
var deskVerbs = []fleet.CaseVerb{fleet.VerbTake, fleet.VerbStart, fleet.VerbWait, fleet.VerbResume, fleet.VerbAssign, fleet.VerbComment, fleet.VerbAttach,
	fleet.VerbSnooze, fleet.VerbUnsnooze, fleet.VerbResolve, fleet.VerbClose, fleet.VerbReopen, fleet.VerbMerge, fleet.VerbSplit, fleet.VerbMaintain}

// snoozeFor are the times a snooze is offered for; "worse" is until the case gets worse.
var snoozeFor = []struct {
	name string
	d    time.Duration
}{{"3h", 3 * time.Hour}, {"24h", 24 * time.Hour}, {"72h", 72 * time.Hour}, {"168h", 7 * 24 * time.Hour}, {"worse", 0}}

// visitTime is how long a visit is when only its begin was said.
const visitTime = 4 * time.Hour

// act does one thing with a case and sends the browser back to it; the same request twice is harmless. What cannot be done is said
// on the case's page, where it can be put right.
func (s *Web) act(w http.ResponseWriter, r *http.Request) error {
	verb := fleet.CaseVerb(r.PathValue("verb"))
	if !slices.Contains(deskVerbs, verb) {
		return fleet.Errorf(fleet.CodeNotFound, "nothing is called %q", verb)
	}
	if err := readForm(w, r, verb == fleet.VerbAttach); err != nil {
		return err
	}
	c, err := s.loadCase(r.Context(), r)
	if err != nil {
		return err
	}
	v := s.view(w, r, "cases")
	a, wrong := s.actOf(r, verb)
	if wrong != "" {
		return s.showCase(w, r, v, c, http.StatusBadRequest, v.T(wrong))
	}
	a.Tenant, a.CaseID = c.Device.Tenant, c.ID
	return s.after(w, r, v, c, verb, s.deps.Agent.Do(r.Context(), a))
}

func readForm(w http.ResponseWriter, r *http.Request, files bool) error {
	limit, read := int64(maxForm), r.ParseForm
	if files {
		limit, read = maxUpload, func() error { return r.ParseMultipartForm(maxUpload) }
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	if err := read(); err != nil {
		return fleet.Errorf(fleet.CodeInvalid, "read the form: %w", err)
	}
	return nil
}

// after says how an action ended: back to the case with a sentence, or the case's page with what is in the way.
func (s *Web) after(w http.ResponseWriter, r *http.Request, v *view, c *fleet.Case, verb fleet.CaseVerb, err error) error {
	code := fleet.CodeOf(err)
	switch {
	case err == nil:
		s.fleet.forget()
		http.Redirect(w, r, caseURL(c)+"?done="+string(verb), http.StatusSeeOther)
		return nil
	case code != fleet.CodeConflict && code != fleet.CodeInvalid:
		return err
	}
	if now, again := s.deps.Cases.Case(r.Context(), c.Device.Tenant, c.ID); again == nil {
		c = now // somebody was faster: what is shown is what is
	}
	status := http.StatusConflict
	if code == fleet.CodeInvalid {
		status = http.StatusBadRequest
	}
	return s.showCase(w, r, v, c, status, s.refusal(v, c, verb, code))
}

// refusal says why something could not be done.
func (s *Web) refusal(v *view, c *fleet.Case, verb fleet.CaseVerb, code fleet.Code) string {
	switch {
	case code == fleet.CodeConflict && !s.deps.Agent.Can(c.State, verb):
		return v.Fill("refused.state", v.StateWord(c.State))
	case code == fleet.CodeConflict && verb == fleet.VerbClose:
		return v.T("refused.close")
	case code == fleet.CodeConflict && verb == fleet.VerbReopen && c.MergedInto != "":
		return v.T("refused.merged")
	case code == fleet.CodeConflict:
		return v.T("err.409.why")
	case verb == fleet.VerbAttach:
		return v.T("refused.file")
	}
	return v.T("err.400.why")
}

// actOf reads an action's form. wrong names the text of what is missing.
func (s *Web) actOf(r *http.Request, verb fleet.CaseVerb) (a fleet.CaseAct, wrong string) {
	f := r.PostForm
	a = fleet.CaseAct{Do: verb, Actor: "agent:" + deskActor, Note: note(r), At: s.now()}
	switch verb {
	case fleet.VerbComment:
		if a.Note == "" {
			wrong = "refused.comment"
		}
	case fleet.VerbAssign:
		if name := words.Clean(strings.TrimSpace(f.Get("to")), maxWord); name != "" {
			a.To = "agent:" + strings.TrimPrefix(name, "agent:")
		}
	case fleet.VerbWait:
		if a.WaitFor = f.Get("for"); !slices.Contains(waits, a.WaitFor) {
			wrong = "refused.wait"
		}
	case fleet.VerbSnooze:
		wrong = s.snoozeOf(r, &a)
	case fleet.VerbUnsnooze:
		a.Device = f.Get("device") != ""
	case fleet.VerbResolve:
		wrong = resolveOf(r, &a)
	case fleet.VerbMerge:
		if a.Into = f.Get("into"); a.Into == "" {
			wrong = "refused.into"
		}
	case fleet.VerbSplit:
		if a.Rule = f.Get("rule"); a.Rule == "" {
			wrong = "refused.rule"
		}
	case fleet.VerbMaintain:
		var ok1, ok2 bool
		a.From, ok1 = s.timeOf(f.Get("from"))
		a.Until, ok2 = s.timeOf(f.Get("until"))
		if !ok1 || !ok2 || a.Until.IsZero() || !a.Until.After(maxTime(a.From, a.At)) {
			wrong = "refused.window"
		}
	case fleet.VerbAttach:
		wrong = fileOf(r, &a)
	}
	return a, wrong
}

var waits = []string{fleet.WaitOwner, fleet.WaitPartner, fleet.WaitPart}

// timeOf reads a form's date and time, which is meant in the desk's zone; an empty one is the zero time.
func (s *Web) timeOf(text string) (t time.Time, ok bool) {
	if text == "" {
		return t, true
	}
	t, err := time.ParseInLocation(formTime, text, s.zone)
	return t.UTC(), err == nil
}

func (s *Web) snoozeOf(r *http.Request, a *fleet.CaseAct) (wrong string) {
	a.Device, a.Worse = r.PostForm.Get("device") != "", r.PostForm.Get("worse") != ""
	until, ok := s.timeOf(r.PostForm.Get("until"))
	if !ok || !until.IsZero() && !until.After(a.At) {
		return "refused.until"
	}
	if a.Until = until; !until.IsZero() {
		return ""
	}
	for _, x := range snoozeFor {
		switch {
		case x.name != r.PostForm.Get("for"):
		case x.d == 0:
			a.Worse = true
			return ""
		default:
			a.Until = a.At.Add(x.d)
			return ""
		}
	}
	return "refused.until"
}

func resolveOf(r *http.Request, a *fleet.CaseAct) (wrong string) {
	outcome := r.PostForm.Get("outcome")
	if !slices.Contains(outcomes, outcome) {
		return "refused.outcome"
	}
	a.Outcome = fleet.Outcome(outcome)
	what := words.Clean(strings.TrimSpace(r.PostForm.Get("what")), maxWord)
	switch a.Outcome {
	case fleet.OutcomeRepaired:
		a.Cause = what
	case fleet.OutcomePart, fleet.OutcomeUpdated:
		a.Part = what
	default:
		if what != "" && a.Note == "" {
			a.Note = what
		}
		return ""
	}
	if what == "" && a.Note == "" {
		return "refused.what"
	}
	return ""
}

func fileOf(r *http.Request, a *fleet.CaseAct) (wrong string) {
	f, head, err := r.FormFile("file")
	if err != nil {
		return "refused.nofile"
	}
	defer func() { _ = f.Close() }()
	body := make([]byte, maxFile+1)
	n := 0
	for n < len(body) {
		m, err := f.Read(body[n:])
		if n += m; err != nil {
			break // the end; a file that cannot be read is short, and refused as empty
		}
	}
	if n == 0 || n > maxFile {
		return "refused.file"
	}
	a.File = fleet.Attachment{Name: head.Filename, Body: body[:n]}
	return ""
}

// bookVisit offers a work order.
func (s *Web) bookVisit(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(w, r, false); err != nil {
		return err
	}
	c, err := s.loadCase(r.Context(), r)
	if err != nil {
		return err
	}
	v := s.view(w, r, "cases")
	if s.deps.Dispatcher == nil {
		return s.showCase(w, r, v, c, http.StatusConflict, v.T("refused.nodispatch"))
	}
	f := r.PostForm
	from, ok := s.timeOf(f.Get("from"))
	if !ok || !from.IsZero() && !from.After(s.now()) {
		return s.showCase(w, r, v, c, http.StatusBadRequest, v.T("refused.visit"))
	}
	x := Visit{Tenant: c.Device.Tenant, CaseID: c.ID, PartnerID: f.Get("partner"), From: from, Part: words.Clean(strings.TrimSpace(f.Get("part")), maxWord),
		Note: note(r), By: "agent:" + deskActor, At: s.now()}
	if !from.IsZero() {
		x.To = from.Add(visitTime)
	}
	_, err = s.deps.Dispatcher.Book(r.Context(), x)
	switch fleet.CodeOf(err) {
	case fleet.CodeNotFound:
		return s.showCase(w, r, v, c, http.StatusConflict, v.T("refused.nobody"))
	case fleet.CodeConflict:
		key := "refused.visitover"
		if c.IncidentID != "" {
			key = "refused.incident"
		}
		return s.showCase(w, r, v, c, http.StatusConflict, v.T(key))
	}
	return s.after(w, r, v, c, "visit", err)
}

// cancelVisit calls a work order off.
func (s *Web) cancelVisit(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(w, r, false); err != nil {
		return err
	}
	c, err := s.loadCase(r.Context(), r)
	if err != nil {
		return err
	}
	v := s.view(w, r, "cases")
	if s.deps.Dispatcher == nil {
		return s.showCase(w, r, v, c, http.StatusConflict, v.T("refused.nodispatch"))
	}
	list, err := s.deps.Dispatcher.Orders(r.Context(), fleet.OrderFilter{Tenant: c.Device.Tenant, CaseID: c.ID})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(o fleet.Order) bool { return o.ID == r.PostForm.Get("order") }) {
		return fleet.Errorf(fleet.CodeNotFound, "no such work order of case %q", c.ID)
	}
	err = s.deps.Dispatcher.Cancel(r.Context(), c.Device.Tenant, r.PostForm.Get("order"), "agent:"+deskActor, note(r), s.now())
	if fleet.CodeOf(err) == fleet.CodeConflict {
		return s.showCase(w, r, v, c, http.StatusConflict, v.T("refused.orderover"))
	}
	return s.after(w, r, v, c, "visit-cancel", err)
}

// file hands out an attachment. It never becomes a page of ours: it is saved, whatever it holds.
func (s *Web) file(w http.ResponseWriter, r *http.Request) error {
	c, err := s.loadCase(r.Context(), r)
	if err != nil {
		return err
	}
	f, err := s.deps.Stories.Attachment(r.Context(), c.Device.Tenant, c.ID, r.PathValue("file"))
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	if slices.Contains(plainTypes, f.Type) {
		h.Set("Content-Type", f.Type)
	}
	h.Set("Content-Disposition", attachment(f.Name))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Cache-Control", "private, no-store")
	h.Set("Content-Length", itoa(len(f.Body)))
	if _, err := w.Write(f.Body); err != nil && !errors.Is(err, r.Context().Err()) {
		s.log.Debug("file not sent whole", "case", c.ID, "err", err)
	}
	return nil
}

// plainTypes are what a browser may know a saved file as; of others it learns nothing.
var plainTypes = []string{"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "text/plain; charset=utf-8", "video/mp4", "video/webm"}

func note(r *http.Request) string {
	return words.Clean(strings.TrimSpace(r.PostForm.Get("note")), maxNote)
}
