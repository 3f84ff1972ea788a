package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func says(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("does not say %q:\n%s", want, text)
		}
	}
}

func TestPeopleFromTheCommandLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	do := func(want int, args string) string {
		t.Helper()
		return call(t, dir, want, strings.Fields(args)...)
	}
	do(1, "owner add anna --zone Europe/Berlin") // no locale
	do(0, "owner add anna --name Anna --locale de-DE --zone Europe/Berlin --digest sunday-18")
	do(0, "owner add bert --locale en-GB --zone Europe/London --household h1")
	do(0, "owner add anna --name Anja")
	do(1, "owner add anna --digest someday")
	do(0, "owner household anna h1 --place 1")
	do(0, "owner address anna email anna@example.org --label home")
	do(0, "owner prefer anna tip digest")
	do(0, "owner prefer anna maintenance never --channel email")
	do(1, "owner prefer anna gossip now")
	do(0, "owner consent anna tips --text tips-1 --source form-4711")
	do(0, "owner consent anna tips --withdraw")
	do(1, "owner consent anna tips") // to which text?
	do(1, "owner address anna sms 0171")
	do(1, "owner address anna email annaexample")
	do(1, "owner address anna ntfy anna-1f3c")
	do(1, "owner address anna webhook https://example.org/hook --secret foo")
	do(1, "owner show nobody")
	text := do(0, "owner show anna")
	says(t, text, `name +Anja`, `locale +de-DE`, `digest +sunday-18`, `household +h1: bert anna`, `hears by +email home`, `wish +maintenance by email: never`,
		`wish +tip everywhere: digest`, `tips +tips-1 +form-4711 +\S+T\S+ +\S+T\S+`)
	if strings.Contains(text, "anna@example.org") {
		t.Error("show says the address")
	}
	do(0, "owner address anna email anna@example.org --remove")
	do(1, "owner link nobody")
	says(t, do(0, "owner link anna --owner.url https://care.example.org"), `^https://care\.example\.org/login/[A-Za-z0-9._-]+\n$`)
	says(t, do(0, "owner list"), `anna +Anja .* 0 +inbox\n`, `bert .* h1 +0 +inbox`)
}

func TestADeviceChangesHandsOnTheCommandLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	do := func(want int, args string) string {
		t.Helper()
		return call(t, dir, want, strings.Fields(args)...)
	}
	do(0, "owner add anna --locale de-DE --zone Europe/Berlin")
	do(0, "owner add bert --locale de-DE --zone Europe/Berlin")
	do(0, "device add WM-1 --model washer-w7 --owner anna")
	code := func(flags string) string {
		return strings.TrimSpace(strings.TrimPrefix(do(0, "device claim-code WM-1 "+flags), "WM-1 "))
	}
	do(1, "device claim "+code("")+" --person bert")
	do(0, "device claim "+code("--transfer")+" --person bert")
	says(t, do(0, "device show WM-1"), `owner +bert`, `owned since +2\d{3}-`, `claimed.*from anna`)
	do(0, "device transfer WM-1 anna")
	do(0, "device transfer WM-1")
	do(1, "device transfer WM-1 nobody")
	says(t, do(0, "device show WM-1"), `owner_changed.*from anna to nobody`)
}

func TestCoverOnTheCommandLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	list := filepath.Join(t.TempDir(), "list.csv")
	write(t, list, "serial,model,region,installed_at,seller\nWM-1,washer-w7,DE-BE,2026-01-15,Elektro Seidel\n")
	call(t, dir, 0, "device", "import", list, "--first-contact")
	says(t, call(t, dir, 0, "device", "cover", "WM-1", "--at", "2027-12-24"), `cover +manufacturer`, `until +2028-01-15, 22 days`, `pays +true`,
		`en +Covered by the maker until 15.January 2028, 22.days\.`, `de +Garantie des Herstellers bis 15\..Januar 2028, noch 22.Tage\.`)
	says(t, call(t, dir, 0, "device", "cover", "WM-1", "--at", "2026-02-01", "--kind", "maintenance"), `pays +false`)
	says(t, call(t, dir, 0, "device", "cover", "WM-1", "--at", "2026-02-01", "--kind", "maintenance", "--component", "tub-bearing"), `pays +true`)
	says(t, call(t, dir, 0, "device", "cover", "WM-1", "--at", "2030-01-01"), `cover +none`, `until +2028-01-15, \d+ days ago`, `pays +false`)
	call(t, dir, 1, "device", "cover", "WM-1", "--kind", "nonsense")
	call(t, dir, 1, "device", "cover", "none")
	call(t, dir, 1, "device", "cover", "WM-1", "--at", "soon")
}

func TestPartnersOnTheCommandLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	call(t, dir, 0, "partner", "add", "nord", "--name", "Kundendienst Nord", "--email", "a@example.org", "--region", "DE-HH,DE-SH", "--category", "washing-machine")
	call(t, dir, 0, "partner", "add", "all", "--name", "Alles", "--email", "b@example.org")
	call(t, dir, 1, "partner", "add", "x", "--name", "X") // unreachable
	list := filepath.Join(t.TempDir(), "list.csv")
	write(t, list, "serial,model,region\nWM-1,washer-w7,DE-HH\nWM-2,washer-w7,DE-BY\n")
	call(t, dir, 0, "device", "import", list, "--first-contact")
	says(t, call(t, dir, 0, "partner", "list", "--for", "WM-1"), `(?s)nord .*DE-HH DE-SH +washing-machine +email +active.*all +Alles +all +all +email`)
	if text := call(t, dir, 0, "partner", "list", "--for", "WM-2"); strings.Contains(text, "nord") {
		t.Error(text)
	}
	call(t, dir, 0, "partner", "pause", "nord")
	says(t, call(t, dir, 0, "partner", "list"), `nord .*paused`)
	call(t, dir, 0, "partner", "pause", "nord", "--resume")
	says(t, call(t, dir, 0, "partner", "list"), `nord .*active`)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
