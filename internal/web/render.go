package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// pages are the parsed templates by page: each with the layout and the shared parts.
type pages map[string]*template.Template

var pageNames = []string{"overview", "devices", "device", "cases", "case", "bulk", "incidents", "incident", "declare", "person", "messages", "quarantine", "error"}

var funcs = template.FuncMap{
	"zonename":  func(t time.Time) string { return t.Format("MST (-07:00)") },
	"langquery": langQuery,
}

// langQuery is the page's query with another language.
func langQuery(query, lang string) (template.URL, error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return "", fmt.Errorf("query %q: %w", query, err)
	}
	q.Set("lang", lang)
	return template.URL(q.Encode()), nil //nolint:gosec // encoded here
}

func parsePages() (pages, error) {
	shared, err := template.New("").Funcs(funcs).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html", "templates/desk.html")
	if err != nil {
		return nil, fmt.Errorf("parse templates: %w", err)
	}
	out := pages{}
	for _, name := range pageNames {
		t, err := shared.Clone()
		if err == nil {
			t, err = t.ParseFS(templateFiles, "templates/"+name+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("parse template %q: %w", name, err)
		}
		out[name] = t
	}
	return out, nil
}

// render writes a page, or only its content when the script asks for the parts that changed: the same template.
func (s *Web) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) error {
	block := "layout"
	if r.URL.Query().Has("fragment") {
		block = "content"
	}
	var b bytes.Buffer
	if err := s.pages[name].ExecuteTemplate(&b, block, data); err != nil {
		return fmt.Errorf("render %q: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Language, Cookie")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a browser that left is no matter
	return nil
}

// page makes a handler of one that may fail, and says failures as a message.
func (s *Web) page(name string, h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("page failed", "page", name, "path", r.URL.Path, "panic", p)
				s.problem(rec, r, http.StatusInternalServerError, "500")
			}
			s.requests.WithLabelValues(name, itoa(rec.status/100)+"xx").Inc()
		}()
		if err := h(rec, r); err != nil {
			s.failed(rec, r, err)
		}
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(code int) {
	w.status = code
	w.ResponseWriter.WriteHeader(code)
}

// failed translates an error once: its code gives status and words.
func (s *Web) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(err, r.Context().Err()) {
		return // the browser left
	}
	switch fleet.CodeOf(err) {
	case fleet.CodeNotFound:
		s.problem(w, r, http.StatusNotFound, "404")
	case fleet.CodeInvalid:
		s.problem(w, r, http.StatusBadRequest, "400")
	case fleet.CodeConflict, fleet.CodeDuplicate:
		s.problem(w, r, http.StatusConflict, "409")
	case fleet.CodeDenied:
		s.problem(w, r, http.StatusForbidden, "origin")
	case fleet.CodeBusy:
		w.Header().Set("Retry-After", "5")
		s.problem(w, r, http.StatusServiceUnavailable, "503")
	default:
		s.log.Error("page failed", "path", r.URL.Path, "err", err)
		s.problem(w, r, http.StatusInternalServerError, "500")
	}
}

type errorPage struct {
	*view
	What, Why, Do string
	Home          bool
}

// problem says what, why and what to do. what names the texts: "404", "500", "session", ...
func (s *Web) problem(w http.ResponseWriter, r *http.Request, status int, what string) {
	v := s.view(w, r, "")
	v.LiveURL = "" // nothing to wait for
	v.Bare = status == http.StatusUnauthorized || status == http.StatusMisdirectedRequest
	p := errorPage{view: v, What: v.T("err." + what), Why: v.T("err." + what + ".why"), Do: v.T("err." + what + ".do"), Home: !v.Bare}
	v.Title = p.What
	if err := s.render(w, r, status, "error", p); err != nil {
		s.log.Error("error page failed", "err", err)
		http.Error(w, p.What+"\n\n"+p.Why+"\n\n"+p.Do, status)
	}
}

func (s *Web) denied(w http.ResponseWriter, r *http.Request, d Denial) {
	s.problem(w, r, d.Status, d.Reason)
}

func (s *Web) notFound(http.ResponseWriter, *http.Request) error {
	return fleet.Errorf(fleet.CodeNotFound, "no such page")
}

// assetVersion names the content of the assets, so that browsers may keep them for ever.
var assetVersion = hashAssets()

func hashAssets() string {
	h := sha256.New()
	_ = fs.WalkDir(assetFiles, ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			b, _ := assetFiles.ReadFile(name) // embedded: it is there
			h.Write(b)
		}
		return nil
	})
	return hex.EncodeToString(h.Sum(nil))[:12]
}

var assetTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func (s *Web) asset(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	b, err := assetFiles.ReadFile(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", assetTypes[path.Ext(name)])
	if r.URL.Query().Get("v") == assetVersion {
		w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	_, _ = w.Write(b)
}

// ours refuses other tenants' rows as if they did not exist.
func (s *Web) ours(tenant string) error {
	if tenant != s.cfg.Tenant {
		return fleet.Errorf(fleet.CodeNotFound, "no tenant %q here", tenant)
	}
	return nil
}
