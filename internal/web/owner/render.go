package owner

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// pages are the parsed templates by page: each with the layout.
type pages map[string]*template.Template

var pageNames = []string{"home", "login", "me", "thing", "message", "told", "stop", "settings", "code", "address", "join", "offline", "problem"}

func parsePages() (pages, error) {
	shared, err := template.New("").ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
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

func (s *Site) render(v *visit, status int, name string, data any) error {
	var b bytes.Buffer
	if err := s.pages[name].ExecuteTemplate(&b, "layout", data); err != nil {
		return fmt.Errorf("render %q: %w", name, err)
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Language, Cookie")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes()) // a browser that left is no matter
	return nil
}

// page makes a handler of one that may fail: it finds out who asks, lets in who may, and says failures as a message.
func (s *Site) page(name string, who access, h func(*visit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		v := s.visit(rec, r, who)
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("owner page failed", "page", name, "panic", p)
				s.problem(v, http.StatusInternalServerError, "500")
			}
			s.answered.WithLabelValues(name, itoa(rec.status/100)+"xx").Inc()
		}()
		if err := s.serve(v, who, h); err != nil {
			s.failed(v, err)
		}
	})
}

func (s *Site) serve(v *visit, who access, h func(*visit) error) (err error) {
	if v.session, v.person, err = s.session(v.r); err != nil {
		return err
	}
	if v.person != nil {
		v.read(v.person)
	}
	if who == members && v.person == nil {
		return &signError{http.StatusUnauthorized, "session"}
	}
	if err := s.permit(v, who); err != nil {
		return err
	}
	return h(v)
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(code int) {
	w.status = code
	w.ResponseWriter.WriteHeader(code)
}

// signError is a failure with words of its own: "err.<what>" in the texts.
type signError struct {
	status int
	what   string
}

func (e *signError) Error() string { return "owner page: " + e.what }

// waitError is too many tries.
type waitError struct{ wait time.Duration }

func (e *waitError) Error() string { return "owner page: too many tries" }

// failed translates an error once: its code gives status and words.
func (s *Site) failed(v *visit, err error) {
	if v.r.Context().Err() != nil && errors.Is(err, v.r.Context().Err()) {
		return // the browser left
	}
	var sign *signError
	var wait *waitError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &sign):
		s.problem(v, sign.status, sign.what)
		return
	case errors.As(err, &wait):
		s.refused.WithLabelValues("tries").Inc()
		v.w.Header().Set("Retry-After", seconds(wait.wait))
		s.problem(v, http.StatusTooManyRequests, "tries")
		return
	case errors.As(err, &large):
		s.problem(v, http.StatusRequestEntityTooLarge, "400")
		return
	}
	switch fleet.CodeOf(err) {
	case fleet.CodeNotFound:
		s.problem(v, http.StatusNotFound, "404")
	case fleet.CodeInvalid:
		s.problem(v, http.StatusBadRequest, "400")
	case fleet.CodeConflict, fleet.CodeDuplicate:
		s.problem(v, http.StatusConflict, "409")
	case fleet.CodeDenied:
		s.problem(v, http.StatusForbidden, "origin")
	case fleet.CodeBusy:
		v.w.Header().Set("Retry-After", "5")
		s.problem(v, http.StatusServiceUnavailable, "503")
	default:
		s.log.Error("owner page failed", "path", pathOnly(v.r), "err", err)
		s.problem(v, http.StatusInternalServerError, "500")
	}
}

// pathOnly is the address without what opens doors.
func pathOnly(r *http.Request) string {
	if sealed := r.PathValue("seal"); sealed != "" {
		return strings.Replace(r.URL.Path, sealed, "...", 1)
	}
	return r.URL.Path
}

type problemData struct {
	*visit
	What, Why, Do string
	Wait          string
}

// problem says what, why and what to do; to a program the first of it as JSON.
func (s *Site) problem(v *visit, status int, what string) {
	p := problemData{visit: v, What: v.T("err." + what), Why: v.T("err." + what + ".why"), Do: v.T("err." + what + ".do")}
	v.Title = p.What
	if v.access == programs {
		writeJSON(v.w, status, map[string]string{"title": p.What, "body": p.Why})
		return
	}
	if err := s.render(v, status, "problem", p); err != nil {
		s.log.Error("error page failed", "err", err)
		http.Error(v.w, p.What+"\n\n"+p.Why+"\n\n"+p.Do, status)
	}
}

func (s *Site) notFound(*visit) error { return fleet.Errorf(fleet.CodeNotFound, "no such page") }

func (s *Site) offline(v *visit) error {
	v.Title = v.T("offline.title")
	return s.render(v, http.StatusOK, "offline", v)
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

func (s *Site) asset(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	b, err := assetFiles.ReadFile(name)
	if err != nil || name == "assets/sw.js" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", assetTypes[path.Ext(name)])
	if r.URL.Query().Get("v") == assetVersion {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(b)
}
