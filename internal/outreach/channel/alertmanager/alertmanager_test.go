package alertmanager

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"aftercare/internal/egress"
	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channeltest"
)

var _ outreach.Operator = (*Channel)(nil)

func channel(t *testing.T, w channeltest.World) *Channel {
	e := egress.DefaultConfig()
	e.Allow, e.CAFile, e.Timeout = w.Allow, w.CAFile, w.Timeout
	client := egress.New(e)
	t.Cleanup(client.CloseIdleConnections)
	return New(client, w.Now)
}

// operator sends the suite's messages as operations.
type operator struct{ *Channel }

func (o operator) Send(ctx context.Context, m fleet.Message, to fleet.Endpoint) error {
	return o.Operate(ctx, operation(m), to)
}

func operation(m fleet.Message) fleet.Operation {
	op := fleet.Operation{Name: "incident", Severity: "warning", Summary: m.Title, Detail: m.Body, Labels: map[string]string{"incident": m.ID, "device": m.Device.Serial}, URL: m.URL, At: m.At}
	op.Labels[m.Actions[0].Label] = "x"
	return op
}

func read(t *testing.T, c channeltest.Call) alert {
	t.Helper()
	var list []alert
	if err := json.Unmarshal(c.Body, &list); err != nil || len(list) != 1 {
		t.Errorf("%s: %v", c.Body, err)
		return alert{}
	}
	return list[0]
}

func TestContract(t *testing.T) {
	channeltest.Run(t, channeltest.Suite{
		Name: "alertmanager",
		New: func(t *testing.T, w channeltest.World) (channeltest.Sender, fleet.Endpoint) {
			return operator{channel(t, w)}, fleet.Endpoint{Channel: "alertmanager", Address: w.URL + "/s3cret-prefix", Secret: "user:s3cret"}
		},
		Classes: map[int]string{200: "", 201: "", 202: "", 204: "", 301: "never", 302: "never", 307: "never", 400: "never", 401: "again", 403: "again", 404: "again",
			405: "never", 408: "again", 410: "again", 413: "never", 422: "never", 429: "again", 500: "again", 502: "again", 503: "again", 504: "again"},
		Key: func(t *testing.T, c channeltest.Call) string { return read(t, c).Labels["incident"] },
		Arrived: func(t *testing.T, c channeltest.Call, m fleet.Message) {
			t.Helper()
			a := read(t, c)
			if c.Path != "/s3cret-prefix/api/v2/alerts" || a.Labels["incident"] != m.ID || a.Labels["alertname"] != "AftercareIncident" || m.Title == channeltest.Message().Title && a.Annotations["summary"] != m.Title {
				t.Errorf("%s %+v", c.Path, a)
			}
			for k, v := range a.Labels {
				if !labelPattern.MatchString(k) || v == "" {
					t.Errorf("label %q=%q", k, v)
				}
			}
		},
		Secrets: []string{"s3cret"},
	})
}

// labelPattern is what Prometheus takes as the name of a label.
var labelPattern = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func TestAlert(t *testing.T) {
	at := channeltest.Now
	op := fleet.Operation{Name: "case_escalated", Severity: "critical", Summary: "Nobody took on case 7", Labels: map[string]string{"tenant": "demo", "case-id": "7", "alertname": "x", "none": ""},
		URL: "https://desk.example/case/7", At: at}
	a := alertOf(op)
	for k, want := range map[string]string{"alertname": "AftercareCaseEscalated", "severity": "critical", "service": "aftercare", "tenant": "demo", "case_id": "7"} {
		if a.Labels[k] != want {
			t.Errorf("label %s=%q, want %q", k, a.Labels[k], want)
		}
	}
	if len(a.Labels) != 5 || a.StartsAt != "2026-11-21T12:00:00Z" || a.EndsAt != "2026-12-21T12:00:00Z" || a.GeneratorURL != op.URL {
		t.Errorf("%+v", a)
	}
	op.Ends, op.URL = at.Add(time.Hour), "javascript:alert(1)"
	over := alertOf(op)
	if over.EndsAt != "2026-11-21T13:00:00Z" || over.GeneratorURL != "" || over.Labels["case_id"] != "7" || len(over.Labels) != len(a.Labels) {
		t.Errorf("over: %+v", over)
	}
}

func TestOwnersAreToldOtherwise(t *testing.T) {
	err := New(nil, nil).Send(t.Context(), channeltest.Message(), fleet.Endpoint{})
	if class, _ := outreach.ClassOf(err); class != "never" {
		t.Errorf("%v", err)
	}
}

func FuzzAlert(f *testing.F) {
	for _, s := range channeltest.Hostile() {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, k, v string) {
		a := alertOf(fleet.Operation{Name: k, Summary: v, Labels: map[string]string{k: v}, At: channeltest.Now})
		for name, value := range a.Labels {
			if !labelPattern.MatchString(name) || value == "" || len(value) > 4010 {
				t.Errorf("label %q=%q", name, value)
			}
		}
		if strings.ContainsAny(a.Labels["alertname"], "\r\n\" ") {
			t.Errorf("alertname %q", a.Labels["alertname"])
		}
	})
}
