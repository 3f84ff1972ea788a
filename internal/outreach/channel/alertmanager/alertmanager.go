// Package alertmanager tells operators through a Prometheus Alertmanager (API v2): an operation becomes an alert, its end resolves
// it. Grouping, silences and who is on call are Alertmanager's.
//
// It is for operations only; owners have other channels. App imports it; it imports fleet, outreach and, through the client it
// is given, egress's rules.
package alertmanager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

const name = "alertmanager"

// Channel is the channel to Alertmanager. It is safe for concurrent use.
type Channel struct {
	client *http.Client
	now    func() time.Time
}

// New returns the channel; client comes from egress.New.
func New(client *http.Client, now func() time.Time) *Channel {
	return &Channel{client: client, now: now}
}

// Name returns "alertmanager".
func (*Channel) Name() string { return name }

// Send refuses: an owner's message is no alert.
func (*Channel) Send(context.Context, fleet.Message, fleet.Endpoint) error {
	return outreach.Never(errors.New("alertmanager: takes operations, not messages to people"))
}

// alert is Alertmanager's PostableAlert.
type alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     string            `json:"startsAt"`
	EndsAt       string            `json:"endsAt,omitempty"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// keepFor is for how long an alert without an end stays without being sent again: Alertmanager would resolve it after its own
// resolve_timeout of five minutes, and an incident may last for weeks.
const keepFor = 30 * 24 * time.Hour

// Operate posts the operation as one alert. Address is Alertmanager's own ("http://alertmanager.lan:9093", with its path prefix), Secret
// "user:password" or a token, if it is behind a proxy that asks for one. Alertmanager knows alerts by their labels: the
// same operation twice is one alert, and one with an end resolves it. A 404 is a wrong address, not the end of it.
func (c *Channel) Operate(ctx context.Context, op fleet.Operation, to fleet.Endpoint) error {
	body, err := json.Marshal([]alert{alertOf(op)})
	if err != nil {
		return outreach.Never(fmt.Errorf("alertmanager: encode: %w", err))
	}
	u, err := url.Parse(to.Address)
	if err != nil || u.Host == "" {
		return outreach.Never(errors.New("alertmanager: the address is not a URL"))
	}
	if !strings.HasSuffix(u.Path, "/api/v2/alerts") {
		u = u.JoinPath("api/v2/alerts")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return outreach.Never(errors.New("alertmanager: the address is not a URL"))
	}
	r.Header.Set("Content-Type", "application/json")
	if user, password, ok := strings.Cut(to.Secret, ":"); ok {
		r.SetBasicAuth(user, password)
	} else if to.Secret != "" {
		r.Header.Set("Authorization", "Bearer "+to.Secret)
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return outreach.Transport(name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	if resp.StatusCode == http.StatusGone {
		return outreach.Again(errors.New("alertmanager: the receiver answered 410, which it does not know"), 0)
	}
	return outreach.Status(resp.StatusCode, resp.Header.Get("Retry-After"), c.now())
}

// alertOf is the alert of an operation. Labels are what it is the same by, so nothing that changes is among them.
func alertOf(op fleet.Operation) alert {
	a := alert{Labels: map[string]string{"alertname": "Aftercare" + camel(op.Name), "service": "aftercare", "severity": op.Severity},
		Annotations: map[string]string{"summary": text(op.Summary), "description": text(op.Detail)}, StartsAt: stamp(op.At)}
	for k, v := range op.Labels {
		if k = labelName(k); a.Labels[k] == "" {
			a.Labels[k] = text(v)
		}
	}
	for k, v := range a.Labels {
		if v == "" { // Alertmanager refuses an alert with an empty label name only, and drops empty values itself
			delete(a.Labels, k)
		}
	}
	a.EndsAt = stamp(op.At.Add(keepFor))
	if !op.Ends.IsZero() {
		a.EndsAt = stamp(op.Ends)
	}
	if u, err := url.Parse(op.URL); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		a.GeneratorURL = u.String()
	}
	return a
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// text is valid and bounded: Alertmanager refuses what is not UTF-8.
func text(s string) string {
	const limit = 4000 // bytes
	s = strings.ToValidUTF8(s, "")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// camel writes "case_escalated" as "CaseEscalated".
func camel(s string) string {
	var b strings.Builder
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

var notLabel = regexp.MustCompile(`[^a-zA-Z0-9_]+`)

// labelName makes any name one that all versions of Alertmanager take.
func labelName(s string) string {
	s = notLabel.ReplaceAllString(s, "_")
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		s = "_" + s
	}
	return s
}
