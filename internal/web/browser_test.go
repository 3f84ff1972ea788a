package web

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// browser starts headless Chromium, or skips and says why.
func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: browser tests take some seconds; run without -short")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		if path, err = exec.LookPath("/usr/bin/chromium"); err != nil {
			t.Skip("SKIPPED: no chromium in PATH: the pages were not looked at in a browser")
		}
	}
	opts := append([]chromedp.ExecAllocatorOption{chromedp.ExecPath(path)}, chromedp.DefaultExecAllocatorOptions[:]...)
	for _, flag := range []string{"no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"} {
		opts = append(opts, chromedp.Flag(flag, true))
	}
	alloc, cancelAlloc := chromedp.NewExecAllocator(t.Context(), opts...)
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

func TestBrowserSeesAMessageArrive(t *testing.T) {
	ctx := browser(t)
	f := newFixture(t)
	srv := server(t, f)
	run(t, ctx, chromedp.Navigate(srv.URL+"/?token="+testToken+"&lang=en"), chromedp.WaitVisible("#r-messages", chromedp.ByQuery),
		chromedp.Evaluate(`window.sameDocument = true`, nil), chromedp.WaitReady(`html[data-live="on"]`, chromedp.ByQuery))
	var at string
	run(t, ctx, chromedp.Location(&at))
	if strings.Contains(at, "token") {
		t.Errorf("the token stays in the address: %s", at)
	}
	f.hub.Publish(f.arrive("msg-new", "The washing machine is clean again"))
	var same bool
	run(t, ctx, chromedp.WaitVisible(`[data-key="msg-new"].new`, chromedp.ByQuery), chromedp.Evaluate(`window.sameDocument === true`, &same))
	if !same {
		t.Error("the page was loaded again")
	}
	// An owner's page too, as a letter with its text.
	run(t, ctx, chromedp.Navigate(srv.URL+"/people/demo/p-berger"), chromedp.WaitReady(`html[data-live="on"]`, chromedp.ByQuery))
	f.hub.Publish(f.arrive("msg-second", "Zweite"))
	run(t, ctx, chromedp.WaitVisible(`.letter[data-key="msg-second"].new`, chromedp.ByQuery))
	// The keyboard goes down the list and opens a case.
	var focused string
	run(t, ctx, chromedp.Navigate(srv.URL+"/cases"), chromedp.WaitVisible("#r-list", chromedp.ByQuery), chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("k"),
		chromedp.Evaluate(`document.activeElement.getAttribute("href")`, &focused), chromedp.KeyEvent("\r"), chromedp.WaitVisible("#r-evidence", chromedp.ByQuery))
	if focused != caseURL(&f.cases[0]) {
		t.Errorf("two steps down and one up is at %q", focused)
	}
}

// TestBrowserMaySendAForm: the guard that refuses what foreign pages send takes a browser's word for where ours come from.
func TestBrowserMaySendAForm(t *testing.T) {
	ctx := browser(t)
	f := newFixture(t)
	srv := server(t, f)
	const form = `form[action$="/comment"] `
	run(t, ctx, chromedp.Navigate(srv.URL+"/?token="+testToken+"&lang=en"), chromedp.WaitVisible("main", chromedp.ByQuery),
		chromedp.Navigate(srv.URL+caseURL(&f.cases[0])), chromedp.SendKeys(form+"textarea", "Called her.", chromedp.ByQuery))
	answer, err := chromedp.RunResponse(ctx, chromedp.Click(form+"button", chromedp.ByQuery))
	if err != nil || answer.Status != 200 || strings.HasSuffix(answer.URL, "/comment") {
		t.Errorf("the form's answer is %+v, %v", answer, err)
	}
}

func (f *fixture) looks() map[string]string {
	return map[string]string{"overview": "/", "devices": "/devices", "device": "/devices/demo/WM-0001?range=7d", "cases": "/cases?show=all", "case": caseURL(&f.cases[2]), "case-fault": caseURL(&f.cases[1]),
		"case-code": caseURL(&f.cases[3]), "person": "/people/demo/" + f.device("WM-0001").OwnerID, "incidents": "/incidents", "incident": "/incidents/demo/inc-open", "declare": "/incidents/new?problem=mower-blade&model=mower-r2", "watched": "/cases/demo/case-watched", "waits": "/cases/demo/case-waits", "messages": "/messages", "quarantine": "/quarantine", "error": "/none"}
}

// TestBrowserFitsAPhone opens every page 360 pixels wide. With AFTERCARE_SHOTS=folder it also leaves pictures, for people
// to look at.
func TestBrowserFitsAPhone(t *testing.T) {
	ctx := browser(t)
	f := newFixture(t)
	srv := server(t, f)
	run(t, ctx, chromedp.Navigate(srv.URL+"/?token="+testToken+"&lang=en"), chromedp.WaitVisible("main", chromedp.ByQuery))
	for _, l := range []string{"en", "de"} {
		for name, path := range f.looks() {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			var wide int
			var widest string
			run(t, ctx, chromedp.EmulateViewport(360, 800), chromedp.Navigate(srv.URL+path+sep+"lang="+l), chromedp.WaitVisible("main", chromedp.ByQuery),
				chromedp.Evaluate(`document.documentElement.scrollWidth`, &wide),
				chromedp.Evaluate(`[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > 361 && !e.closest(".scroll")).map(e => e.tagName + "." + e.className).slice(0, 3).join(" ")`, &widest))
			if wide > 360 {
				t.Errorf("%s in %s is %d pixels wide at 360: %s", name, l, wide, widest)
			}
		}
	}
	if dir := os.Getenv("AFTERCARE_SHOTS"); dir != "" {
		f.shoot(t, ctx, srv, dir)
	}
}

func (f *fixture) shoot(t *testing.T, ctx context.Context, srv *httptest.Server, dir string) { //nolint:revive // t first
	t.Helper()
	for name, path := range f.looks() {
		for _, width := range []int64{1280, 390} {
			for _, scheme := range []string{"light", "dark"} {
				if only := os.Getenv("AFTERCARE_SHOT"); only != "" && only != name {
					continue
				}
				var png []byte
				l := "en"
				if scheme == "dark" {
					l = "de"
				}
				sep := "?"
				if strings.Contains(path, "?") {
					sep = "&"
				}
				run(t, ctx, chromedp.EmulateViewport(width, 900),
					chromedp.ActionFunc(func(ctx context.Context) error {
						return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}).Do(ctx)
					}),
					chromedp.Navigate(srv.URL+path+sep+"lang="+l), chromedp.WaitVisible("main", chromedp.ByQuery),
					chromedp.FullScreenshot(&png, 100))
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), png, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
