package registry_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"aftercare/internal/fleet"
)

func partner(id string, change func(*fleet.Partner)) fleet.Partner {
	p := fleet.Partner{ID: id, Tenant: "demo", Name: "Service " + id, Locale: "de-DE", Zone: "Europe/Berlin", Email: id + "@example.org"}
	if change != nil {
		change(&p)
	}
	return p
}

func TestPartnersForADevice(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	for _, x := range []fleet.Partner{
		partner("all", nil),
		partner("washers", func(p *fleet.Partner) { p.Categories = []string{"washing-machine"} }),
		partner("drills", func(p *fleet.Partner) { p.Categories = []string{"cordless-drill"} }),
		partner("germany", func(p *fleet.Partner) { p.Categories, p.Regions = []string{"washing-machine"}, []string{"DE"} }),
		partner("bavaria", func(p *fleet.Partner) { p.Categories, p.Regions = []string{"washing-machine"}, []string{"AT", "DE-BY"} }),
		partner("w7", func(p *fleet.Partner) { p.Models = []string{"washer-w7"} }),
		partner("d18", func(p *fleet.Partner) { p.Models, p.Categories = []string{"drill-d18"}, []string{"washing-machine"} }),
		partner("rival", func(p *fleet.Partner) { p.Tenant = "rival" }),
	} {
		must(t, p.SavePartner(t.Context(), x))
	}
	other := start(t, dir, nil)
	must(t, other.PausePartner(t.Context(), "demo", "germany", true))
	for region, want := range map[string]string{
		"DE-BY": "w7 bavaria germany washers all",
		"DE-BE": "w7 germany washers all",
		"AT-9":  "w7 bavaria washers all",
		"":      "w7 washers all",
		"US":    "w7 washers all",
	} {
		d := washer("W-1")
		d.Category, d.Region = "washing-machine", region
		for _, q := range []process{p, other} {
			found := q.PartnersFor(&d)
			got := make([]string, 0, len(found))
			for _, x := range found {
				got = append(got, x.ID)
			}
			w := want
			if q == other { // p does not know of the pause yet
				w = strings.ReplaceAll(want, " germany", "")
			}
			if s := strings.Join(got, " "); s != w {
				t.Errorf("%s: %s, want %s", region, s, w)
			}
		}
	}
	must(t, p.Refresh(t.Context()))
	if x, ok := p.Partner("demo", "germany"); !ok || !x.Paused || len(p.Partners("demo")) != 7 {
		t.Errorf("%+v", x)
	}
}

func TestAPartnerIsReadBackAsSaved(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	want := partner("a", func(p *fleet.Partner) {
		p.Webhook, p.Secret, p.Regions, p.Categories, p.Models = "https://example.org/orders", "whsec_c2VjcmV0", []string{"DE"}, []string{"washing-machine"}, []string{"washer-w7"}
	})
	must(t, p.SavePartner(t.Context(), want))
	got, _ := start(t, dir, nil).Partner("demo", "a")
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for name, change := range map[string]func(*fleet.Partner){
		"e-mail":     func(p *fleet.Partner) { p.Email, p.Webhook = "", "" },
		"address":    func(p *fleet.Partner) { p.Email = "Service <a@example.org>" },
		"webhook":    func(p *fleet.Partner) { p.Webhook = "ftp://example.org" },
		"whsec_":     func(p *fleet.Partner) { p.Webhook, p.Secret = "https://example.org", "" },
		"region":     func(p *fleet.Partner) { p.Regions = []string{"Bayern"} },
		"model":      func(p *fleet.Partner) { p.Models = []string{"w8"} },
		"category":   func(p *fleet.Partner) { p.Categories = []string{"toaster"} },
		"zone":       func(p *fleet.Partner) { p.Zone = "" },
		"tenant and": func(p *fleet.Partner) { p.ID = "" },
	} {
		if err := p.SavePartner(t.Context(), partner("b", change)); fleet.CodeOf(err) != fleet.CodeInvalid || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.PausePartner(t.Context(), "demo", "nobody", true); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Error(err)
	}
}
