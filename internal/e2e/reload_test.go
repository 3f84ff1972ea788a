package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

const reloadPack = `pack: reload
applies: {models: [washer-w7]}
rules:
  - id: reload-%s
    kind: fault
    severity: due
    when: drain_s > 100
    text:
      en: {what: "{{.Thing}} is slow.", why: It says so., otherwise: It waits., do: Wait., clear: "{{.Thing}} is fine."}
      de: {what: "{{.Thing}} ist langsam.", why: Es sagt es., otherwise: Es wartet., do: Warten., clear: "{{.Thing}} ist in Ordnung."}
`

// TestRulesAndFactsReachEveryPartition: what is said of devices and which rules count is in the journal, whatever told the
// server, and also when it is killed; mistakes change nothing.
func TestRulesAndFactsReachEveryPartition(t *testing.T) {
	dir, packs := filepath.Join(t.TempDir(), "data"), t.TempDir()
	pack := func(folder, name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, "reload.yaml"), fmt.Appendf(nil, reloadPack, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pack(packs, "one")
	p := start(t, dir, nil, "--rules.dir", packs)
	says := func(want string, ok bool, args ...string) {
		t.Helper()
		args = append(args, "--data", dir, "--owner.listen", "127.0.0.1:0", "--web.listen", strings.TrimPrefix(p.web, "http://"))
		out, err := exec.CommandContext(t.Context(), program(t, "aftercare"), args...).CombinedOutput()
		if (err == nil) != ok || !strings.Contains(string(out), want) {
			t.Fatalf("%v: %v, want %q in\n%s\n%s", args, err, want, out, p.log)
		}
	}
	says("", true, "device", "add", "WM-1", "--model", "washer-w7")
	says("", true, "device", "service", "WM-1", "drain-pump", "--at", "2026-03-31T08:00:00Z")
	eventually(t, 10*time.Second, func() error {
		if p.metric(t, "aftercare_registry_facts_sent_total", "") < 1 || !strings.Contains(p.log.String(), "rules are in force") {
			return errNotYet
		}
		return nil
	})
	says("in force already", true, "rules", "activate")
	pack(packs, "two")
	says("(activation 2)", true, "rules", "activate")
	pack(packs, "Not an Id")
	says("The rules in force stay: 1 mistakes", false, "rules", "activate")
	other := t.TempDir()
	pack(other, "three")
	says("(activation 3)", true, "rules", "activate", other)
	p.kill()

	pack(packs, "four") // while it does not run
	p = start(t, dir, nil, "--rules.dir", packs)
	eventually(t, 10*time.Second, func() error {
		if !strings.Contains(p.log.String(), "activation=4") {
			return errNotYet
		}
		return nil
	})
	pack(packs, "five")
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		if !strings.Contains(p.log.String(), "activation=5") {
			return errNotYet
		}
		return nil
	})
	says("in force already", true, "rules", "activate")
	says("NOT OPEN: the first thing that is missing: condition holds", true, "rules", "explain", "reload-five", "WM-1", "--rules.dir", packs)
	says("drain_s  is not known: never sent", true, "rules", "explain", "reload-five", "WM-1", "--rules.dir", packs)
	says("did you mean", false, "rules", "explain", "reload-fiv", "WM-1", "--rules.dir", packs)
	p.stop(t)
	ids, facts := recorded(t, filepath.Join(dir, "journal"))
	for partition, got := range ids {
		if want := "one two three four five"; strings.Join(got, " ") != want {
			t.Errorf("partition %d has the rules %v, want %s", partition, got, want)
		}
	}
	if len(ids) != 4 || facts.Model != "washer-w7" || len(facts.Services) != 1 || facts.Services[0].Component != "drain-pump" {
		t.Errorf("%d partitions, facts %+v", len(ids), facts)
	}
}

// recorded reads from the journal which rules were activated in each partition, repeats left out, and the newest facts of WM-1.
func recorded(t *testing.T, dir string) (ids map[int][]string, facts fleet.Facts) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	j, closed := opened(t, dir)
	defer closed()
	ids = map[int][]string{}
	for from := uint64(0); ; {
		page, err := j.Scan(ctx, wire.Readings, from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return ids, facts
		}
		for i := range page {
			from = page[i].Seq + 1
			switch page[i].Kind {
			case wire.KindActivation:
				a, err := wire.DecodeActivation(&page[i])
				if err != nil {
					t.Fatal(err)
				}
				_, rest, _ := strings.Cut(a.Packs["reload.yaml"], "id: reload-")
				id, _, _ := strings.Cut(rest, "\n")
				if had := ids[page[i].Partition]; len(had) == 0 || had[len(had)-1] != id {
					ids[page[i].Partition] = append(had, id)
				}
			case wire.KindFacts:
				for body := page[i].Body; len(body) > 0; {
					f, rest, err := wire.NextFacts(body)
					if err != nil {
						t.Fatal(err)
					}
					if body = rest; f.Device.Serial == "WM-1" {
						facts = f
					}
				}
			}
		}
	}
}
