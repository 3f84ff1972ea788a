package owner

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestConfigNamesWhatIsWrong(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatalf("the defaults are wrong: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"owner.listen":               func(c *Config) { c.Listen = "8081" },
		"the port":                   func(c *Config) { c.Listen = "127.0.0.1:http" },
		"owner.url":                  func(c *Config) { c.URL = "care.example.org" },
		"nothing behind it":          func(c *Config) { c.URL = "https://care.example.org/owners" },
		"cert and key":               func(c *Config) { c.TLS.Cert = "a.pem" },
		"not both":                   func(c *Config) { c.TLS = TLS{Cert: "a", Key: "b", ACME: ACME{Domains: []string{"x.example"}}} },
		"owner.tls.acme.domains":     func(c *Config) { c.TLS.ACME.Domains = []string{"*.example.org"} },
		"owner.tls.acme.email":       func(c *Config) { c.TLS.ACME.Email = "nobody" },
		"owner.tls.acme.directory":   func(c *Config) { c.TLS.ACME.Directory = "http://ca.example" },
		"owner.proxy":                func(c *Config) { c.Proxy = []string{"proxy.example"} },
		"want the public address":    func(c *Config) { c.Listen = ":8443" },
		"open to others without enc": func(c *Config) { c.Listen, c.URL = "0.0.0.0:80", "http://care.example.org" },
		"owner.name":                 func(c *Config) { c.Name = " " },
		"owner.session":              func(c *Config) { c.Session = time.Minute },
		"owner.tries":                func(c *Config) { c.Tries = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestItIsSaidWhyNobodyCanBePushedTo(t *testing.T) {
	public := func(c *Config) {
		c.Listen, c.URL, c.TLS.Cert, c.TLS.Key = "0.0.0.0:443", "https://care.example.org", "c.pem", "k.pem"
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // empty: nothing is said
	}{
		"all is well":      {public, ""},
		"behind a proxy":   {func(c *Config) { c.URL, c.Proxy = "https://care.example.org", []string{"127.0.0.1"} }, ""},
		"here only":        {func(*Config) {}, "on this machine only"},
		"http":             {func(c *Config) { c.URL, c.Proxy = "http://care.example.org", []string{"127.0.0.1"} }, "https only"},
		"no TLS":           {func(c *Config) { c.URL = "https://care.example.org" }, "speaks http"},
		"TLS for nothing":  {func(c *Config) { public(c); c.URL = "http://localhost:443" }, "speaks https"},
		"another name":     {func(c *Config) { public(c); c.TLS = TLS{ACME: ACME{Domains: []string{"other.example"}}} }, "certificates are for other.example"},
		"another port":     {func(c *Config) { c.URL = "http://localhost:9000" }, "another port"},
		"the name of ACME": {func(c *Config) { public(c); c.TLS = TLS{ACME: ACME{Domains: []string{"care.example.org"}}} }, ""},
	} {
		cfg := DefaultConfig()
		c.change(&cfg)
		if err := cfg.Validate(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := cfg.PushTrouble(); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestSEC10TriesAreNeverMore: whatever is asked in whatever order, one key gets no more than its burst and what comes back in time.
func TestSEC10TriesAreNeverMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		burst, every := rapid.IntRange(1, 20).Draw(t, "burst"), time.Duration(rapid.IntRange(1, 600).Draw(t, "every"))*time.Second
		tr := newTries(burst, every)
		begin := time.Unix(1e9, 0)
		now, got := begin, 0
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			now = now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "later")) * time.Second)
			if rapid.Bool().Draw(t, "other") {
				tr.take(now, "other")
			}
			wait, ok := tr.take(now, "key")
			if ok {
				got++
			} else if _, early := tr.take(now.Add(wait-time.Millisecond), "key"); early {
				t.Fatalf("told to wait %v, and less was enough", wait)
			}
			if most := float64(burst) + float64(now.Sub(begin))/float64(every); float64(got) > most+1e-6 {
				t.Fatalf("%d tries in %v, at most %.2f", got, now.Sub(begin), most)
			}
		}
	})
}

func TestTriesAreBoundedInMemory(t *testing.T) {
	tr := newTries(2, time.Hour)
	now := time.Unix(1e9, 0)
	tr.take(now, "attacker")
	tr.take(now, "attacker")
	for i := range 3 * maxKeys {
		tr.take(now, fmt.Sprint("someone ", i))
	}
	if len(tr.left) > maxKeys {
		t.Errorf("%d keys are kept", len(tr.left))
	}
	if _, ok := tr.take(now, "attacker"); ok {
		t.Error("who has none left was forgotten while others had some")
	}
}

func TestTheAddressBehindAProxyCannotBeMadeUp(t *testing.T) {
	s := &Site{proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for _, c := range []struct{ peer, forwarded, want string }{
		{"203.0.113.9:1", "", "ip:203.0.113.9"},
		{"203.0.113.9:1", "198.51.100.1", "ip:203.0.113.9"},                // not from the proxy: not believed
		{"10.0.0.1:1", "1.2.3.4, 198.51.100.1", "ip:198.51.100.1"},         // what the sender wrote stands before
		{"10.0.0.1:1", "198.51.100.1, 10.0.0.2", "ip:198.51.100.1"},        // two proxies
		{"10.0.0.1:1", "nonsense", "ip:10.0.0.1"},                          //
		{"10.0.0.1:1", "2001:db8:1:2:3:4:5:6", "ip:2001:db8:1:2::/64"},     // a household has a network
		{"[::ffff:203.0.113.9]:1", "", "ip:203.0.113.9"},                   //
		{"[2001:db8:1:2:ffff::1]:1", "1.1.1.1", "ip:2001:db8:1:2::/64"},    //
		{"10.0.0.1:1", "::ffff:198.51.100.1, 10.9.9.9", "ip:198.51.100.1"}, //
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": {c.forwarded}}}
		if got := s.from(r); got != c.want {
			t.Errorf("%s with %q is %q, want %q", c.peer, c.forwarded, got, c.want)
		}
	}
}

func TestOneLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typed, limit := rapid.String().Draw(t, "typed"), rapid.IntRange(1, 40).Draw(t, "limit")
		got := oneLine(typed, limit)
		if len(got) > limit || strings.ContainsAny(got, "\r\n\t\x00\u202e") || got != strings.ToValidUTF8(got, "") || got != strings.TrimSpace(got) {
			t.Fatalf("%q became %q (at most %d)", typed, got, limit)
		}
	})
}
