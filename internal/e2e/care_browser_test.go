package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// phone is a real browser on the owners' pages.
type phone struct {
	t      *testing.T
	ctx    context.Context //nolint:containedctx // chromedp keeps the browser in it
	origin string
	worker serviceworker.RegistrationID
}

// newPhone starts headless Chromium with an empty profile, or skips and says why.
func newPhone(t *testing.T, origin string) *phone {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: browser tests take some seconds; run without -short")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED: no chromium in PATH: push was not tried in a browser")
	}
	opts := append([]chromedp.ExecAllocatorOption{chromedp.ExecPath(path)}, chromedp.DefaultExecAllocatorOptions[:]...)
	for _, flag := range []string{"no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"} {
		opts = append(opts, chromedp.Flag(flag, true))
	}
	alloc, cancelAlloc := chromedp.NewExecAllocator(t.Context(), append(opts, chromedp.UserDataDir(t.TempDir()))...)
	ctx, cancelTab := chromedp.NewContext(alloc)
	ctx, cancelTime := context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(func() { cancelTime(); cancelTab(); cancelAlloc() })
	return &phone{t: t, ctx: ctx, origin: origin}
}

func (b *phone) run(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// await is Evaluate for a promise.
func await(expression string, to any) chromedp.Action {
	return chromedp.Evaluate(expression, to, func(p *runtime.EvaluateParams) *runtime.EvaluateParams {
		return p.WithAwaitPromise(true).WithReturnByValue(true)
	})
}

// claims makes a new owner of a device by its code.
func (b *phone) claims(code, name string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.origin+"/"), chromedp.SetValue(`input[name="code"]`, code, chromedp.ByQuery), chromedp.SetValue(`input[name="name"]`, name, chromedp.ByQuery),
		chromedp.Click("form[action='/claim'] button", chromedp.ByQuery), chromedp.WaitVisible(`nav a[aria-current]`, chromedp.ByQuery))
}

// installed waits for the service worker, and allows notifications.
func (b *phone) installed() {
	b.t.Helper()
	found := make(chan serviceworker.RegistrationID, 64)
	chromedp.ListenTarget(b.ctx, func(ev any) {
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
	b.run(serviceworker.Enable(), await(`navigator.serviceWorker.ready.then(r => new Promise(done => { const look = () => r.active && r.active.state === "activated" ? done(r.active.state) : setTimeout(look, 20); look(); }))`, &state),
		chromedp.ActionFunc(func(ctx context.Context) error {
			return browser.GrantPermissions([]browser.PermissionType{browser.PermissionTypeNotifications}).WithOrigin(b.origin).Do(cdp.WithExecutor(ctx, chromedp.FromContext(ctx).Browser))
		}))
	select {
	case b.worker = <-found:
	case <-time.After(20 * time.Second):
		b.t.Fatal("no service worker was registered")
	}
}

// subscribes gives the page's endpoint a subscription and returns what it answered.
func (b *phone) subscribes(subscription string) (status int) {
	b.t.Helper()
	b.run(await(`fetch("/me/push", {method: "POST", headers: {"Content-Type": "application/json"}, body: `+"`"+subscription+"`"+`}).then(r => r.status)`, &status))
	return status
}

// delivers hands the service worker what a push service would.
func (b *phone) delivers(plain []byte) {
	b.t.Helper()
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		return serviceworker.DeliverPushMessage(b.origin, b.worker, string(plain)).Do(ctx)
	}))
}

// notification is what the system shows.
type notification struct {
	Title, Body string
	Actions     []struct{ Action, Title string }
}

// shows waits for notifications that are as they should.
func (b *phone) shows(what string, right func([]notification) bool) []notification {
	b.t.Helper()
	var list []notification
	eventually(b.t, 20*time.Second, func() error {
		list = nil
		b.run(await(`navigator.serviceWorker.ready.then(r => r.getNotifications()).then(l => l.map(n => ({Title: n.title, Body: n.body, Actions: n.actions.map(a => ({Action: a.action, Title: a.title}))})))`, &list))
		if !right(list) {
			return fmt.Errorf("%s: shown are %+v", what, list)
		}
		return nil
	})
	return list
}

// taps presses a button of the notification, as the system would: the event is made in the worker.
func (b *phone) taps(action string) {
	b.t.Helper()
	var worker target.ID
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		all, err := target.GetTargets().Do(cdp.WithExecutor(ctx, chromedp.FromContext(ctx).Browser))
		for _, i := range all {
			if i.Type == "service_worker" {
				worker = i.TargetID
			}
		}
		return err
	}))
	if worker == "" {
		b.t.Fatal("the service worker does not run")
	}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(worker))
	b.t.Cleanup(cancel) // it ends the worker
	var done bool
	if err := chromedp.Run(ctx, await(fmt.Sprintf(`self.registration.getNotifications().then(l => { self.dispatchEvent(new NotificationEvent("notificationclick", {notification: l[0], action: %q})); return true; })`, action), &done)); err != nil {
		b.t.Fatal(err)
	}
}
