// Package webhook sends messages to somebody's own server as Standard Webhooks 1.0: a JSON POST with webhook-id,
// webhook-timestamp and webhook-signature (v1, HMAC-SHA256).
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
	"net/http"
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
	Data      data      `json:"data"`
}

type data struct {
	MessageID string          `json:"message_id"`
	CaseID    string          `json:"case_id"`
	Device    fleet.DeviceKey `json:"device"`
	Kind      fleet.Kind      `json:"kind"`
	Severity  fleet.Severity  `json:"severity"`
	Locale    string          `json:"locale"`
	Title     string          `json:"title"`
	Body      string          `json:"body"`
}

// Send posts the message. The endpoint's secret holds one signing secret ("whsec_..."), or two with a space between while
// one replaces the other: then the message carries a signature of each.
func (c *Channel) Send(ctx context.Context, m fleet.Message, to fleet.Endpoint) error {
	keys, err := Keys(to.Secret)
	if err != nil {
		return outreach.Never(fmt.Errorf("webhook: %w", err))
	}
	body, err := json.Marshal(payload{Type: "case." + m.Topic, Timestamp: m.At.UTC(), Data: data{MessageID: m.ID, CaseID: m.CaseID,
		Device: m.Device, Kind: m.Kind, Severity: m.Severity, Locale: m.Locale, Title: m.Title, Body: m.Body}})
	if err != nil {
		return outreach.Never(fmt.Errorf("webhook: encode message %q: %w", m.ID, err))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.Address, bytes.NewReader(body))
	if err != nil {
		return outreach.Never(errors.New("webhook: the address is not a URL"))
	}
	now := c.now()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "aftercare")
	r.Header.Set("Webhook-Id", m.ID)
	r.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("Webhook-Signature", sign(keys, m.ID, now, body))
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
