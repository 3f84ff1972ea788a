package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aftercare/internal/config"
)

// TestTextsAreCheckedWithTheDictionaryOfEachModel: a title that is short enough by itself and too long with the meaning of the
// code in it is found, and named with the code.
func TestTextsAreCheckedWithTheDictionaryOfEachModel(t *testing.T) {
	dir := t.TempDir()
	pack := `pack: x
applies: {category: washing-machine}
rules:
  - id: long-with-its-code
    kind: fault
    severity: fault
    when: code == "E18"
    clear: code == "OK"
    text:
      en: {what: "{{.Thing}} has stopped in its wash: {{code}}", why: It says so., otherwise: It waits., do: Wait., clear: "{{.Thing}} is fine."}
      de: {what: "{{.Thing}}: {{code}}", why: Es sagt es., otherwise: Es wartet., do: Warten., clear: "{{.Thing}} ist in Ordnung."}
`
	if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(pack), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Rules.Dir = dir
	_, problems := LoadFiles(cfg)
	if len(problems) != 1 || problems[0].Path != "long-with-its-code.text.en" || problems[0].Line != 4 ||
		!strings.Contains(problems[0].Message, " characters when rendered") || !strings.Contains(problems[0].Message, "code E18 of washer-w7") {
		t.Errorf("problems %v", problems)
	}
}
