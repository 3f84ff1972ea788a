package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestStartLinkOpensTheDoorOnce(t *testing.T) {
	f := newFixture(t)
	w := f.do(request(http.MethodGet, "/devices?token="+testToken+"&state=due", nil))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/devices?state=due" {
		t.Fatalf("%d to %q", w.Code, w.Header().Get("Location"))
	}
	c := w.Result().Cookies()
	if len(c) != 1 || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode || strings.Contains(c[0].Value, testToken) {
		t.Fatalf("cookie %+v", c)
	}
	r := request(http.MethodGet, "/", nil)
	r.AddCookie(c[0])
	if w := f.do(r); w.Code != http.StatusOK {
		t.Errorf("with the cookie: %d", w.Code)
	}
	if w := f.do(request(http.MethodGet, "//evil.example/%2e%2e?token="+testToken, nil)); strings.HasPrefix(w.Header().Get("Location"), "//") {
		t.Errorf("sent elsewhere: %q", w.Header().Get("Location"))
	}
}

func TestGuardMatrix(t *testing.T) {
	f := newFixture(t)
	api := f.web.Guard().API(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	public := f.web.Guard().Host(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	session := "aftercare_8080=" + sessionValue(testToken)
	post := caseURL(&f.cases[0]) + "/acknowledge"
	for _, c := range []struct {
		name, method, target, host string
		header                     map[string]string
		web, api, public           int
	}{
		{"nothing", "GET", "/", "127.0.0.1:8080", nil, 401, 401, 204},
		{"session", "GET", "/", "127.0.0.1:8080", map[string]string{"Cookie": session}, 200, 204, 204},
		{"localhost", "GET", "/", "LOCALHOST:8080", map[string]string{"Cookie": session}, 200, 204, 204},
		{"ipv6", "GET", "/", "[::1]:8080", map[string]string{"Cookie": session}, 200, 204, 204},
		{"other port", "GET", "/", "127.0.0.1:9999", map[string]string{"Cookie": session}, 421, 421, 421},
		{"no port", "GET", "/", "127.0.0.1", map[string]string{"Cookie": session}, 421, 421, 421},
		{"rebound name", "GET", "/", "evil.example:8080", map[string]string{"Cookie": session}, 421, 421, 421},
		{"no host", "GET", "/", "", map[string]string{"Cookie": session}, 421, 421, 421},
		{"private address", "GET", "/", "192.168.1.4:8080", map[string]string{"Cookie": session}, 421, 421, 421},
		{"name that begins well", "GET", "/", "127.0.0.1.evil.example:8080", map[string]string{"Cookie": session}, 421, 421, 421},
		{"the token as cookie", "GET", "/", "127.0.0.1:8080", map[string]string{"Cookie": "aftercare_8080=" + testToken}, 401, 401, 204},
		{"bearer", "GET", "/", "127.0.0.1:8080", map[string]string{"Authorization": "Bearer " + testToken}, 200, 204, 204},
		{"wrong bearer", "GET", "/", "127.0.0.1:8080", map[string]string{"Authorization": "Bearer x", "Cookie": session}, 401, 401, 204},
		{"basic", "GET", "/", "127.0.0.1:8080", map[string]string{"Authorization": "Basic " + testToken}, 401, 401, 204},
		{"wrong token", "GET", "/?token=x", "127.0.0.1:8080", nil, 401, 401, 204},
		{"own post", "POST", post, "127.0.0.1:8080", map[string]string{"Cookie": session, "Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}, 303, 204, 204},
		{"own post without fetch metadata", "POST", post, "127.0.0.1:8080", map[string]string{"Cookie": session, "Origin": "http://127.0.0.1:8080"}, 303, 204, 204},
		{"foreign post", "POST", post, "127.0.0.1:8080", map[string]string{"Cookie": session, "Origin": "http://evil.example"}, 403, 403, 204},
		{"foreign port", "POST", post, "127.0.0.1:8080", map[string]string{"Cookie": session, "Origin": "http://127.0.0.1:3000"}, 403, 403, 204},
		{"same site", "POST", post, "127.0.0.1:8080", map[string]string{"Cookie": session, "Sec-Fetch-Site": "same-site"}, 403, 403, 204},
		{"cross site", "POST", post, "127.0.0.1:8080", map[string]string{"Cookie": session, "Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "cross-site"}, 403, 403, 204},
		{"null origin", "POST", post, "127.0.0.1:8080", map[string]string{"Cookie": session, "Origin": "null"}, 403, 403, 204},
		{"silent about its origin", "POST", post, "127.0.0.1:8080", map[string]string{"Cookie": session}, 403, 403, 204},
		{"program", "POST", post, "127.0.0.1:8080", map[string]string{"Authorization": "Bearer " + testToken}, 303, 204, 204},
		{"token in a post's address", "POST", post + "?token=" + testToken, "127.0.0.1:8080", map[string]string{"Origin": "http://127.0.0.1:8080"}, 401, 401, 204},
	} {
		for _, h := range []struct {
			name    string
			handler http.Handler
			want    int
		}{{"web", f.web, c.web}, {"api", api, c.api}, {"public", public, c.public}} {
			r := httptest.NewRequest(c.method, c.target, nil)
			r.Host = c.host
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			h.handler.ServeHTTP(w, r)
			if w.Code != h.want {
				t.Errorf("%s, %s: %d, want %d", c.name, h.name, w.Code, h.want)
			}
			for k, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"} {
				if w.Header().Get(k) != want {
					t.Errorf("%s, %s: %s is %q", c.name, h.name, k, w.Header().Get(k))
				}
			}
			csp := w.Header().Get("Content-Security-Policy")
			if !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s, %s: policy %q", c.name, h.name, csp)
			}
		}
	}
}

func TestConfiguredHosts(t *testing.T) {
	f := newFixture(t)
	cfg := DefaultConfig()
	cfg.Token, cfg.Hosts = testToken, []string{"desk.example", "other.example:8443"}
	g := NewGuard(cfg, f.web.denied, nil).Host(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for host, want := range map[string]int{"desk.example": 200, "desk.example:443": 200, "Desk.Example:8080": 200, "other.example:8443": 200, "other.example": 421, "x.example": 421} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", host, w.Code, want)
		}
	}
}

func TestLockedDoorSaysWhatToDo(t *testing.T) {
	f := newFixture(t)
	r := request(http.MethodGet, "/", nil)
	r.Header.Set("Accept-Language", "de-AT,de;q=0.9")
	body := f.do(r).Body.String()
	for _, want := range []string{"Bitte öffnen Sie den Link", "noch keine Anmeldung", "?token="} {
		if !strings.Contains(body, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if strings.Contains(body, "Berger") || strings.Contains(body, `href="/devices"`) {
		t.Error("the locked page shows something of the inside")
	}
	if w := f.do(request(http.MethodGet, "/assets/app.css", nil)); w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/css") {
		t.Errorf("the locked page has no style: %d", w.Code)
	}
	if w := f.do(request(http.MethodGet, "/live", nil)); w.Code != http.StatusUnauthorized {
		t.Errorf("live feed without the link: %d", w.Code)
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"web.listen":   func(c *Config) { c.Listen = "0.0.0.0:8080" },
		"web.hosts":    func(c *Config) { c.Hosts = []string{"*"} },
		"web.token":    func(c *Config) { c.Token = "short" },
		"web.zone":     func(c *Config) { c.Zone = "Mars/Olympus" },
		"web.locale":   func(c *Config) { c.Locale = "fr" },
		"web.tenant":   func(c *Config) { c.Tenant = "" },
		"web.max_live": func(c *Config) { c.MaxLive = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key) || strings.Contains(err.Error(), "short") {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}
