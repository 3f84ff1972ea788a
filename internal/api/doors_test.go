package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func (s *source) Reingest(_ context.Context, f fleet.QuarantineFilter) (fleet.Reingest, error) {
	s.quarantine = f
	return fleet.Reingest{Tried: 5, Stored: 3, StillBad: 2, Remaining: 7}, s.err
}

func (s *source) Quality(_ context.Context, tenant, model string, since time.Time) ([]fleet.Quality, error) {
	s.done = append(s.done, "quality "+tenant+" "+model+" "+since.Format(time.RFC3339))
	return []fleet.Quality{{Model: "w7", Firmware: "2.1", Day: since, Reason: "range", Field: "drain_s", N: 4, Example: `"drain_s" is 9000`, LastAt: at}}, s.err
}

func (s *source) SendCommand(_ context.Context, c fleet.Command) (fleet.Command, error) {
	if c.Name != "restart" {
		return c, fleet.Errorf(fleet.CodeInvalid, "w7 knows restart only")
	}
	if c.ID == "" {
		c.ID = "cmd-1"
	}
	c.State, c.CreatedAt = fleet.CommandWaiting, at
	s.commands = append(s.commands, c)
	return c, s.err
}

func (s *source) CancelCommand(_ context.Context, _, id, by string) error {
	s.done = append(s.done, "cancel "+id+" "+by)
	return s.agentErr
}

func (s *source) Command(_ context.Context, tenant, id string) (fleet.Command, []fleet.CommandAudit, error) {
	for _, c := range s.commands {
		if c.ID == id && c.Device.Tenant == tenant {
			return c, []fleet.CommandAudit{{At: at, Actor: c.By, Action: "sent"}}, nil
		}
	}
	return fleet.Command{}, nil, fleet.Errorf(fleet.CodeNotFound, "there is no command %q", id)
}

func (s *source) Commands(_ context.Context, f fleet.CommandFilter) ([]fleet.Command, error) {
	if f.Tenant != "demo" || f.Limit == 0 {
		return nil, fleet.Errorf(fleet.CodeInvalid, "filter %+v", f)
	}
	return s.commands, s.err
}

func (s *source) Register(_ context.Context, d fleet.Device) (string, error) {
	s.done = append(s.done, "register "+d.Key.String()+" "+d.Model+" "+d.Parent)
	return "secret", s.err
}

func (s *source) ImportCSV(_ context.Context, tenant string, r io.Reader, first bool) (fleet.ImportReport, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return fleet.ImportReport{}, err
	}
	s.done = append(s.done, "import "+tenant+" "+string(text))
	out := fleet.ImportReport{Rows: 2, Added: 1, Bad: []fleet.Problem{{Line: 3, Path: "model", Message: "there is no model x"}}, Secrets: map[fleet.DeviceKey]string{}}
	if !first {
		out.Secrets[fleet.DeviceKey{Tenant: tenant, Serial: "A"}] = "secret"
	}
	return out, s.err
}

func (s *source) Rotate(_ context.Context, k fleet.DeviceKey) (string, error) {
	if k.Serial == "none" {
		return "", fleet.Errorf(fleet.CodeNotFound, "no device")
	}
	return "rotated", s.err
}

func (s *source) FinishRotation(_ context.Context, k fleet.DeviceKey) error {
	s.done = append(s.done, "finish "+k.String())
	return s.err
}

func (s *source) Revoke(_ context.Context, k fleet.DeviceKey) error {
	s.done = append(s.done, "revoke "+k.String())
	return s.err
}

func (s *source) ClaimCode(context.Context, fleet.DeviceKey) (string, time.Time, error) {
	return "ABCDE-FGHJK", at, s.err
}

func (s *source) Claim(_ context.Context, tenant, code, person string) (fleet.DeviceKey, error) {
	if code != "ABCDE-FGHJK" {
		return fleet.DeviceKey{}, fleet.Errorf(fleet.CodeNotFound, "this code is not valid")
	}
	s.done = append(s.done, "claim "+person)
	return fleet.DeviceKey{Tenant: tenant, Serial: "WM-1"}, s.err
}

func (s *source) CreateProvisioning(_ context.Context, _, model string, open bool) (string, string, error) {
	return "key-" + model, "secret", s.err
}

func (s *source) ProvisioningKeys(string) []fleet.ProvisioningKey {
	return []fleet.ProvisioningKey{{ID: "key-w7", Model: "w7", CreatedAt: at, Hash: []byte("hidden")}}
}

func (s *source) RevokeProvisioning(_ context.Context, _, id string) error {
	s.done = append(s.done, "revoke key "+id)
	return s.err
}

func (s *source) State(key fleet.DeviceKey) (fleet.Link, bool) {
	return fleet.Link{Cause: fleet.CauseStation, Since: at, Heard: at}, key.Serial == "WM-1"
}

func (f *fixture) did(t *testing.T, want string) {
	t.Helper()
	if len(f.done) != 1 || f.done[0] != want {
		t.Errorf("did %q, want %q", f.done, want)
	}
	f.done = nil
}

func TestCommands(t *testing.T) {
	f := newFixture(t)
	c := f.call(t, "POST", "/devices/demo/WM-1/commands", `{"name":"restart","args":{"in_s":5,"big":9007199254740993},"expires_s":60}`, 200)
	if c["state"] != "waiting" || c["final"] != false || c["by"] != "agent:api" || len(c["audit"].([]any)) != 1 {
		t.Errorf("%v", c)
	}
	if sent := f.commands[0]; string(sent.Args) != `{"big":9007199254740993,"in_s":5}` || !sent.ExpiresAt.Equal(at.Add(time.Minute)) || sent.Device.Serial != "WM-1" {
		t.Errorf("%+v", sent)
	}
	if got := f.call(t, "GET", "/commands?device=WM-1&open=true", "", 200); len(got["commands"].([]any)) != 1 {
		t.Errorf("%v", got)
	}
	f.call(t, "POST", "/commands/demo/cmd-1/cancel", "", 200)
	f.did(t, "cancel cmd-1 agent:api")
	f.call(t, "POST", "/devices/demo/WM-1/commands", `{"name":"explode"}`, 400)
	f.call(t, "POST", "/devices/demo/WM-1/commands", `{"name":"restart","args":[1]}`, 422)
	f.call(t, "POST", "/devices/demo/WM-1/commands", `{"name":"restart","expires_s":99999999}`, 422)
	for _, path := range []string{"/devices/other/WM-1/commands", "/commands/other/cmd-1/cancel"} {
		f.call(t, "POST", path, `{"name":"restart"}`, 404)
	}
	f.call(t, "GET", "/commands/other/cmd-1", "", 404)
	f.call(t, "GET", "/commands/demo/cmd-9", "", 404)
	if len(f.commands) != 1 {
		t.Errorf("%d commands were sent", len(f.commands))
	}
}

func TestQuarantineAgainAndQuality(t *testing.T) {
	f := newFixture(t)
	f.call(t, "GET", "/quarantine?model=w7&firmware=2.1&reason=range&before=99&limit=5", "", 200)
	if q := f.quarantine; q.Tenant != "demo" || q.Model != "w7" || q.Firmware != "2.1" || q.Reason != "range" || q.Before != 99 || q.Limit != 5 {
		t.Errorf("asked %+v", q)
	}
	out := f.call(t, "POST", "/quarantine/reingest", `{"model":"w7","reason":"range"}`, 200)
	if out["stored"].(float64) != 3 || out["still_bad"].(float64) != 2 || out["remaining"].(float64) != 7 || f.quarantine.Tenant != "demo" {
		t.Errorf("%v, asked %+v", out, f.quarantine)
	}
	rows := f.call(t, "GET", "/quality?days=2", "", 200)["quality"].([]any)
	if row := rows[0].(map[string]any); row["day"] != "2025-11-20" || row["field"] != "drain_s" || row["n"].(float64) != 4 {
		t.Errorf("%v", row)
	}
	f.did(t, "quality demo  2025-11-20T00:00:00Z")
}

func TestProvisioning(t *testing.T) {
	f := newFixture(t)
	if c := f.call(t, "POST", "/devices", `{"serial":"A","model":"w7","parent":"B"}`, 200); c["username"] != "demo/A" || c["password"] != "secret" {
		t.Errorf("%v", c)
	}
	f.did(t, "register demo/A w7 B")
	if c := f.call(t, "POST", "/devices/demo/A/rotate", "", 200); c["password"] != "rotated" {
		t.Errorf("%v", c)
	}
	f.call(t, "POST", "/devices/demo/none/rotate", "", 404)
	f.call(t, "POST", "/devices/other/A/rotate", "", 404)
	f.empty(t, "/devices/demo/A/rotate/finish")
	f.did(t, "finish demo/A")
	f.empty(t, "/devices/demo/A/revoke")
	f.did(t, "revoke demo/A")
	if c := f.call(t, "POST", "/devices/demo/A/claim-code", "", 200); c["code"] != "ABCDE-FGHJK" {
		t.Errorf("%v", c)
	}
	if k := f.call(t, "POST", "/provisioning-keys", `{"model":"w7"}`, 200); k["id"] != "key-w7" || k["secret"] != "secret" {
		t.Errorf("%v", k)
	}
	if k, _ := json.Marshal(f.call(t, "GET", "/provisioning-keys", "", 200)); !strings.Contains(string(k), "key-w7") || strings.Contains(strings.ToLower(string(k)), "hash") {
		t.Errorf("%s", k)
	}
	f.empty(t, "/provisioning-keys/key-w7/revoke")
	f.did(t, "revoke key key-w7")
}

func TestImport(t *testing.T) {
	f := newFixture(t)
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8080"+Prefix+"/devices/import", strings.NewReader("serial,model\nA,w7\nB,x\n"))
	r.Header.Set("Content-Type", "text/csv")
	w := httptest.NewRecorder()
	f.h.ServeHTTP(w, r)
	var out struct {
		Rows, Added int
		Bad         []BadRow
		Credentials []Credential
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	if out.Rows != 2 || out.Added != 1 || len(out.Bad) != 1 || out.Bad[0].Line != 3 || out.Bad[0].Column != "model" || len(out.Credentials) != 1 || out.Credentials[0].Username != "demo/A" {
		t.Errorf("%+v", out)
	}
	f.did(t, "import demo serial,model\nA,w7\nB,x\n")
}

// SEC-10: codes cannot be tried out at any speed.
func TestClaimIsSlow(t *testing.T) {
	f := newFixture(t)
	if c := f.call(t, "POST", "/claims", `{"code":"ABCDE-FGHJK","person":"anna"}`, 200); c["serial"] != "WM-1" {
		t.Errorf("%v", c)
	}
	f.did(t, "claim anna")
	for range claimBurst - 1 {
		f.call(t, "POST", "/claims", `{"code":"ABCDE-FGHJ0","person":"anna"}`, 404)
	}
	f.call(t, "POST", "/claims", `{"code":"ABCDE-FGHJK","person":"anna"}`, 503)
}

func TestLink(t *testing.T) {
	f := newFixture(t)
	l := f.call(t, "GET", "/devices/demo/WM-1", "", 200)["link"].(map[string]any)
	if l["online"] != false || l["cause"] != "station_lost" {
		t.Errorf("%v", l)
	}
	if f.call(t, "GET", "/devices/demo/WM-2", "", 200)["link"] != nil {
		t.Error("a link of a device that was never heard")
	}
}

// empty posts to a path that answers with nothing.
func (f *fixture) empty(t *testing.T, path string) {
	t.Helper()
	w := httptest.NewRecorder()
	f.h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8080"+Prefix+path, nil))
	if w.Code != 204 {
		t.Fatalf("POST %s: %d %s", path, w.Code, w.Body)
	}
}
