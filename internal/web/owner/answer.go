package owner

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
)

const maxNote = 500 // bytes of what somebody writes with an answer

// answerForm takes a button of a message's page.
func (s *Site) answerForm(v *visit) error {
	m, err := s.sealedMessage(v)
	if err != nil {
		return err
	}
	verdict := fleet.Verdict(v.r.PostForm.Get("a"))
	if verdict == "undo" {
		if err := s.unstop(v, m); err != nil {
			return err
		}
		return v.redirect("/m/" + v.r.PathValue("seal"))
	}
	if err := s.give(v, m, verdict, oneLine(v.r.PostForm.Get("note"), maxNote)); err != nil {
		return err
	}
	return v.redirect("/m/" + v.r.PathValue("seal") + "#said")
}

// give hands a verdict on. The same one twice is one.
func (s *Site) give(v *visit, m *fleet.Message, verdict fleet.Verdict, note string) error {
	if !slices.Contains(fleet.Verdicts(), verdict) {
		return fleet.Errorf(fleet.CodeInvalid, "there is no answer %q", verdict)
	}
	if verdict == fleet.VerdictStop && m.CaseID == "" { // there is no case to note it with
		return s.deps.Wishes.SetPreferences(v.r.Context(), m.Tenant, m.PersonID, fleet.Preference{Topic: subjectOf(m), Channel: m.Channel, Want: fleet.WantNever})
	}
	err := s.deps.Answers.Answer(v.r.Context(), fleet.Answer{Tenant: m.Tenant, MessageID: m.ID, CaseID: m.CaseID, PersonID: m.PersonID, Verdict: verdict, Rule: m.Rule,
		RuleHash: m.RuleHash, Topic: subjectOf(m), Note: note, At: v.Now})
	if err != nil && fleet.CodeOf(err) != fleet.CodeDuplicate {
		return err
	}
	if err := s.deps.Mail.MarkRead(v.r.Context(), m.Tenant, m.PersonID, m.ID, v.Now); err != nil && fleet.CodeOf(err) != fleet.CodeNotFound {
		s.log.Warn("a message was not marked as read", "message", m.ID, "err", err)
	}
	return nil
}

// stopped reports whether the person hears nothing any more of what the message is about, on some channel.
func (s *Site) stopped(m *fleet.Message) bool { return len(s.stops(m)) > 0 }

func (s *Site) stops(m *fleet.Message) []fleet.Preference {
	p, ok := s.deps.People.Person(m.Tenant, m.PersonID)
	if !ok {
		return nil
	}
	var out []fleet.Preference
	for _, w := range p.Preferences {
		if w.Topic == subjectOf(m) && w.Want == fleet.WantNever {
			out = append(out, fleet.Preference{Topic: w.Topic, Channel: w.Channel})
		}
	}
	return out
}

// unstop takes "stop these" back.
func (s *Site) unstop(v *visit, m *fleet.Message) error {
	wishes := s.stops(m)
	if len(wishes) == 0 {
		return nil
	}
	return s.deps.Wishes.SetPreferences(v.r.Context(), m.Tenant, m.PersonID, wishes...)
}

// body reads what a program sends: JSON or a form, both as names with texts.
func (v *visit) body() (map[string]string, error) {
	out := map[string]string{}
	kind, _, _ := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	if kind != "application/json" {
		for k := range v.r.PostForm {
			out[k] = v.r.PostForm.Get(k)
		}
		return out, nil
	}
	dec := json.NewDecoder(v.r.Body)
	if err := dec.Decode(&out); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, err
		}
		return nil, fleet.Errorf(fleet.CodeInvalid, "the body cannot be read: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fleet.Errorf(fleet.CodeInvalid, "something follows the body")
	}
	return out, nil
}

type told struct {
	Title string `json:"title"`
	Body  string `json:"body"`
	URL   string `json:"url"`
}

type toldData struct {
	*visit
	told
}

// answerToken takes the token of a button: from the service worker, without a session and without a page.
func (s *Site) answerToken(v *visit) error {
	body, err := v.body()
	if err != nil {
		return err
	}
	c, err := s.unseal(v, seal.Answer, body["token"])
	if err != nil {
		return err
	}
	_, verdict, ok := strings.Cut(c.Subject, " ")
	if !ok {
		return &signError{http.StatusNotFound, "link"}
	}
	m, err := s.message(v, c)
	if err != nil {
		return err
	}
	if err := s.give(v, m, fleet.Verdict(verdict), oneLine(body["note"], maxNote)); err != nil {
		return err
	}
	page := s.seal.Sign(seal.Claim{Purpose: seal.Message, Tenant: m.Tenant, Subject: m.ID, Person: m.PersonID, Expires: v.Now.Add(linkTime)})
	t := told{v.T("said." + verdict), v.T("now." + verdict), "/m/" + page}
	if wantsPage(v.r) {
		v.Title = t.Title
		return s.render(v, http.StatusOK, "told", toldData{v, t})
	}
	writeJSON(v.w, http.StatusOK, t)
	return nil
}

// wantsPage reports whether a browser shows the answer as a page: a form was sent, not a request of a script.
func wantsPage(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") == "navigate" || strings.HasPrefix(r.Header.Get("Accept"), "text/html")
}

// receipt notes that a message arrived or was opened, as the device says.
func (s *Site) receipt(v *visit) error {
	body, err := v.body()
	if err != nil {
		return err
	}
	c, err := s.unseal(v, seal.Receipt, body["token"])
	if err != nil {
		return err
	}
	what := body["what"]
	if what != "delivered" && what != "opened" {
		return fleet.Errorf(fleet.CodeInvalid, "a receipt says delivered or opened, not %q", what)
	}
	if s.deps.Receipts != nil {
		if err := s.deps.Receipts.MarkDelivery(v.r.Context(), c.Tenant, c.Subject, what, v.Now); err != nil && fleet.CodeOf(err) != fleet.CodeNotFound {
			return err
		}
	}
	if what == "opened" {
		if err := s.markRead(v, c); err != nil {
			return err
		}
	}
	v.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Site) markRead(v *visit, c seal.Claim) error {
	m, err := s.deps.Mail.Message(v.r.Context(), c.Tenant, c.Person, c.Subject)
	if err == nil {
		err = s.deps.Mail.MarkRead(v.r.Context(), m.Tenant, m.PersonID, m.ID, v.Now)
	}
	if fleet.CodeOf(err) == fleet.CodeNotFound {
		return nil // an older one, that is not kept any more
	}
	return err
}

type stopData struct {
	*visit
	Topic   string
	Channel string
	Safety  bool
	Done    bool
	Undone  bool
}

func (s *Site) stopClaim(v *visit) (seal.Claim, fleet.Preference, stopData, error) {
	c, err := s.open(v, seal.Stop)
	if err != nil {
		return c, fleet.Preference{}, stopData{}, err
	}
	topic, channel, _ := strings.Cut(c.Subject, " ")
	p, ok := s.deps.People.Person(c.Tenant, c.Person)
	if !ok || !slices.Contains(fleet.Topics(), fleet.Topic(topic)) {
		return c, fleet.Preference{}, stopData{}, &signError{http.StatusNotFound, "link"}
	}
	v.read(p)
	w := fleet.Preference{Topic: fleet.Topic(topic), Channel: channel}
	return c, w, stopData{visit: v, Topic: v.T("topic." + topic), Channel: v.channelWord(channel), Safety: w.Topic == fleet.TopicSafety}, nil
}

// stopPage asks; programs that open links stop nothing.
func (s *Site) stopPage(v *visit) error {
	_, _, d, err := s.stopClaim(v)
	if err != nil {
		return err
	}
	v.Title = v.T("stop.title")
	return s.render(v, http.StatusOK, "stop", d)
}

// stop ends what its link names, at once: from the page, or by a mail program's own button (RFC 8058).
func (s *Site) stop(v *visit) error {
	c, w, d, err := s.stopClaim(v)
	if err != nil {
		return err
	}
	d.Done = true
	if v.r.PostForm.Get("undo") == "1" {
		d.Done, d.Undone = false, true
	} else {
		w.Want = fleet.WantNever
	}
	if err := s.deps.Wishes.SetPreferences(v.r.Context(), c.Tenant, c.Person, w); err != nil {
		return err
	}
	v.Title = v.T("stop.title")
	return s.render(v, http.StatusOK, "stop", d)
}

// channelWord is a channel as people call it.
func (v *visit) channelWord(channel string) string {
	if t := v.T("channel." + channel); t != "channel."+channel {
		return t
	}
	return channel
}
