package owner

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
)

func TestAClaimCodeMakesAnOwnerAndHerSession(t *testing.T) {
	f := newFixture(t)
	res, body := f.post("/", "/claim", "code", "abcde-fghjk", "name", "Dora\u202e  Klein\n", "zone", "America/Denver")
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/me/things/NEW-1?new=1" {
		t.Fatalf("%d to %q: %s", res.StatusCode, res.Header.Get("Location"), body)
	}
	owner := f.people[f.devices["NEW-1"].OwnerID]
	if owner.Name != "Dora Klein" || owner.Zone != "America/Denver" || owner.Locale != "en-GB" {
		t.Errorf("the new owner is %+v", owner)
	}
	if _, body := f.get("/me"); !strings.Contains(body, "Freezer") {
		t.Errorf("her things do not show:\n%s", body)
	}
	for _, s := range f.sessions {
		if s.Agent != "Chrome · Android" {
			t.Errorf("the session is %+v", s)
		}
	}
}

func TestSEC10WrongCodesAreCountedByAddressAndPerson(t *testing.T) {
	f := newFixture(t)
	try := func() int {
		res, _ := f.post("/claim", "/claim", "code", "ABCDE-00000")
		return res.StatusCode
	}
	f.from = "203.0.113.7"
	for range 10 {
		if got := try(); got != http.StatusUnprocessableEntity {
			t.Fatalf("a wrong code answers %d", got)
		}
	}
	if got := try(); got != http.StatusTooManyRequests {
		t.Fatalf("the eleventh wrong code answers %d", got)
	}
	if res, _ := f.post("/claim", "/claim", "code", "ABCDEFGHJK"); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
		t.Errorf("the right code in the place of the eleventh answers %d", res.StatusCode)
	}
	// A link that was sealed here is no guess: a leak is told of also where somebody guessed.
	if res, _ := f.get("/m/" + f.link(seal.Message, "m-drain", "anna", time.Time{})); res.StatusCode != http.StatusOK {
		t.Errorf("a message's page answers %d where codes were guessed", res.StatusCode)
	}
	if res, _ := f.get("/m/x.y"); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a wrong link answers %d where codes were guessed", res.StatusCode)
	}
	// The person counts too, wherever she tries from.
	f.from = "198.51.100.1"
	f.signIn("anna")
	for i := range 10 {
		f.from = fmt.Sprintf("198.51.100.%d", i+10)
		if got := try(); got != http.StatusUnprocessableEntity {
			t.Fatalf("try %d answers %d", i, got)
		}
	}
	f.from = "198.51.100.99"
	if got := try(); got != http.StatusTooManyRequests {
		t.Errorf("the eleventh of one person from many addresses answers %d", got)
	}
	f.now = f.now.Add(7 * time.Minute)
	if got := try(); got != http.StatusUnprocessableEntity {
		t.Errorf("after its time one more answers %d", got)
	}
}

func TestALoginLinkWorksOnceAndNotByLookingAtIt(t *testing.T) {
	f := newFixture(t)
	path := strings.TrimPrefix(LoginLink(f.seal, f.srv.URL, tenant, "anna", f.now.Add(time.Hour)), f.srv.URL)
	for range 3 { // a mail scanner
		if res, _ := f.get(path); res.StatusCode != http.StatusOK || len(f.sessions) != 0 {
			t.Fatalf("looking at it answers %d and makes %d sessions", res.StatusCode, len(f.sessions))
		}
	}
	if res, _ := f.post(path, path); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("pressing the button answers %d", res.StatusCode)
	}
	if res, body := f.get("/me"); res.StatusCode != http.StatusOK || !strings.Contains(body, "Waschmaschine im Keller") {
		t.Fatalf("%d:\n%s", res.StatusCode, body)
	}
	f.http = f.browser()
	if res, _ := f.post(path, path); res.StatusCode != http.StatusGone {
		t.Errorf("the second time answers %d", res.StatusCode)
	}
	if res, _ := f.get("/me"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the second browser is in: %d", res.StatusCode)
	}
	f.now = f.now.Add(2 * time.Hour)
	if res, _ := f.get(path); res.StatusCode != http.StatusGone {
		t.Errorf("an expired link answers %d", res.StatusCode)
	}
}

// secrets are what nobody may see without a session or a link of his own.
var secrets = []string{"Berger", "Anna", "Waschmaschine", "Keller", "Gefrier", "Ben", "m-drain", "anna@example.org", "WM-1"}

func TestWhoHasNoSessionLearnsNothing(t *testing.T) {
	f := newFixture(t)
	paths := []string{"/", "/claim", "/me", "/me/settings", "/me/things/WM-1", "/me/things/none", "/m/xx", "/m/" + f.link(seal.Stop, "m-drain", "anna", time.Time{}), "/login/x.y", "/stop/x.y", "/order/x",
		"/offline", "/devices", "/cases", "/api/v1/devices", "/metrics", "/healthz", "/people/demo/anna", "/assets/", "/assets/sw.js", "/icons/x.png"}
	for _, p := range paths {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS"} {
			var form url.Values
			if method == "POST" {
				form = url.Values{"a": {"fixed"}}
			}
			res, body := f.do(method, p, form)
			for _, s := range secrets {
				if strings.Contains(body, s) && !strings.Contains(p, s) {
					t.Errorf("%s %s (%d) tells %q:\n%s", method, p, res.StatusCode, s, body)
				}
			}
			open := method == "GET" && (p == "/" || p == "/claim" || p == "/offline") || p == "/claim" && method == "POST"
			if !open && res.StatusCode < 400 {
				t.Errorf("%s %s answers %d", method, p, res.StatusCode)
			}
		}
	}
	if len(f.answers)+len(f.receipts)+len(f.sessions) != 0 {
		t.Errorf("something was done: %v %v %v", f.answers, f.receipts, f.sessions)
	}
}

func TestOthersThingsDoNotExist(t *testing.T) {
	f := newFixture(t)
	f.signIn("anna")
	for _, p := range []string{"/me/things/BEN-1", "/me/things/NEW-1", "/me/things/none"} {
		if res, body := f.get(p); res.StatusCode != http.StatusNotFound || strings.Contains(body, "Bens") {
			t.Errorf("GET %s: %d", p, res.StatusCode)
		}
		for _, act := range []string{"", "/away", "/transfer"} {
			if res, _ := f.post("/me/settings", p+act, "name", "mine", "away", "1"); res.StatusCode != http.StatusNotFound {
				t.Errorf("POST %s%s: %d", p, act, res.StatusCode)
			}
		}
	}
	if f.devices["BEN-1"].Name != "Bens Maschine" || len(f.away) > 0 || len(f.codes) != 1 {
		t.Error("another person's thing was changed")
	}
	_, body := f.get("/me")
	if strings.Contains(body, "Bens") || strings.Contains(body, "Vom Leben davor") {
		t.Errorf("messages of another person or another time are shown:\n%s", body)
	}
	if danger, fault := strings.Index(body, "Gefrierschrank im Vorratsraum ist"), strings.Index(body, "Waschmaschine im Keller</a>"); danger < 0 || fault < danger {
		t.Errorf("danger does not come first: %d, %d", danger, fault)
	}
}

func TestEveryFormWantsItsTokenAndOurOrigin(t *testing.T) {
	f := newFixture(t)
	f.signIn("anna")
	message := "/m/" + f.link(seal.Message, "m-drain", "anna", f.now.Add(time.Hour))
	posts := append(make([]string, 0, 20), "/claim", "/me/things/WM-1", "/me/things/WM-1/away", "/me/things/WM-1/transfer", message)
	for name := range f.site.settingsForms() {
		posts = append(posts, "/me/settings/"+name)
	}
	_, settings := f.get("/me/settings")
	mine := formField.FindStringSubmatch(settings)[1]
	_, page := f.get(message)
	linked := formField.FindStringSubmatch(page)[1]
	if mine == linked {
		t.Error("one token opens all forms")
	}
	for _, p := range posts {
		token := mine
		if p == message {
			token = linked
		}
		for name, c := range map[string]struct {
			token  string
			header []string
		}{
			"without a token":   {"", nil},
			"with another":      {strings.ToUpper(token), nil},
			"from another page": {token, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}},
			"from a sibling":    {token, []string{"Origin", "", "Sec-Fetch-Site", "same-site"}},
			"from a sandbox":    {token, []string{"Origin", "null"}},
		} {
			form := url.Values{"form": {c.token}, "a": {"fixed"}, "code": {"ABCDEFGHJK"}, "away": {"1"}, "name": {"x"}, "session": {"all"}}
			if res, _ := f.do("POST", p, form, c.header...); res.StatusCode != http.StatusForbidden {
				t.Errorf("POST %s %s answers %d", p, name, res.StatusCode)
			}
		}
	}
	if len(f.answers) != 0 || len(f.away) != 0 || f.devices["NEW-1"].OwnerID != "" {
		t.Error("a refused form did something")
	}
}

func TestAnAnswerReachesTheCaseAndSaysWhatHappensNow(t *testing.T) {
	f := newFixture(t)
	path := "/m/" + f.link(seal.Message, "m-drain", "anna", f.now.Add(time.Hour))
	for _, q := range []string{"", "?a=fixed", "?a=not_true", "?a=stop"} { // REL-10: what opens links gives no answer
		if res, _ := f.get(path + q); res.StatusCode != http.StatusOK || len(f.answers) > 0 {
			t.Fatalf("GET %s answers %d and gave %v", q, res.StatusCode, f.answers)
		}
	}
	_, body := f.get(path)
	for _, want := range []string{"Waschmaschine im Keller pumpt langsam ab", "Reinigen Sie das Flusensieb", "94", "sonst 55", "Berechnet aus: Abpumpzeit", "washer-drain-slow", "Ist behoben", "Termin buchen", "Das stimmt nicht", "Keine mehr davon"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for range 2 {
		if res, _ := f.post(path, path, "a", "not_true", "note", "Der Sensor\nspinnt"); res.StatusCode != http.StatusSeeOther {
			t.Fatalf("the answer is answered with %d", res.StatusCode)
		}
	}
	if len(f.answers) != 1 {
		t.Fatalf("%d answers were given", len(f.answers))
	}
	if a := f.answers[0]; a.Verdict != fleet.VerdictNotTrue || a.CaseID != "c-drain" || a.PersonID != "anna" || a.Rule != "washer-drain-slow" || a.RuleHash != "abc" || a.Topic != fleet.TopicFault || a.Note != "Der Sensor spinnt" {
		t.Errorf("the answer is %+v", a)
	}
	if _, body := f.get(path); !strings.Contains(body, textOf("now.not_true", "de")) {
		t.Error("the page does not say what happens now")
	}
	// Undo, where it is possible.
	f.post(path, path, "a", "stop")
	if p := f.people["anna"].Preferences; len(p) != 1 || p[0].Want != fleet.WantNever {
		t.Fatalf("stopped: %v", p)
	}
	if res, _ := f.post(path, path, "a", "undo"); res.StatusCode != http.StatusSeeOther || len(f.people["anna"].Preferences) != 0 {
		t.Errorf("undo answers %d and leaves %v", res.StatusCode, f.people["anna"].Preferences)
	}
	if res, _ := f.post(path, path, "a", "explode"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("an answer that is none is answered with %d", res.StatusCode)
	}
}

func TestLinksThatAreOldForeignOrPassedAreExplained(t *testing.T) {
	f := newFixture(t)
	for path, status := range map[string]int{
		"/m/" + f.link(seal.Message, "m-drain", "anna", f.now.Add(-time.Second)): http.StatusGone,
		"/m/" + f.link(seal.Answer, "m-drain fixed", "anna", time.Time{}):        http.StatusNotFound,
		"/m/" + f.link(seal.Message, "m-none", "anna", time.Time{}):              http.StatusGone,
		"/m/" + f.link(seal.Message, "m-ben", "anna", time.Time{}):               http.StatusGone,
		"/m/" + f.link(seal.Message, "m-before", "anna", time.Time{}):            http.StatusGone,
		"/stop/" + f.link(seal.Stop, "sports email", "anna", time.Time{}):        http.StatusNotFound,
	} {
		res, body := f.get(path)
		if res.StatusCode != status || !strings.Contains(body, "<h1>") || strings.Contains(body, "Geheimnis") || strings.Contains(body, "Vom Leben davor") {
			t.Errorf("%s answers %d, want %d", path, res.StatusCode, status)
		}
	}
	d := f.devices["WM-1"] // sold
	d.OwnerID, d.OwnedSince = "ben", f.now
	f.devices["WM-1"] = d
	if res, body := f.get("/m/" + f.link(seal.Message, "m-drain", "anna", time.Time{})); res.StatusCode != http.StatusGone || !strings.Contains(body, textOf("err.passed", "de")) {
		t.Errorf("a message about a thing that was sold answers %d", res.StatusCode)
	}
}

func TestTheServiceWorkersRequests(t *testing.T) {
	f := newFixture(t)
	send := func(path, body string, header ...string) (int, string) {
		t.Helper()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, f.srv.URL+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", f.srv.URL)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := f.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b := make([]byte, 4096)
		n, _ := res.Body.Read(b)
		return res.StatusCode, string(b[:n])
	}
	token := f.link(seal.Answer, "m-drain fixed", "anna", f.now.Add(time.Hour))
	if code, body := send("/m/answer", `{"token":"`+token+`"}`); code != 200 || !strings.Contains(body, textOf("now.fixed", "de")) || len(f.answers) != 1 {
		t.Errorf("%d %s %v", code, body, f.answers)
	}
	receipt := f.link(seal.Receipt, "m-drain", "anna", f.now.Add(time.Hour))
	for _, what := range []string{"delivered", "opened"} {
		if code, _ := send("/m/receipt", `{"token":"`+receipt+`","what":"`+what+`"}`); code != http.StatusNoContent {
			t.Errorf("receipt %s: %d", what, code)
		}
	}
	if !slices.Equal(f.receipts, []string{"m-drain delivered", "m-drain opened"}) || f.messages[1].ReadAt.IsZero() {
		t.Errorf("receipts %v, read %v", f.receipts, f.messages[1].ReadAt)
	}
	for name, c := range map[string]struct {
		path, body string
		header     []string
		status     int
	}{
		"a receipt's token":    {"/m/answer", `{"token":"` + receipt + `"}`, nil, 404},
		"an expired token":     {"/m/answer", `{"token":"` + f.link(seal.Answer, "m-drain book", "anna", f.now.Add(-time.Hour)) + `"}`, nil, 410},
		"another verdict":      {"/m/answer", `{"token":"` + f.link(seal.Answer, "m-drain explode", "anna", time.Time{}) + `"}`, nil, 400},
		"another site":         {"/m/answer", `{"token":"` + token + `"}`, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403},
		"no JSON":              {"/m/answer", `token`, nil, 400},
		"too much":             {"/m/answer", `{"token":"` + strings.Repeat("x", maxBody) + `"}`, nil, 413},
		"more than one":        {"/m/answer", `{"token":"` + token + `"}{}`, nil, 400},
		"a receipt of nothing": {"/m/receipt", `{"token":"` + receipt + `","what":"eaten"}`, nil, 400},
		"push without session": {"/me/push", `{"endpoint":"https://fcm.googleapis.com/x"}`, nil, 401},
	} {
		if code, body := send(c.path, c.body, c.header...); code != c.status {
			t.Errorf("%s: %d, want %d: %s", name, code, c.status, body)
		}
	}
	if len(f.answers) != 1 {
		t.Errorf("answers: %v", f.answers)
	}
}

func TestStopAsksAndAMailProgramsButtonWorks(t *testing.T) {
	f := newFixture(t)
	path := "/stop/" + f.link(seal.Stop, "maintenance email", "anna", time.Time{})
	if res, body := f.get(path); res.StatusCode != http.StatusOK || len(f.people["anna"].Preferences) != 0 || !strings.Contains(body, "Wartung") {
		t.Fatalf("looking at it answers %d, %v", res.StatusCode, f.people["anna"].Preferences)
	}
	want := fleet.Preference{Topic: fleet.TopicMaintenance, Channel: "email", Want: fleet.WantNever}
	f.http = f.browser()
	if res, _ := f.do("POST", path, url.Values{"List-Unsubscribe": {"One-Click"}}, "Origin", "", "Sec-Fetch-Site", ""); res.StatusCode != http.StatusOK || !slices.Equal(f.people["anna"].Preferences, []fleet.Preference{want}) {
		t.Errorf("RFC 8058: %d, %v", res.StatusCode, f.people["anna"].Preferences)
	}
	if res, _ := f.post(path, path, "undo", "1"); res.StatusCode != http.StatusOK || len(f.people["anna"].Preferences) != 0 {
		t.Errorf("undo: %d, %v", res.StatusCode, f.people["anna"].Preferences)
	}
	if res, _ := f.post(path, path); res.StatusCode != http.StatusOK || !slices.Equal(f.people["anna"].Preferences, []fleet.Preference{want}) {
		t.Errorf("the page's button: %d, %v", res.StatusCode, f.people["anna"].Preferences)
	}
}

func TestHeadersKeepThePagesToThemselves(t *testing.T) {
	f := newFixture(t)
	f.signIn("anna")
	inline := regexp.MustCompile(`(?i)<script[^>]*>\s*[^<\s]|\son\w+="|\sstyle="|<style|javascript:`)
	for _, l := range f.looks() {
		res, body := f.get(l.path)
		csp := res.Header.Get("Content-Security-Policy")
		if strings.Contains(csp, "unsafe") || !strings.Contains(csp, "default-src 'none'") || res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", l.name, res.Header)
		}
		if m := inline.FindString(body); m != "" {
			t.Errorf("%s has something inline: %q", l.name, m)
		}
		if res.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: HSTS without TLS", l.name)
		}
	}
	res, _ := f.do("GET", "/", nil, "X-Forwarded-Proto", "https")
	if res.Header.Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS behind a proxy with TLS")
	}
	f.http = f.browser()
	path := strings.TrimPrefix(LoginLink(f.seal, f.srv.URL, tenant, "anna", f.now.Add(time.Hour)), f.srv.URL)
	_, body := f.do("GET", path, nil, "X-Forwarded-Proto", "https")
	res, _ = f.do("POST", path, url.Values{"form": {formField.FindStringSubmatch(body)[1]}}, "X-Forwarded-Proto", "https")
	for _, c := range res.Cookies() {
		if c.Name == "__Host-aftercare_me" && (!c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/") {
			t.Errorf("the session's cookie is %v", c)
		}
	}
	if len(res.Cookies()) == 0 {
		t.Error("no cookie was set")
	}
}

func TestOnlyOurOwnNameIsAnswered(t *testing.T) {
	f := newFixture(t)
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, f.srv.URL+"/", nil)
	r.Host = "evil.example"
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a foreign name answers %d", res.StatusCode)
	}
}

func TestSettings(t *testing.T) {
	f := newFixture(t)
	f.people["anna"] = func() fleet.Person {
		p := f.people["anna"]
		p.Endpoints = append(p.Endpoints, fleet.Endpoint{Channel: "push", Address: "https://push.example/1", Label: "Chrome"})
		return p
	}()
	f.signIn("anna")
	anna := func() fleet.Person { return f.people["anna"] }
	do := func(what string, fields ...string) {
		t.Helper()
		if res, body := f.post("/me/settings", "/me/settings/"+what, fields...); res.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s answers %d:\n%s", what, res.StatusCode, body)
		}
	}
	do("profile", "name", "Anna B.", "locale", "de-AT", "zone", "Europe/Vienna")
	if p := anna(); p.Name != "Anna B." || p.Locale != "de-AT" || p.Zone != "Europe/Vienna" {
		t.Errorf("profile: %+v", p)
	}
	do("wishes", "want:maintenance:email", "digest", "want:tip:push", "never", "want:fault:inbox", "", "want:fault:carrier-pigeon", "now", "want:safety:inbox", "never")
	if got := anna().Preferences; len(got) != 2 || !slices.Contains(got, fleet.Preference{Topic: fleet.TopicMaintenance, Channel: "email", Want: fleet.WantDigest}) {
		t.Errorf("wishes: %v", got)
	}
	do("digest", "day", "6", "hour", "9")
	if p := anna(); p.DigestDay != time.Saturday || p.DigestHour != 9 {
		t.Errorf("digest: %v %d", p.DigestDay, p.DigestHour)
	}
	push := endpointID(anna().Endpoints[1])
	do("first", "endpoint", push)
	if anna().Endpoints[0].Channel != "push" {
		t.Errorf("order: %v", anna().Endpoints)
	}
	do("test", "endpoint", push)
	if len(f.tried) != 1 || f.tried[0].Title != textOf("test.title", "de") {
		t.Errorf("test: %v", f.tried)
	}
	do("remove", "endpoint", push)
	if len(anna().Endpoints) != 1 {
		t.Errorf("removed: %v", anna().Endpoints)
	}
	do("consent", "purpose", "tips", "text", consentVersion[fleet.PurposeTips])
	if len(f.consents) != 1 || f.consents[0].Text != "tips-2026-11" || f.consents[0].Source != "owner page" {
		t.Errorf("consent: %v", f.consents)
	}
	if res, _ := f.post("/me/settings", "/me/settings/consent", "purpose", "tips", "text", "tips-1999"); res.StatusCode != http.StatusConflict {
		t.Errorf("agreeing to words that did not stand there answers %d", res.StatusCode)
	}
	do("withdraw", "purpose", "tips")
	if f.consents[0].WithdrawnAt.IsZero() {
		t.Error("not withdrawn")
	}
	if _, body := f.get("/me/settings"); !strings.Contains(body, "Cara Berger") || !strings.Contains(body, "tips-2026-11") {
		t.Error("the page shows neither the household nor past consents")
	}
}

func TestSessionsEndOneByOneOrAll(t *testing.T) {
	f := newFixture(t)
	f.signIn("anna")
	first := f.http
	f.http = f.browser()
	f.signIn("anna")
	_, body := f.get("/me/settings")
	ids := regexp.MustCompile(`name="session" value="(session-[^"]+)"`).FindAllStringSubmatch(body, -1)
	if len(ids) != 2 {
		t.Fatalf("%d sessions are listed", len(ids))
	}
	res, body := f.post("/me/settings", "/me/settings/link")
	if res.StatusCode != http.StatusOK || !strings.Contains(body, f.srv.URL+"/login/") {
		t.Errorf("a link for another device: %d", res.StatusCode)
	}
	if res, _ := f.post("/me/settings", "/me/settings/end", "session", "all"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("%d", res.StatusCode)
	}
	for _, b := range []*http.Client{first, f.http} {
		f.http = b
		if res, _ := f.get("/me"); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("a session that was ended answers %d", res.StatusCode)
		}
	}
	// A stolen cookie of another person ends nothing of hers.
	f.http = f.browser()
	f.signIn("ben")
	f.http, first = f.browser(), f.http
	f.signIn("anna")
	var bens string
	for id, s := range f.sessions {
		if s.PersonID == "ben" {
			bens = id
		}
	}
	f.post("/me/settings", "/me/settings/end", "session", bens)
	f.http = first
	if res, _ := f.get("/me"); res.StatusCode != http.StatusOK {
		t.Errorf("another person's session was ended: %d", res.StatusCode)
	}
}

func TestASubscriptionIsChecked(t *testing.T) {
	f := newFixture(t)
	f.signIn("anna")
	key := "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4" // RFC 8291, appendix A
	auth := "BTBZMqHH6r4Tts7J_aSIgg"
	send := func(body map[string]string) error {
		t.Helper()
		_, err := f.site.subscription(body)
		return err
	}
	good := map[string]string{"endpoint": "https://fcm.googleapis.com/fcm/send/abc", "p256dh": key, "auth": auth}
	if err := send(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"http": {"endpoint", "http://fcm.googleapis.com/x"}, "a user": {"endpoint", "https://a:b@fcm.googleapis.com/x"}, "inside": {"endpoint", "https://internal/x"},
		"no address": {"endpoint", ""}, "long": {"endpoint", "https://x.example/" + strings.Repeat("a", 2000)}, "no point": {"p256dh", key[:40]},
		"not on the curve": {"p256dh", "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, "short secret": {"auth", "AAAA"},
	} {
		bad := map[string]string{"endpoint": good["endpoint"], "p256dh": key, "auth": auth}
		bad[change[0]] = change[1]
		if err := send(bad); fleet.CodeOf(err) != fleet.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.pushKey = ""
	if err := send(good); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("push is off: %v", err)
	}
}

func TestEveryTextIsThereInBothLanguages(t *testing.T) {
	used := regexp.MustCompile(`\b(?:T|F|N) "([a-z0-9_.]+)"|\b(?:T|F|N|textOf)\("([a-z0-9_.]+)"[,)]`)
	shout := regexp.MustCompile(`!|Oops|Alert|Hoppla|[\x{1F300}-\x{1FAFF}]`)
	for key, t2 := range texts {
		if t2[0] == "" || t2[1] == "" || shout.MatchString(t2[0]+t2[1]) {
			t.Errorf("%s: %q", key, t2)
		}
		for i := 1; i <= 3; i++ {
			if mark := fmt.Sprintf("#%d", i); strings.Contains(t2[0], mark) != strings.Contains(t2[1], mark) {
				t.Errorf("%s: %s is in one language only", key, mark)
			}
		}
	}
	var sources []string
	for _, dir := range []string{".", "templates"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !e.IsDir() && !strings.HasSuffix(e.Name(), "_test.go") {
				b, err := os.ReadFile(dir + "/" + e.Name())
				if err != nil {
					t.Fatal(err)
				}
				sources = append(sources, string(b))
			}
		}
	}
	n := 0
	for _, m := range used.FindAllStringSubmatch(strings.Join(sources, "\n"), -1) {
		key := m[1] + m[2]
		n++
		if _, ok := texts[key]; !ok {
			t.Errorf("there is no text %q", key)
		}
	}
	if n < 100 {
		t.Errorf("found %d uses only: the test does not see them", n)
	}
	for _, topic := range fleet.Topics() {
		for _, k := range []string{"topic." + string(topic), "topic." + string(topic) + ".about", "thing.kind." + string(topic)} {
			if _, ok := texts[k]; !ok {
				t.Errorf("there is no text %q", k)
			}
		}
	}
	for _, v := range fleet.Verdicts() {
		for _, k := range []string{"verdict.", "said.", "now."} {
			if _, ok := texts[k+string(v)]; !ok {
				t.Errorf("there is no text %q", k+string(v))
			}
		}
	}
	for p := range consentVersion {
		if _, ok := texts["consent."+string(p)+".text"]; !ok {
			t.Errorf("no words of consent for %q", p)
		}
	}
}

type look struct{ name, path string }

// looks are all pages, for the tests that look at each.
func (f *fixture) looks() []look {
	return []look{{"me", "/me"}, {"thing", "/me/things/WM-1?new=1"}, {"thing-danger", "/me/things/FR-1"}, {"claim", "/claim"}, {"settings", "/me/settings?said=profile"},
		{"message", "/m/" + f.link(seal.Message, "m-drain", "anna", f.now.Add(time.Hour))}, {"message-asked", "/m/" + f.link(seal.Message, "m-warm", "anna", f.now.Add(time.Hour)) + "?a=fixed"},
		{"stop", "/stop/" + f.link(seal.Stop, "safety push", "anna", time.Time{})}, {"offline", "/offline"}, {"address", "/address/" + f.link(seal.Address, "anna.berger@example.org", "anna", f.now.Add(time.Hour))}, {"join", "/home/" + f.link(seal.Invite, "h1 x", "cara", f.now.Add(time.Hour))}, {"expired", "/m/" + f.link(seal.Message, "m-drain", "anna", f.now.Add(-time.Hour))},
		{"login", "/login/" + f.link(seal.Login, "x", "anna", f.now.Add(time.Hour))}, {"notfound", "/none"}}
}

// TestHttpsIsBelievedFromTheProxyOnly: cookies are Secure, and the browser is told to stay with https, when the proxy in front says
// that the person's browser speaks it; nobody else is believed.
func TestHttpsIsBelievedFromTheProxyOnly(t *testing.T) {
	for _, c := range []struct {
		name    string
		proxies []netip.Prefix
		proto   string
		secure  bool
	}{
		{"from the proxy", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "https", true},
		{"http from the proxy", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "http", false},
		{"from anybody", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "https", false},
		{"without a proxy", nil, "https", false},
	} {
		f := newFixture(t)
		f.site.proxies = c.proxies
		res, _ := f.do("GET", "/claim", nil, "X-Forwarded-Proto", c.proto)
		cookies := res.Cookies()
		if len(cookies) != 1 || cookies[0].Secure != c.secure || strings.HasPrefix(cookies[0].Name, "__Host-") != c.secure || !cookies[0].HttpOnly {
			t.Errorf("%s: %v", c.name, cookies)
		}
		if (res.Header.Get("Strict-Transport-Security") != "") != c.secure {
			t.Errorf("%s: %q", c.name, res.Header.Get("Strict-Transport-Security"))
		}
	}
}

// TestSEC10NobodyHidesBehindAMadeUpAddress: who is not the proxy is counted by where he is, whatever he says.
func TestSEC10NobodyHidesBehindAMadeUpAddress(t *testing.T) {
	f := newFixture(t)
	f.site.proxies = nil
	got := 0
	for i := range 11 {
		f.from = fmt.Sprintf("203.0.113.%d", i)
		res, _ := f.post("/claim", "/claim", "code", "ABCDE-00000")
		got = res.StatusCode
	}
	if got != http.StatusTooManyRequests {
		t.Errorf("the eleventh wrong code from one place with many made-up addresses answers %d", got)
	}
}

// TestAnAddressIsHersWhenSheReadsMailThere: typing it makes nothing, nor does looking at the link.
func TestAnAddressIsHersWhenSheReadsMailThere(t *testing.T) {
	f := newFixture(t)
	f.signIn("anna")
	const typed = "anna.berger@example.com"
	ask := func(address string) int {
		res, _ := f.post("/me/settings", "/me/settings/email", "address", address)
		return res.StatusCode
	}
	for _, bad := range []string{"", "anna", "Anna <anna@example.org>", "a@b.example, c@d.example", "a@b.example\nBcc: c@d.example", strings.Repeat("a", 300) + "@example.org"} {
		if got := ask(bad); got != http.StatusUnprocessableEntity || len(f.tried) > 0 {
			t.Errorf("%.40q answers %d, %v", bad, got, f.tried)
		}
	}
	if got := ask(typed); got != http.StatusSeeOther || len(f.tried) != 1 || len(f.people["anna"].Endpoints) != 1 {
		t.Fatalf("%d, %v, %v", got, f.tried, f.people["anna"].Endpoints)
	}
	m := f.tried[0]
	path := strings.TrimPrefix(m.URL, f.srv.URL)
	if m.Channel != "email" || !strings.Contains(m.Body, m.URL) || strings.Contains(m.Title+m.Body, "Berger") || !strings.HasPrefix(path, "/address/") {
		t.Errorf("the mail is %+v", m)
	}
	f.http = f.browser() // she may read it anywhere
	for range 3 {
		if res, _ := f.get(path); res.StatusCode != http.StatusOK || len(f.people["anna"].Endpoints) != 1 {
			t.Fatalf("looking at the link answers %d and makes %v", res.StatusCode, f.people["anna"].Endpoints)
		}
	}
	res, body := f.post(path, path)
	got := f.people["anna"].Endpoints
	if res.StatusCode != http.StatusOK || len(got) != 2 || got[1] != (fleet.Endpoint{Channel: "email", Address: typed}) || !strings.Contains(body, typed) {
		t.Errorf("%d, %v:\n%s", res.StatusCode, got, body)
	}
	other := "/address/" + f.link(seal.Stop, typed, "ben", f.now.Add(time.Hour))
	if res, _ := f.get(other); res.StatusCode != http.StatusNotFound {
		t.Errorf("a link for something else answers %d", res.StatusCode)
	}
	f.now = f.now.Add(25 * time.Hour)
	if res, _ := f.get(path); res.StatusCode != http.StatusGone {
		t.Errorf("the day after it answers %d", res.StatusCode)
	}
	// One person writes to so many addresses an hour, and so many people to one.
	f.signIn("ben")
	sent := 0
	for i := range 15 {
		if ask(fmt.Sprintf("x%d@example.org", i)) == http.StatusSeeOther {
			sent++
		}
	}
	if sent != 10 {
		t.Errorf("%d mails were sent to strangers in an hour", sent)
	}
}

func TestAHouseholdIsJoinedByALinkThatWorksOnce(t *testing.T) {
	f := newFixture(t)
	invite := func(who string) string {
		t.Helper()
		f.http = f.browser()
		f.signIn(who)
		res, body := f.post("/me/settings", "/me/settings/invite")
		m := regexp.MustCompile(`/home/[A-Za-z0-9._-]+`).FindString(body)
		if res.StatusCode != http.StatusOK || m == "" {
			t.Fatalf("%d:\n%s", res.StatusCode, body)
		}
		return m
	}
	path := invite("ben") // who lived alone
	home := f.people["ben"].Household
	if home == "" {
		t.Fatal("there is no household to invite to")
	}
	f.http = f.browser()
	for range 3 { // a mail scanner
		if res, body := f.get(path); res.StatusCode != http.StatusOK || !strings.Contains(body, "Ben Ode") || len(f.people) != 3 {
			t.Fatalf("looking at it answers %d, %d people", res.StatusCode, len(f.people))
		}
	}
	if res, _ := f.post(path, path, "name", "Dora", "zone", "Europe/London"); res.Header.Get("Location") != "/me" {
		t.Fatalf("joining answers %d", res.StatusCode)
	}
	if d := f.people["new-3"]; d.Household != home || d.Name != "Dora" || d.Rank != 1 {
		t.Errorf("the new member is %+v", d)
	}
	if _, body := f.get("/me/settings"); !strings.Contains(body, "Ben Ode") {
		t.Error("she is not signed in, or alone")
	}
	f.http = f.browser()
	if res, _ := f.post(path, path, "name", "Eve"); res.StatusCode != http.StatusGone || len(f.people) != 4 {
		t.Errorf("the second time answers %d, %d people", res.StatusCode, len(f.people))
	}
	// Who is somebody already moves, and may leave again.
	path = invite("ben")
	f.http = f.browser()
	f.signIn("cara")
	if res, _ := f.post(path, path); res.StatusCode != http.StatusSeeOther || f.people["cara"].Household != home || f.people["cara"].Rank != 2 {
		t.Errorf("%d, %+v", res.StatusCode, f.people["cara"])
	}
	if res, _ := f.post("/me/settings", "/me/settings/alone"); res.StatusCode != http.StatusSeeOther || f.people["cara"].Household != "" {
		t.Errorf("leaving answers %d, %+v", res.StatusCode, f.people["cara"])
	}
	// Who has left invites nobody, and a week is a week.
	path = invite("ben")
	f.post("/me/settings", "/me/settings/alone")
	if res, _ := f.get(path); res.StatusCode != http.StatusGone {
		t.Errorf("the link of who has left answers %d", res.StatusCode)
	}
	path = invite("ben")
	f.now = f.now.Add(inviteTime + time.Hour)
	if res, _ := f.get(path); res.StatusCode != http.StatusGone {
		t.Errorf("after a week it answers %d", res.StatusCode)
	}
}
