package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// call runs a command on an installation in dir and returns its exit code; what it printed is in the file.
func call(t *testing.T, dir string, want int, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = f
	code := run(append(args, "--data", dir))
	os.Stdout = stdout
	f.Close()
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if code != want {
		t.Fatalf("%v: exit code %d, want %d\n%s", args, code, want, text)
	}
	return string(text)
}

// A list with a mistake in it: the good rows are in, the bad one is named, the exit code says so, and the credentials are for
// their owner's eyes only (SEC-18).
func TestDevicesFromAListToTheirOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	list, creds := filepath.Join(t.TempDir(), "list.csv"), filepath.Join(t.TempDir(), "creds.json")
	if err := os.WriteFile(list, []byte("serial,model\nWM-1,washer-w7\nWM-2,washr\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := call(t, dir, 1, "device", "import", list, "--out", creds)
	if !strings.Contains(text, `list.csv:3: model: there is no profile of model "washr"`) || !strings.Contains(text, "2 rows: 1 added, 0 updated, 1 not taken") {
		t.Errorf("import says\n%s", text)
	}
	st, err := os.Stat(creds)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("credentials: %v, %v", st, err)
	}
	call(t, dir, 1, "device", "import", list, "--out", creds) // would overwrite the secrets
	if again, err := os.Stat(creds); err != nil || again.Size() != st.Size() {
		t.Errorf("the credentials were touched: %v", err)
	}

	if text = call(t, dir, 0, "device", "rotate", "WM-1"); !regexp.MustCompile(`^username demo/WM-1 password [A-Z2-7]{26}\n$`).MatchString(text) {
		t.Errorf("rotate says %q", text)
	}
	call(t, dir, 0, "device", "rotate", "WM-1", "--finish")
	call(t, dir, 1, "device", "rotate", "none")
	text = call(t, dir, 0, "device", "claim-code", "WM-1")
	code := strings.TrimSpace(strings.TrimPrefix(text, "WM-1 "))
	if !regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{5}-[0-9A-HJKMNP-TV-Z]{5}$`).MatchString(code) {
		t.Errorf("claim-code says %q", text)
	}
	call(t, dir, 1, "device", "claim", code, "--person", "nobody")
	text = call(t, dir, 0, "device", "show", "WM-1")
	for _, want := range []string{"washing-machine", "rotation_finished", "claim_code_made", "imported"} {
		if !strings.Contains(text, want) {
			t.Errorf("show does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, code) {
		t.Error("show says the code")
	}
}

func TestProvisioningKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	call(t, dir, 1, "provision", "create", "--model", "none")
	m := regexp.MustCompile(`^key ([0-9a-f]{16}) password prov\.[A-Z2-7]{26}\n$`).FindStringSubmatch(call(t, dir, 0, "provision", "create", "--model", "washer-w7"))
	if m == nil {
		t.Fatal("create does not print the key")
	}
	if text := call(t, dir, 0, "provision", "list"); !strings.Contains(text, m[1]) || !strings.Contains(text, "registered devices") || strings.Contains(text, "prov.") {
		t.Errorf("list says\n%s", text)
	}
	call(t, dir, 0, "provision", "revoke", m[1])
	call(t, dir, 1, "provision", "revoke", "none")
}

// What is shipped is checked by the same command that users have.
func TestCheckCoversTheShippedFiles(t *testing.T) {
	if text := call(t, t.TempDir(), 0, "check"); !strings.Contains(text, "no mistakes: configuration, 9 model profiles") {
		t.Errorf("check says %q", text)
	}
}
