// Package webhook sends messages to somebody's own server as Standard Webhooks 1.0: a JSON POST with webhook-id,
// webhook-timestamp and webhook-signature (v1, HMAC-SHA256). It is the way to SMS gateways, chat and help desks.
//
// App imports it; it imports fleet, outreach and, through the client it is given, egress's rules.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

// Channel is the webhook channel. It is safe for concurrent use.
type Channel struct {
	client *http.Client
	now    func() time.Time
}

// New returns the channel; client comes from egress.New, now is the clock that stamps each try.
func New(client *http.Client, now func() time.Time) *Channel {
	return &Channel{client: client, now: now}
}

// Name returns "webhook".
func (*Channel) Name() string { return "webhook" }

// payload follows the specification's recommendation: type, timestamp, data.
type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      any       `json:"data"`
}

// data is a message. Fields are added, never renamed: receivers are other people's programs.
type data struct {
	MessageID string           `json:"message_id"`
	CaseID    string           `json:"case_id"`
	Ref       string           `json:"ref,omitempty"` // the incident or work order
	Device    fleet.DeviceKey  `json:"device"`
	PersonID  string           `json:"person_id"`
	Subject   fleet.Topic      `json:"subject,omitempty"`
	Kind      fleet.Kind       `json:"kind"`
	Severity  fleet.Severity   `json:"severity"`
	Locale    string           `json:"locale"`
	Title     string           `json:"title"`
	Body      string           `json:"body"`
	URL       string           `json:"url,omitempty"`
	StopURL   string           `json:"stop_url,omitempty"`
	Actions   []action         `json:"actions,omitempty"`
	Evidence  []fleet.Evidence `json:"evidence,omitempty"`
	Rule      string           `json:"rule,omitempty"`
	Collapse  string           `json:"collapse,omitempty"`
	Expires   *time.Time       `json:"expires,omitempty"`
}

// action is a button: url opens the message's page at the answer and never answers by itself. The token that answers without
// a page stays at home: a receiver is to show the message, not to answer it.
type action struct {
	Verdict fleet.Verdict `json:"verdict"`
	Label   string        `json:"label"`
	URL     string        `json:"url"`
}

// operation is what operators are told.
type operation struct {
	Name     string            `json:"name"`
	Severity string            `json:"severity"`
	Summary  string            `json:"summary"`
	Detail   string            `json:"detail,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	URL      string            `json:"url,omitempty"`
	Ends     *time.Time        `json:"ends,omitempty"`
}

// Send posts the message. The endpoint's secret holds one signing secret ("whsec_..."), or two with a space between while
// one replaces the other: then the message carries a signature of each.
func (c *Channel) Send(ctx context.Context, m fleet.Message, to fleet.Endpoint) error {
	d := data{MessageID: m.ID, CaseID: m.CaseID, Ref: m.Ref, Device: m.Device, PersonID: m.PersonID, Subject: m.Subject, Kind: m.Kind, Severity: m.Severity,
		Locale: m.Locale, Title: m.Title, Body: m.Body, URL: m.URL, StopURL: m.StopURL, Evidence: finite(m.Evidence), Rule: m.Rule, Collapse: m.Collapse}
	for _, a := range m.Actions {
		if a.URL != "" {
			d.Actions = append(d.Actions, action{a.Verdict, a.Label, a.URL})
		}
	}
	if m.TTL > 0 {
		d.Expires = utc(m.At.Add(m.TTL))
	}
	return c.post(ctx, m.ID, payload{Type: "case." + m.Topic, Timestamp: m.At.UTC(), Data: d}, to)
}

// Operate posts what operators are told; its type is "operation.<name>".
func (c *Channel) Operate(ctx context.Context, op fleet.Operation, to fleet.Endpoint) error {
	d := operation{Name: op.Name, Severity: op.Severity, Summary: op.Summary, Detail: op.Detail, Labels: op.Labels, URL: op.URL}
	if !op.Ends.IsZero() {
		d.Ends = utc(op.Ends)
	}
	return c.post(ctx, outreach.OperationKey(op), payload{Type: "operation." + op.Name, Timestamp: op.At.UTC(), Data: d}, to)
}

// Post signs and sends any event of this system's: typ is "order.offered", id the idempotency key, at when it happened, and data
// becomes JSON. The secret and the errors are Send's.
func (c *Channel) Post(ctx context.Context, typ, id string, at time.Time, data any, to fleet.Endpoint) error {
	return c.post(ctx, id, payload{Type: typ, Timestamp: at.UTC(), Data: data}, to)
}

// finite leaves out evidence that JSON has no numbers for: the message goes without it.
func finite(evidence []fleet.Evidence) []fleet.Evidence {
	bad := func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }
	return slices.DeleteFunc(slices.Clone(evidence), func(e fleet.Evidence) bool {
		return slices.ContainsFunc([]float64{e.Value, e.Normal, e.Limit, e.Low, e.High}, bad)
	})
}

func utc(t time.Time) *time.Time {
	t = t.UTC()
	return &t
}

func (c *Channel) post(ctx context.Context, id string, p payload, to fleet.Endpoint) error {
	keys, err := Keys(to.Secret)
	if err != nil {
		return outreach.Never(fmt.Errorf("webhook: %w", err))
	}
	body, err := json.Marshal(p)
	if err != nil {
		return outreach.Never(fmt.Errorf("webhook: encode message %q: %w", id, err))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.Address, bytes.NewReader(body))
	if err != nil {
		return outreach.Never(errors.New("webhook: the address is not a URL"))
	}
	now := c.now()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "aftercare")
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("Webhook-Signature", sign(keys, id, now, body))
	resp, err := c.client.Do(r)
	if err != nil {
		return outreach.Transport("webhook", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	return outreach.Status(resp.StatusCode, resp.Header.Get("Retry-After"), now)
}

// sign returns the header's value: "v1,<base64>" for each key, with a space between.
func sign(keys [][]byte, id string, at time.Time, body []byte) string {
	out := make([]string, len(keys))
	for i, k := range keys {
		h := hmac.New(sha256.New, k)
		_, _ = fmt.Fprintf(h, "%s.%d.", id, at.Unix())
		_, _ = h.Write(body)
		out[i] = "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	return strings.Join(out, " ")
}

// prefix begins every signing secret.
const prefix = "whsec_"

// Keys reads the one or two signing secrets of an endpoint. An error says what is wrong without the secret.
func Keys(secret string) ([][]byte, error) {
	words := strings.Fields(secret)
	if len(words) == 0 || len(words) > 2 {
		return nil, fmt.Errorf("the endpoint has %d signing secrets, want one or two", len(words))
	}
	keys := make([][]byte, len(words))
	for i, w := range words {
		enc, ok := strings.CutPrefix(w, prefix)
		k, err := base64.StdEncoding.DecodeString(enc)
		if !ok || err != nil || len(k) < 24 || len(k) > 64 {
			return nil, fmt.Errorf("signing secret %d: want %q and 24 to 64 bytes in base 64", i+1, prefix)
		}
		keys[i] = k
	}
	return keys, nil
}
