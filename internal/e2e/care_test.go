package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/store"
)

// care is a server whose owners are told outside of its pages too, at any hour and however often, by the two rules of its pack, both
// about faults of washing machines: "slow" (drain_s above 100) and "shakes" (vibration_mm_s above 5).
type care struct {
	*process
	t      testing.TB
	args   []string
	owners string // where the owners' pages are: http://host:port
	lines  map[string]mqtt.Client
	number int
}

// newCare starts the server on a folder. It may call the receivers ("host:port"), which are on loopback, and no other address there.
func newCare(t testing.TB, dir string, receivers []string, args ...string) *care {
	t.Helper()
	packs, address := t.TempDir(), freePort(t)
	pack(t, packs, "care", "washer-w7", "slow", "kind: fault, severity: fault, when: drain_s > 100", "shakes", "kind: fault, severity: fault, when: vibration_mm_s > 5")
	c := &care{t: t, owners: "http://" + address, lines: map[string]mqtt.Client{}}
	c.args = append([]string{"--rules.dir", packs, "--owner.listen", address, "--owner.url", c.owners, "--egress.allow", strings.Join(receivers, ","),
		"--outreach.quiet_from", "0", "--outreach.quiet_until", "0", "--outreach.budget_day", "0", "--outreach.budget_week", "0"}, args...)
	c.process = start(t, dir, nil, c.args...)
	return c
}

// restart kills the server and starts it again.
func (c *care) restart() {
	c.t.Helper()
	c.kill()
	c.process = start(c.t, c.dir, nil, c.args...)
}

// connects opens the connections of devices.
func (c *care) connects(h household) {
	c.t.Helper()
	for serial, secret := range h.secrets {
		c.lines[serial] = connect(c.t, c.process, serial, secret)
	}
}

// says publishes a reading of a washing machine, the next in order, and returns when it is acknowledged.
func (c *care) says(serial string, drain, vibration float64) {
	c.t.Helper()
	c.number++
	payload := fmt.Sprintf(`{"ts":%d,"boot":1,"seq":%d,"cycles":1,"drain_s":%g,"water_l":40,"vibration_mm_s":%g}`, time.Now().UnixMilli(), c.number, drain, vibration)
	if !publish(c.lines[serial], serial, "telemetry", payload) {
		c.t.Fatalf("%s: not acknowledged\n%s", serial, c.log)
	}
}

// caseDetail is a case as the API tells of it.
type caseDetail struct {
	ID, Serial, Rule, State, Outcome string
	Audit                            []struct{ Actor, Action, Detail string }
	Deliveries                       []struct{ ID, Person, Channel, State, Reason string }
}

// caseOf waits until a device has a case of a rule in the state, and returns it.
func (c *care) caseOf(serial, rule, state string) caseDetail {
	c.t.Helper()
	var d caseDetail
	eventually(c.t, 20*time.Second, func() error {
		all := list(c.t, c.process, "/cases?state=all&device="+serial)
		for _, k := range all {
			if k["rule"] == rule && k["state"] == state {
				d = caseDetail{}
				c.api(c.t, fmt.Sprintf("/cases/%s/%s", tenant, k["id"]), &d)
				return nil
			}
		}
		return fmt.Errorf("%s has no case %s that is %s: %v", serial, rule, state, all)
	})
	return d
}

// store opens the database beside the server, to see what no page and no answer of the API tells.
func (c *care) store() *store.Store {
	c.t.Helper()
	cfg := store.DefaultConfig()
	cfg.Path = filepath.Join(c.dir, "aftercare.db")
	st, err := store.Open(c.t.Context(), cfg, obs.Discard())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = st.Close() })
	return st
}

// deliveries are what became of a case's messages: "topic person channel state", oldest first.
func deliveries(t testing.TB, st *store.Store, caseID string) (out []string) {
	t.Helper()
	ds, err := st.CaseDeliveries(t.Context(), tenant, caseID)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		out = append(out, strings.Join([]string{d.Topic, d.PersonID, d.Channel, d.State}, " "))
	}
	return out
}

// event is a webhook as it arrived.
type event struct {
	ID   string `json:"-"`
	Path string `json:"-"`
	Type string
	Data struct {
		Title, Body string
		PersonID    string `json:"person_id"`
		CaseID      string `json:"case_id"`
		Ref         string
		Device      fleet.DeviceKey
		Actions     []struct{ Verdict fleet.Verdict }
	}
}

// hooks receives webhooks. answer decides the status, and when it is said; nil: 204 at once.
type hooks struct {
	*httptest.Server
	mu     sync.Mutex
	events []event
	answer func(e event, nth int) int
}

func newHooks(t testing.TB, answer func(e event, nth int) int) *hooks {
	t.Helper()
	h := &hooks{answer: answer}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := event{ID: r.Header.Get("Webhook-Id"), Path: r.URL.Path}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		if err != nil || e.ID == "" {
			t.Errorf("no webhook: %v, %.200s", err, body)
		}
		h.mu.Lock()
		h.events = append(h.events, e)
		nth := len(h.events)
		h.mu.Unlock()
		status := http.StatusNoContent
		if h.answer != nil {
			status = h.answer(e, nth)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hooks) host() string { return h.Listener.Addr().String() }

func (h *hooks) got() []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]event(nil), h.events...)
}

// arrived waits until n webhooks came, and returns them.
func (h *hooks) arrived(t testing.TB, n int) []event {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		if got := h.got(); len(got) < n {
			return fmt.Errorf("%d of %d webhooks came: %+v", len(got), n, got)
		}
		return nil
	})
	return h.got()
}

const hookSecret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"

// reached is an owner who is told by a webhook.
func reached(id, address string) fleet.Person {
	return fleet.Person{ID: id, Tenant: tenant, Name: "Ada " + id, Locale: "en-GB", Zone: "Europe/London", Household: "h-" + id,
		Endpoints: []fleet.Endpoint{{Channel: "webhook", Address: address, Secret: hookSecret}}}
}

func washer(serial, owner string) fleet.Device {
	return fleet.Device{Key: fleet.DeviceKey{Tenant: tenant, Serial: serial}, Model: "washer-w7", Name: "washing machine in the cellar", Region: "GB", OwnerID: owner}
}
