package owner

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach/channel/push"
	"aftercare/internal/outreach/channeltest"
	"aftercare/internal/seal"
)

// chromium starts headless Chromium with an empty profile, or skips and says why.
func chromium(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: browser tests take some seconds; run without -short")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED: no chromium in PATH: the owners' pages were not looked at in a browser")
	}
	opts := append([]chromedp.ExecAllocatorOption{chromedp.ExecPath(path)}, chromedp.DefaultExecAllocatorOptions[:]...)
	for _, flag := range []string{"no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"} {
		opts = append(opts, chromedp.Flag(flag, true))
	}
	profile, err := os.MkdirTemp("", "aftercare-browser-") //nolint:usetesting // not t.TempDir: a helper process of the browser's may write for a moment longer
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	alloc, cancelAlloc := chromedp.NewExecAllocator(t.Context(), append(opts, chromedp.UserDataDir(profile))...)
	ctx, cancelTab := chromedp.NewContext(alloc)
	ctx, cancelTime := context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(func() { cancelTime(); cancelTab(); cancelAlloc() })
	return ctx
}

func run(t *testing.T, ctx context.Context, actions ...chromedp.Action) { //nolint:revive // t first, as in all helpers
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// enter signs the browser in through the page, by a tap.
func (f *fixture) enter(ctx context.Context, person string) {
	f.t.Helper()
	run(f.t, ctx, chromedp.Navigate(LoginLink(f.seal, f.srv.URL, tenant, person, f.now.Add(time.Hour))), chromedp.Click("main button", chromedp.ByQuery),
		chromedp.WaitVisible(`nav a[aria-current]`, chromedp.ByQuery))
}

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 300 {
		if is() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("it never came to pass: %s", what)
}

// await is Evaluate for a promise.
func await(expression string, to any) chromedp.Action {
	return chromedp.Evaluate(expression, to, func(p *runtime.EvaluateParams) *runtime.EvaluateParams {
		return p.WithAwaitPromise(true).WithReturnByValue(true)
	})
}

// pushService takes push requests as one of the browsers' services does.
type pushService struct {
	*httptest.Server
	got chan []byte
}

func newPushService(t *testing.T) *pushService {
	t.Helper()
	p := &pushService{got: make(chan []byte, 4)}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Content-Encoding") != "aes128gcm" || r.Header.Get("TTL") == "" || !strings.HasPrefix(r.Header.Get("Authorization"), "vapid ") {
			t.Errorf("no push request: %v", r.Header)
		}
		p.got <- body
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(p.Close)
	return p
}

type shown struct {
	Title   string
	Body    string
	Actions []struct{ Action, Title string }
}

const notifications = `navigator.serviceWorker.ready.then(r => r.getNotifications()).then(l => l.map(n => ({Title: n.title, Body: n.body, Actions: n.actions.map(a => ({Action: a.action, Title: a.title}))})))`

// TestSEC16APushIsShownAndAnsweredInARealBrowser goes the whole way but for the push service of the browser's maker: the page is
// opened, the subscription kept, the message encrypted by the server, decrypted by a service of the test, shown by the
// real service worker, and answered by its button without a window.
func TestSEC16APushIsShownAndAnsweredInARealBrowser(t *testing.T) {
	ctx := chromium(t)
	f := newFixture(t)
	f.enter(ctx, "anna")
	registration := registrationOf(t, ctx)
	run(t, ctx, chromedp.ActionFunc(func(ctx context.Context) error {
		c := chromedp.FromContext(ctx)
		return browser.GrantPermissions([]browser.PermissionType{browser.PermissionTypeNotifications}).WithOrigin(f.srv.URL).Do(cdp.WithExecutor(ctx, c.Browser))
	}), chromedp.Navigate(f.srv.URL+"/me/settings"), chromedp.WaitVisible(`#push-allow`, chromedp.ByQuery))

	service := newPushService(t)
	keys, err := channeltest.NewBrowser()
	if err != nil {
		t.Fatal(err)
	}
	p256dh, auth, _ := strings.Cut(keys.Secret(), ".")
	subscription, _ := json.Marshal(map[string]string{"endpoint": service.URL + "/send/1", "p256dh": p256dh, "auth": auth})
	var status int
	run(t, ctx, await(`fetch("/me/push", {method: "POST", headers: {"Content-Type": "application/json"}, body: `+"`"+string(subscription)+"`"+`}).then(r => r.status)`, &status))
	anna, _ := f.Person(tenant, "anna")
	to := anna.Endpoints[len(anna.Endpoints)-1]
	if status != http.StatusOK || to.Channel != pushChannel || to.Secret != keys.Secret() || !strings.Contains(to.Label, "Chrome") {
		t.Fatalf("the subscription was answered with %d and kept as %+v", status, to)
	}

	f.sendPush(t, service, to)
	plain, err := keys.Decrypt(<-service.got)
	if err != nil {
		t.Fatal(err)
	}
	deliver := func(text string) {
		run(t, ctx, chromedp.ActionFunc(func(ctx context.Context) error {
			return serviceworker.DeliverPushMessage(f.srv.URL, registration, text).Do(ctx)
		}))
	}
	deliver(string(plain))
	var list []shown
	eventually(t, "a notification", func() bool { run(t, ctx, await(notifications, &list)); return len(list) == 1 })
	if n := list[0]; n.Title != f.messages[1].Title || len(n.Actions) != 2 || n.Actions[0].Title != "Ist behoben" || !strings.Contains(n.Body, "Flusensieb") {
		t.Errorf("what is shown: %+v", n)
	}
	eventually(t, "the receipt", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.receipts) == 1 })
	if f.receipts[0] != "m-drain delivered" {
		t.Errorf("receipts: %v", f.receipts)
	}

	click(t, ctx, "fixed")
	eventually(t, "the answer", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.answers) == 1 })
	if a := f.answers[0]; a.Verdict != fleet.VerdictFixed || a.MessageID != "m-drain" || a.CaseID != "c-drain" || a.PersonID != "anna" {
		t.Errorf("the answer is %+v", a)
	}
	eventually(t, "the confirmation", func() bool {
		run(t, ctx, await(notifications, &list))
		return len(list) == 1 && list[0].Title == textOf("said.fixed", "de")
	})
	var windows int
	run(t, ctx, chromedp.ActionFunc(func(ctx context.Context) error {
		all, err := target.GetTargets().Do(cdp.WithExecutor(ctx, chromedp.FromContext(ctx).Browser))
		for _, i := range all {
			if i.Type == "page" {
				windows++
			}
		}
		return err
	}))
	if windows != 1 {
		t.Errorf("%d windows are open: an answer opened one", windows)
	}
	// What cannot be read is shown all the same: a browser takes the permission from who shows nothing.
	deliver("{")
	eventually(t, "a notification without words", func() bool {
		run(t, ctx, await(notifications, &list))
		return len(list) > 0 && list[0].Title != textOf("said.fixed", "de") || len(list) == 2
	})
}

// sendPush has the server's own channel send the sample's message.
func (f *fixture) sendPush(t *testing.T, service *pushService, to fleet.Endpoint) {
	t.Helper()
	key, err := push.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(service.URL)
	m := f.messages[1]
	m.Channel, m.TTL, m.Collapse = pushChannel, time.Hour, "drain"
	m.URL = f.srv.URL + "/m/" + f.link(seal.Message, m.ID, "anna", f.now.Add(time.Hour))
	m.Receipt = f.link(seal.Receipt, m.ID, "anna", f.now.Add(time.Hour))
	for _, v := range []fleet.Verdict{fleet.VerdictFixed, fleet.VerdictBook, fleet.VerdictNotNow} {
		m.Actions = append(m.Actions, fleet.Action{Verdict: v, Label: textOf("verdict."+string(v), "de"), Token: f.link(seal.Answer, m.ID+" "+string(v), "anna", f.now.Add(time.Hour))})
	}
	c := push.New(push.Config{Hosts: []string{u.Host}}, push.Deps{Key: key, Client: service.Client(), Now: time.Now})
	if err := c.Send(t.Context(), m, to); err != nil {
		t.Fatal(err)
	}
}

// registrationOf waits for the service worker and says how the browser calls it.
func registrationOf(t *testing.T, ctx context.Context) serviceworker.RegistrationID { //nolint:revive // t first
	t.Helper()
	found := make(chan serviceworker.RegistrationID, 64)
	chromedp.ListenTarget(ctx, func(ev any) {
		if e, ok := ev.(*serviceworker.EventWorkerRegistrationUpdated); ok {
			for _, r := range e.Registrations {
				select {
				case found <- r.RegistrationID:
				default:
				}
			}
		}
	})
	var state string
	run(t, ctx, serviceworker.Enable(), await(`navigator.serviceWorker.ready.then(r => new Promise(done => { const look = () => r.active && r.active.state === "activated" ? done(r.active.state) : setTimeout(look, 20); look(); }))`, &state))
	select {
	case id := <-found:
		return id
	case <-time.After(20 * time.Second):
		t.Fatal("no service worker was registered")
		return ""
	}
}

// click presses a button of the notification, as the system would: the event is made in the worker.
func click(t *testing.T, ctx context.Context, action string) { //nolint:revive // t first
	t.Helper()
	var worker target.ID
	run(t, ctx, chromedp.ActionFunc(func(ctx context.Context) error {
		all, err := target.GetTargets().Do(cdp.WithExecutor(ctx, chromedp.FromContext(ctx).Browser))
		for _, i := range all {
			if i.Type == "service_worker" {
				worker = i.TargetID
			}
		}
		return err
	}))
	if worker == "" {
		t.Fatal("the service worker does not run")
	}
	wctx, cancel := chromedp.NewContext(ctx, chromedp.WithTargetID(worker))
	t.Cleanup(cancel) // it ends the worker
	var done bool
	run(t, wctx, await(fmt.Sprintf(`self.registration.getNotifications().then(l => { self.dispatchEvent(new NotificationEvent("notificationclick", {notification: l[0], action: %q})); return true; })`, action), &done))
}

// TestBrowserCanInstallThePage: the browser itself finds nothing wrong with the manifest and nothing in the way of installing.
func TestBrowserCanInstallThePage(t *testing.T) {
	ctx := chromium(t)
	f := newFixture(t)
	f.enter(ctx, "anna")
	registrationOf(t, ctx)
	run(t, ctx, chromedp.ActionFunc(func(ctx context.Context) error {
		url, mistakes, data, _, err := page.GetAppManifest().Do(ctx)
		if err != nil {
			return err
		}
		if url != f.srv.URL+"/manifest.webmanifest" || len(mistakes) > 0 || data == "" {
			t.Errorf("manifest %q: %v", url, mistakes)
		}
		errs, err := page.GetInstallabilityErrors().Do(ctx)
		for _, e := range errs {
			t.Errorf("not installable: %s %v", e.ErrorID, e.ErrorArguments)
		}
		return err
	}))
}

func TestBrowserSeesThePageOffline(t *testing.T) {
	ctx := chromium(t)
	f := newFixture(t)
	f.enter(ctx, "anna")
	registrationOf(t, ctx)
	var title string
	run(t, ctx, chromedp.Navigate(f.srv.URL+"/me"), network.Enable())
	f.srv.CloseClientConnections()
	f.srv.Listener.Close()
	run(t, ctx, chromedp.Navigate(f.srv.URL+"/me/settings"), chromedp.WaitVisible("h1", chromedp.ByQuery), chromedp.Text("h1", &title, chromedp.ByQuery))
	if title != textOf("offline.title", "de") && title != textOf("offline.title", "en") {
		t.Errorf("without a connection the page says %q", title)
	}
}

// TestBrowserFitsAPhone opens every page 360 pixels wide, in both schemes of colour, and looks at what can be measured: nothing wider
// than the page, and no target smaller than a thumb. With AFTERCARE_SHOTS=folder it leaves pictures, for people to look at.
func TestBrowserFitsAPhone(t *testing.T) {
	ctx := chromium(t)
	f := newFixture(t)
	f.people["anna"] = func() fleet.Person {
		p := f.people["anna"]
		p.Endpoints = append(p.Endpoints, fleet.Endpoint{Channel: "push", Address: "https://push.example/1", Label: "Chrome · Android"})
		return p
	}()
	run(t, ctx, chromedp.EmulateViewport(360, 800))
	guest := []look{{"home", "/"}, {"session", "/me"}}
	f.measure(t, ctx, guest)
	f.enter(ctx, "anna")
	f.answers = append(f.answers, fleet.Answer{MessageID: "m-drain", PersonID: "anna", Verdict: fleet.VerdictNotNow, At: f.now.Add(-time.Hour)})
	f.measure(t, ctx, f.looks())
}

const small = `[...document.querySelectorAll("main a, main button, main input:not([type=hidden]), main select, main summary, .top a, .foot a")].filter(e => {
	const b = e.getBoundingClientRect(), c = getComputedStyle(e, "::after");
	return b.width && c.position !== "absolute" && b.height < 43.5 && !e.closest("p:not(.crumb)")
}).map(e => e.tagName + " " + e.textContent.trim().slice(0, 20) + " " + Math.round(e.getBoundingClientRect().height)).slice(0, 5).join("; ")`

func (f *fixture) measure(t *testing.T, ctx context.Context, pages []look) { //nolint:revive // t first
	t.Helper()
	dir := os.Getenv("AFTERCARE_SHOTS")
	for _, l := range []string{"en", "de"} {
		for _, p := range pages {
			sep := "?"
			if strings.Contains(p.path, "?") {
				sep = "&"
			}
			var wide int
			var widest, tiny string
			run(t, ctx, chromedp.EmulateViewport(360, 800), chromedp.Navigate(f.srv.URL+p.path+sep+"lang="+l), chromedp.WaitVisible("main", chromedp.ByQuery),
				chromedp.Evaluate(`document.documentElement.scrollWidth`, &wide), chromedp.Evaluate(small, &tiny),
				chromedp.Evaluate(`[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > 361 && !e.closest(".scroll")).map(e => e.tagName + "." + e.className).slice(0, 3).join(" ")`, &widest))
			if wide > 360 {
				t.Errorf("%s in %s is %d pixels wide at 360: %s", p.name, l, wide, widest)
			}
			if tiny != "" {
				t.Errorf("%s in %s has targets below 44 pixels: %s", p.name, l, tiny)
			}
			if dir != "" {
				shoot(t, ctx, filepath.Join(dir, "owner-"+p.name), l)
			}
		}
	}
}

// shoot leaves two pictures of the page: narrow and light in English, narrow dark and wide in German.
func shoot(t *testing.T, ctx context.Context, name, lang string) { //nolint:revive // t first
	t.Helper()
	scheme, width := "light", int64(360)
	if lang == "de" {
		scheme = "dark"
	}
	for _, w := range []int64{width, 1200} {
		var png []byte
		run(t, ctx, chromedp.EmulateViewport(w, 800), chromedp.ActionFunc(func(ctx context.Context) error {
			return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}).Do(ctx)
		}), chromedp.FullScreenshot(&png, 100))
		if err := os.WriteFile(fmt.Sprintf("%s-%d-%s-%s.png", name, w, scheme, lang), png, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
