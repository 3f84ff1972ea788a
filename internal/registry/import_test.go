package registry_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

func importList(t *testing.T, p process, list string) fleet.ImportReport {
	t.Helper()
	rep, err := p.ImportCSV(t.Context(), "demo", strings.NewReader(list), registry.ImportOptions{})
	must(t, err)
	return rep
}

// wantBad checks that exactly one row is bad: "line: column: message".
func wantBad(t *testing.T, p process, list, want string) {
	t.Helper()
	rep := importList(t, p, list)
	if len(rep.Bad) != 1 {
		t.Errorf("%q: %d bad rows, want one: %v", list, len(rep.Bad), rep.Bad)
		return
	}
	b := rep.Bad[0]
	if got := fmt.Sprintf("%d: %s: %s", b.Line, b.Path, b.Message); !strings.HasPrefix(got, want) {
		t.Errorf("%q:\n got  %s\n want %s", list, got, want)
	}
}

func TestImportOfAList(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	must(t, p.SavePeople(t.Context(), []fleet.Person{{ID: "p1", Tenant: "demo", Locale: "de", Zone: "UTC"}}))
	rep := importList(t, p, "\ufeffModel;SERIAL;parent;name;room;region;firmware;hardware;batch;owner;seller;installed_at;warranty_until\r\n"+
		"drill-d18;D-1;B-1;;;;;;;;;;\r\n"+
		"\r\n"+
		`base-b4;B-1;;"Station ""Nord""; oben";Keller;DE-BY;1.2;A;2026-1;p1;Müller & Co;2026-03-01;2028-03-01`+"\r\n"+
		"washer-w7;WM-1;;;;;;;;;;;;;\r\n"+
		"washer-w7;WM-2;;;;;;;;p9;;;")
	if rep.Rows != 4 || rep.Added != 3 || rep.Updated != 0 || len(rep.Bad) != 1 || rep.Bad[0].Line != 6 || rep.Bad[0].Path != "owner" {
		t.Fatalf("%+v", rep)
	}
	if len(rep.Secrets) != 2 || len(rep.Secrets[key("B-1")]) < 26 { // SEC-01: at least 128 bits
		t.Errorf("secrets %v", rep.Secrets)
	}
	admit(t, p, "WM-1", rep.Secrets[key("WM-1")])
	d, _ := p.Device(key("B-1"))
	if d.Name != `Station "Nord"; oben` || d.Room != "Keller" || d.Region != "DE-BY" || d.Firmware != "1.2" || d.Hardware != "A" || d.Batch != "2026-1" ||
		d.OwnerID != "p1" || d.Seller != "Müller & Co" || d.InstalledAt.Format("2006-01-02") != "2026-03-01" || d.WarrantyUntil.Year() != 2028 || d.Category != "base-station" {
		t.Errorf("%+v", d)
	}

	rep = importList(t, p, "serial,model,room,name\nB-1,base-b4,,Station\nWM-3,washer-w7,,\n")
	if rep.Added != 1 || rep.Updated != 1 || len(rep.Secrets) != 1 {
		t.Errorf("%+v", rep)
	}
	if d, _ := p.Device(key("B-1")); d.Name != "Station" || d.Room != "Keller" || d.OwnerID != "p1" {
		t.Errorf("an empty cell or a column that is not there took something away: %+v", d)
	}
	events, err := p.SecurityEvents(t.Context(), fleet.SecurityFilter{Tenant: "demo", Subject: "B-1"})
	must(t, err)
	if len(events) != 2 || events[0].Action != fleet.ActionImported || events[0].Detail != "updated" || events[1].Detail != "new, model base-b4" {
		t.Errorf("events %+v", events)
	}
}

func TestImportForFirstContactMakesNoCredentials(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	rep, err := p.ImportCSV(t.Context(), "demo", strings.NewReader("serial,model\nWM-1,washer-w7\n"), registry.ImportOptions{FirstContact: true})
	must(t, err)
	_, secret := provision(t, p, "washer-w7", false)
	own, err := p.FirstContact(t.Context(), contact(t, p, "WM-1", secret))
	must(t, err)
	admit(t, p, "WM-1", own)
	if rep.Added != 1 || len(rep.Secrets) != 0 {
		t.Errorf("%+v", rep)
	}
}

func TestEveryBadRowIsNamed(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	importList(t, p, "serial,model,parent\nOLD,washer-w7,\nOLD-B,base-b4,\nOLD-D,drill-d18,OLD-B\n")
	const h = "serial,model,parent\n"
	wantBad(t, p, h+",washer-w7,\n", "2: serial: is missing")
	wantBad(t, p, h+"a b,washer-w7,\n", `2: serial: "a b" is no serial number`)
	wantBad(t, p, h+strings.Repeat("x", 65)+",washer-w7,\n", `2: serial: "xxx`)
	wantBad(t, p, h+"X,,\n", "2: model: is missing")
	wantBad(t, p, h+"X,washer,\n", `2: model: there is no profile of model "washer"`)
	wantBad(t, p, h+"OLD,base-b4,\n", `2: model: "OLD" is registered as model "washer-w7"`)
	wantBad(t, p, h+"X1,washer-w7,\nWM,washer-w7,\nX1,washer-w7,\n", `4: serial: "X1" is in line 2 already`)
	wantBad(t, p, h+"X,drill-d18,NONE\n", `2: parent: "NONE" is neither registered nor in the list`)
	wantBad(t, p, h+"X,drill-d18,X\n", `2: parent: a device is not its own base station`)
	wantBad(t, p, h+"X,drill-d18,OLD-D\n", `2: parent: base station "OLD-D" has a base station itself`)
	wantBad(t, p, h+"X,washer-w7\n", "2: : 2 cells, and the header names 3")
	wantBad(t, p, h+"X,washer-w7,,y\n", "2: : 4 cells, and the header names 3")
	wantBad(t, p, h+"\"X,washer-w7,\n", "2: : a quote that begins a cell is not closed")
	wantBad(t, p, h+"\"X\"y,washer-w7,\n", "2: : after a closing quote the cell has to end")
	wantBad(t, p, h+strings.Repeat(" ", 9000)+"X,washer-w7,\n", "2: : the row is longer than 8192 bytes")
	wantBad(t, p, "serial,model,name\nX,washer-w7,caf\xe9\n", "2: name: not UTF-8")
	wantBad(t, p, "serial,model,name\nX,washer-w7,\"a\tb\"\n", "2: name: a control character")
	wantBad(t, p, "serial,model,name\nX,washer-w7,"+strings.Repeat("n", 257)+"\n", "2: name: longer than 256 bytes")
	wantBad(t, p, "serial,model,region\nX,washer-w7,Bavaria\n", `2: region: "Bavaria" is no ISO 3166 code`)
	wantBad(t, p, "serial,model,installed_at\nX,washer-w7,1.3.2026\n", `2: installed_at: "1.3.2026" is no date`)
	wantBad(t, p, "serial,model,installed_at,warranty_until\nX,washer-w7,2026-03-01,2026-02-28\n", "2: warranty_until: the warranty ends before")

	rep := importList(t, p, h+"C,drill-d18,P\n\"open,washer-w7,\nP,no-such,\nGOOD,washer-w7,\nC2,drill-d18,C\n")
	lines := make([]string, 0, len(rep.Bad))
	for _, b := range rep.Bad {
		lines = append(lines, b.String())
	}
	want := `2 parent: the row of "P", line 4, was not taken` // in the order of the list
	if len(lines) != 4 || rep.Added != 1 || rep.Bad[0].Line != 2 || !strings.Contains(lines[0], want[2:]) || rep.Bad[1].Line != 3 || rep.Bad[3].Line != 6 {
		t.Errorf("%v", lines)
	}
}

func TestAListThatCannotBeUsedIsAnError(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	for list, want := range map[string]string{
		"": "is empty", "\n\n": "is empty", "serial,name\n": "serial and model are required", "serial,model,colour\n": `column "colour" is not known`,
		"serial,model,Serial\n": `column "Serial" is there twice`, "\"serial,model\n": "line 1, the header", "\xff\xfes\x00": "UTF-16",
		"serial,model\n" + strings.Repeat("x,y\n", 10_001): "more than 10000 rows",
		strings.Repeat("x", 8<<20+1):                       "longer than 8 MiB",
	} {
		rep, err := p.ImportCSV(t.Context(), "demo", strings.NewReader(list), registry.ImportOptions{})
		if fleet.CodeOf(err) != fleet.CodeInvalid || !strings.Contains(err.Error(), want) || rep.Rows != 0 {
			t.Errorf("%.30q: %v", list, err)
		}
	}
}

// Every row is either in or named, whatever it is, and what was not named is registered as the list says.
func TestEveryRowIsInOrNamed(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		prefix := fmt.Sprintf("R%d-", round)
		var b bytes.Buffer
		b.WriteString("serial,model,parent,name\n")
		n := rapid.IntRange(0, 12).Draw(rt, "rows")
		cell := rapid.SampledFrom([]string{"", `"q""q"`, `"`, `a"b`, `"x"y`, "é", "\xff", "x,y", `"x,y"`, "\x01", " s "})
		serials := map[int]string{}
		for i := range n {
			serial := prefix + rapid.SampledFrom([]string{"1", "2", "3", "4", "5", "6", "7", "8", " bad"}).Draw(rt, "serial")
			parent := rapid.SampledFrom([]string{"", "", "", prefix + "1", prefix + "2", "none"}).Draw(rt, "parent")
			serials[i+2] = serial
			fmt.Fprintf(&b, "%s,%s,%s,%s\n", serial, rapid.SampledFrom([]string{"base-b4", "washer-w7", "none"}).Draw(rt, "model"), parent, cell.Draw(rt, "name"))
		}
		rep, err := p.ImportCSV(t.Context(), "demo", &b, registry.ImportOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		if rep.Rows != n || rep.Rows != rep.Added+rep.Updated+len(rep.Bad) {
			rt.Fatalf("%d rows: %+v", n, rep)
		}
		bad := map[int]bool{}
		for _, x := range rep.Bad {
			if bad[x.Line] || x.Message == "" {
				rt.Fatalf("named twice, or without a reason: %v", x)
			}
			bad[x.Line] = true
		}
		taken := map[string]bool{}
		for line, serial := range serials {
			if bad[line] {
				continue
			}
			taken[serial] = true
			d, ok := p.Device(key(serial))
			if !ok {
				rt.Fatalf("line %d is neither in nor named", line)
			}
			if d.Parent != "" && !taken[d.Parent] {
				if _, ok := p.Device(key(d.Parent)); !ok {
					rt.Fatalf("line %d hangs on nothing", line)
				}
			}
		}
		for _, serial := range serials {
			if _, in := p.Device(key(serial)); in && !taken[serial] {
				rt.Fatalf("%s is in though every row of it was refused", serial)
			}
		}
	})
}

func FuzzImportCSV(f *testing.F) {
	p := startFuzz(f)
	f.Add([]byte("serial,model\nWM-1,washer-w7\n"))
	f.Add([]byte("\xef\xbb\xbfserial;model;name\r\n\"WM-1\";washer-w7;\"a;\"\"b\"\r\n"))
	f.Add([]byte("serial,model\n\"\n\"\n\"\",\n"))
	f.Fuzz(func(t *testing.T, list []byte) {
		rep, err := p.ImportCSV(t.Context(), "demo", bytes.NewReader(list), registry.ImportOptions{FirstContact: true})
		if err == nil && rep.Rows != rep.Added+rep.Updated+len(rep.Bad) {
			t.Errorf("%+v", rep)
		}
	})
}

func BenchmarkImport10000(b *testing.B) {
	var list bytes.Buffer
	list.WriteString("serial,model,name,room,region,batch,installed_at\n")
	for i := range 10_000 {
		fmt.Fprintf(&list, "WM-%05d,washer-w7,Washing machine %d,cellar,DE-BY,2026-1,2026-03-01\n", i, i)
	}
	b.SetBytes(int64(list.Len()))
	for b.Loop() {
		b.StopTimer()
		p := startFuzz(b)
		b.StartTimer()
		rep, err := p.ImportCSV(b.Context(), "demo", bytes.NewReader(list.Bytes()), registry.ImportOptions{})
		if err != nil || rep.Added != 10_000 || len(rep.Secrets) != 10_000 {
			b.Fatal(err, rep.Added)
		}
	}
}
