package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// logIn tries to connect a device with a password; the error is what the server says.
func (p *process) logIn(t testing.TB, serial, password string) (mqtt.Client, error) {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + p.mqtt).SetClientID(serial).SetUsername(tenant + "/" + serial).SetPassword(password).
		SetAutoReconnect(false).SetConnectRetry(false).SetProtocolVersion(4))
	tok := c.Connect()
	if !tok.WaitTimeout(10 * time.Second) {
		return nil, errors.New("no answer")
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c, tok.Error()
}

// cutWithin waits until the server has ended a device's connection.
func cutWithin(t testing.TB, c mqtt.Client, within time.Duration) {
	t.Helper()
	eventually(t, within, func() error {
		if c.IsConnectionOpen() {
			return errors.New("the connection is still open")
		}
		return nil
	})
}

// password finds what is handed out in what a tool printed.
func password(t testing.TB, printed string) string {
	t.Helper()
	m := regexp.MustCompile(`password (\S+)`).FindStringSubmatch(printed)
	if m == nil {
		t.Fatalf("no password in %q", printed)
	}
	return m[1]
}

// TestRotation: during a rotation both secrets are good; when it is finished the old one is not, and the session that came with it ends.
// (SEC-01, SEC-09)
func TestRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := settle(t, dir, "RO", 1)
	p := start(t, dir, nil)
	old, err := p.logIn(t, "RO-001", h.secrets["RO-001"])
	if err != nil {
		t.Fatal(err)
	}
	secret := password(t, p.must(t, "device", "rotate", "RO-001"))
	if secret == h.secrets["RO-001"] || len(secret) < 22 {
		t.Errorf("the new secret: %d characters", len(secret))
	}
	now, err := p.logIn(t, "RO-001", secret) // the same client id: it takes over
	if err != nil {
		t.Fatalf("with the new secret: %v", err)
	}
	cutWithin(t, old, 5*time.Second)
	if old, err = p.logIn(t, "RO-001", h.secrets["RO-001"]); err != nil {
		t.Fatalf("with the old secret, during the rotation: %v", err)
	}
	cutWithin(t, now, 5*time.Second)
	if !publish(old, "RO-001", "telemetry", `{"seq":1,"cycles":1}`) {
		t.Error("during the rotation the old session cannot publish")
	}

	p.must(t, "device", "rotate", "--finish", "RO-001")
	cutWithin(t, old, 5*time.Second)
	eventually(t, 5*time.Second, func() error {
		if _, err := p.logIn(t, "RO-001", h.secrets["RO-001"]); err == nil {
			return errors.New("the old secret is still good")
		}
		return nil
	})
	if now, err = p.logIn(t, "RO-001", secret); err != nil {
		t.Fatalf("the new secret, after the end of the rotation: %v", err)
	}

	var answer struct{ Username, Password string } // the same by API
	if code, text := p.post(t, "/devices/demo/RO-001/rotate", nil, &answer); code >= 300 || answer.Username != "demo/RO-001" {
		t.Fatalf("rotate: %d %s", code, text)
	}
	if code, text := p.post(t, "/devices/demo/RO-001/rotate/finish", nil, nil); code >= 300 {
		t.Fatalf("finish: %d %s", code, text)
	}
	cutWithin(t, now, 5*time.Second)
	if _, err = p.logIn(t, "RO-001", answer.Password); err != nil {
		t.Errorf("the secret of the API: %v", err)
	}
	if out := p.must(t, "device", "show", "RO-001"); strings.Count(out, "rotated") != 2 || strings.Contains(out, secret) {
		t.Errorf("the device's story:\n%s", out)
	}
	p.conserved(t)
}

// TestRevokedDeviceIsCutOff: a device that publishes all the time is revoked by the command line. Its session ends within 5 s, nothing it
// sends afterwards is stored, it cannot come back, and what was acknowledged before is all there. (SEC-09, REL-01)
func TestRevokedDeviceIsCutOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := settle(t, dir, "RV", 2)
	addr := freePort(t)
	p := start(t, dir, nil, "--history.embedded.listen", addr)
	g := report(t, p, "RV-001", h.secrets["RV-001"])
	stays, err := p.logIn(t, "RV-002", h.secrets["RV-002"])
	if err != nil {
		t.Fatal(err)
	}
	g.goesOn(t)
	p.must(t, "device", "revoke", "RV-001")
	cutWithin(t, g.client, 5*time.Second)
	g.stop()
	<-g.done
	acked := g.n.Load()
	for _, secret := range []string{h.secrets["RV-001"], "wrong"} {
		if _, err := p.logIn(t, "RV-001", secret); err == nil {
			t.Error("it comes back")
		}
	}
	if !stays.IsConnectionOpen() {
		t.Error("another device's session ended, too")
	}
	db := database(t, dir, addr)
	var stored int
	eventually(t, 20*time.Second, func() error {
		if stored = len(db.of("washer-w7", "RV-001")); stored < int(acked) {
			return fmt.Errorf("%d were acknowledged, %d are stored", acked, stored)
		}
		return nil
	})
	if stored > int(acked)+1 { // one may have been under way
		t.Errorf("%d were acknowledged, %d are stored", acked, stored)
	}
	eventually(t, 10*time.Second, func() error {
		if rows := db.of("presence", "RV-001"); len(rows) == 0 || rows[len(rows)-1]["cause"] != "revoked" {
			return fmt.Errorf("presence says %v", rows)
		}
		return nil
	})
	p.conserved(t)
}

// TestFirstContact: a device that has nothing but its model's provisioning secret gets a credential of its own as a command, once; from the
// first log-in with that on the shared secret is of no use for it, and it was never good for anything else. (SEC-01, SEC-09)
func TestFirstContact(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	settle(t, dir, "FC", 1)
	p := start(t, dir, nil)
	shared := password(t, p.must(t, "provision", "create", "--model", "washer-w7"))
	list := filepath.Join(dir, "list.csv")
	write(t, list, "serial,model\nNEW-001,washer-w7\nNEW-002,fridge-f3\n")
	if out := p.must(t, "device", "import", "--first-contact", list); strings.Contains(out, "password") {
		t.Errorf("the list made credentials: %s", out)
	}

	var own string
	eventually(t, 10*time.Second, func() (err error) { // the server looks for what the tools did
		own, err = p.fetchCredential(t, "NEW-001", shared)
		return err
	})
	again, err := p.fetchCredential(t, "NEW-001", shared) // the answer was lost
	if err != nil || again == own {
		t.Errorf("fetched again before it was used: %v", err)
	}
	if _, err := p.logIn(t, "NEW-001", own); err == nil {
		t.Error("the first credential is good although a second was fetched")
	}
	c, err := p.logIn(t, "NEW-001", again)
	if err != nil || !publish(c, "NEW-001", "telemetry", `{"seq":1,"cycles":1}`) {
		t.Fatalf("log-in with the credential it fetched: %v", err)
	}
	for serial, why := range map[string]string{"NEW-001": "it has used its own", "NEW-002": "it is of another model", "FC-009": "it is not registered"} {
		if _, err := p.fetchCredential(t, serial, shared); err == nil {
			t.Errorf("%s gets a credential although %s", serial, why)
		}
	}
	p.firstContactByAPI(t)
	p.conserved(t)
}

// firstContactByAPI does with an open key what an operator does with programs, and ends the key.
func (p *process) firstContactByAPI(t *testing.T) {
	t.Helper()
	var key struct{ ID, Secret string }
	if code, text := p.post(t, "/provisioning-keys", map[string]any{"model": "fridge-f3", "open": true}, &key); code >= 300 {
		t.Fatalf("make a key: %d %s", code, text)
	}
	own, err := p.fetchCredential(t, "UNHEARD-OF", key.Secret)
	if err != nil {
		t.Fatalf("an open key: %v", err)
	}
	if _, err := p.logIn(t, "UNHEARD-OF", own); err != nil {
		t.Errorf("log-in of a device that registered itself: %v", err)
	}
	if code, text := p.post(t, "/provisioning-keys/"+key.ID+"/revoke", nil, nil); code >= 300 {
		t.Errorf("end the key: %d %s", code, text)
	}
	if _, err := p.fetchCredential(t, "UNHEARD-OF-2", key.Secret); err == nil {
		t.Error("a key that has ended gives a credential")
	}
	if out := p.must(t, "provision", "list"); !strings.Contains(out, key.ID) || strings.Contains(out, key.Secret) {
		t.Errorf("the list of keys:\n%s", out)
	}
}

// fetchCredential is a device's first contact.
func (p *process) fetchCredential(t *testing.T, serial, shared string) (string, error) {
	t.Helper()
	c, err := p.logIn(t, serial, shared)
	if err != nil {
		return "", err
	}
	if tok := c.Publish("devices/demo/washer-w7/"+serial+"/telemetry", 0, false, `{"cycles":666}`); !tok.WaitTimeout(5 * time.Second) {
		t.Error("publish hangs")
	}
	got := make(chan []byte, 1)
	for _, model := range []string{"washer-w7", "fridge-f3"} { // a device knows its own; the other is refused
		c.Subscribe("devices/demo/"+model+"/"+serial+"/command", 1, func(_ mqtt.Client, m mqtt.Message) { got <- m.Payload() })
	}
	select {
	case b := <-got:
		var o struct {
			Name string
			Args struct{ Username, Password string }
		}
		if err := json.Unmarshal(b, &o); err != nil || o.Name != "credential" || o.Args.Username != "demo/"+serial || len(o.Args.Password) < 22 {
			t.Errorf("the command with the credential is %.60q...: %v", b, err)
		}
		cutWithin(t, c, 5*time.Second) // that is all it is for
		return o.Args.Password, nil
	case <-time.After(5 * time.Second):
		return "", errors.New("no credential came")
	}
}

// TestImportOfTenThousand: a list of 10,000 rows with mistakes in some, by command line and by API, while the server runs: each bad row is
// named, all others go in, and a new device connects within seconds.
func TestImportOfTenThousand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	settle(t, dir, "IM", 1)
	p := start(t, dir, nil)
	file, out := filepath.Join(dir, "list.csv"), filepath.Join(dir, "credentials.json")
	write(t, file, tenThousand("CLI"))
	printed, err := p.cli(t, "device", "import", file, "--out", out)
	if err == nil || !strings.Contains(err.Error(), "4 of 10000 rows were not taken") || !strings.Contains(printed, "10000 rows: 9996 added, 0 updated, 4 not taken") {
		t.Errorf("import: %v\n%s", err, printed)
	}
	for _, place := range []string{file + ":101:", file + ":5001:", file + ":7001:", file + ":10001:"} {
		if !strings.Contains(printed, place) {
			t.Errorf("the bad row %s is not named:\n%s", place, printed)
		}
	}
	var f struct {
		Devices []struct{ Serial, Secret string }
	}
	if err := json.Unmarshal([]byte(read(t, out)), &f); err != nil || len(f.Devices) != 9996 {
		t.Fatalf("%d credentials, %v", len(f.Devices), err)
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of credentials: %v, %v", info.Mode(), err)
	}
	newest := f.Devices[len(f.Devices)-1]
	eventually(t, 5*time.Second, func() error {
		_, err := p.logIn(t, newest.Serial, newest.Secret)
		return err
	})

	var answer struct {
		Rows, Added, Updated int
		Bad                  []struct{ Line int }
		Credentials          []struct{ Serial, Password string }
	}
	if code, text := p.post(t, "/devices/import", []byte(tenThousand("API")), &answer); code >= 300 {
		t.Fatalf("import by API: %d %s", code, text)
	}
	if answer.Rows != 10000 || answer.Added != 9996 || fmt.Sprint(answer.Bad) != "[{101} {5001} {7001} {10001}]" || len(answer.Credentials) != 9996 {
		t.Fatalf("import by API: %d rows, %d added, bad %v, %d credentials", answer.Rows, answer.Added, answer.Bad, len(answer.Credentials))
	}
	c, err := p.logIn(t, answer.Credentials[0].Serial, answer.Credentials[0].Password)
	if err != nil || !publish(c, answer.Credentials[0].Serial, "telemetry", `{"seq":1,"cycles":1}`) {
		t.Errorf("a device of the API's list: %v", err)
	}
	if code, _ := p.post(t, "/devices/import", []byte(tenThousand("API")), &answer); code >= 300 || answer.Added != 0 || answer.Updated != 9996 || len(answer.Credentials) != 0 {
		t.Errorf("the same list again: %d, %d added, %d updated, %d credentials", code, answer.Added, answer.Updated, len(answer.Credentials))
	}
	p.conserved(t)
}

// tenThousand is a list whose lines 101, 5001, 7001 and 10001 are wrong.
func tenThousand(prefix string) string {
	var b strings.Builder
	b.WriteString("serial,model,name,owner,installed_at\n")
	for line := 2; line <= 10001; line++ {
		serial, model, day := fmt.Sprintf("%s-%05d", prefix, line), "washer-w7", "2026-01-31"
		switch line {
		case 101:
			model = "washer-w8"
		case 5001:
			serial = fmt.Sprintf("%s-00002", prefix)
		case 7001:
			day = "31.1.2026"
		case 10001:
			serial = "no serial/at all"
		}
		fmt.Fprintf(&b, "%s,%s,machine %d,%s,%s\n", serial, model, line, ownerID, day)
	}
	return b.String()
}

// TestClaim: a code made by the command line makes a person the device's owner by the API, once.
func TestClaim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	settle(t, dir, "CL", 1)
	p := start(t, dir, nil)
	p.must(t, "device", "add", "FREE-001", "--model", "fridge-f3")
	line := strings.Fields(p.must(t, "device", "claim-code", "FREE-001"))
	if len(line) != 2 || line[0] != "FREE-001" {
		t.Fatalf("claim-code printed %q", line)
	}
	code := line[1]
	typo := code[:len(code)-1] + map[bool]string{true: "0", false: "1"}[code[len(code)-1] != '0']
	for _, wrong := range []map[string]any{{"code": typo, "person": ownerID}, {"code": code, "person": "nobody"}} {
		if status, text := p.post(t, "/claims", wrong, nil); status < 400 || status >= 500 {
			t.Errorf("claim %v: %d %s", wrong["person"], status, text)
		}
	}
	var got struct{ Tenant, Serial string }
	if status, text := p.post(t, "/claims", map[string]any{"code": strings.ToLower(code), "person": ownerID}, &got); status >= 300 || got.Serial != "FREE-001" {
		t.Fatalf("claim: %d %s", status, text)
	}
	var d struct{ Owner string }
	if p.api(t, "/devices/demo/FREE-001", &d); d.Owner != ownerID {
		t.Errorf("its owner is %q", d.Owner)
	}
	if status, _ := p.post(t, "/claims", map[string]any{"code": code, "person": ownerID}, nil); status != http.StatusNotFound && status != http.StatusConflict && status != http.StatusForbidden {
		t.Errorf("the code a second time: %d", status)
	}
	if out := p.must(t, "device", "show", "FREE-001"); !strings.Contains(out, ownerID) || !strings.Contains(out, "claimed") {
		t.Errorf("its story:\n%s", out)
	}
	p.conserved(t)
}
