package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// series is one group of rows of an answer. Numbers in Values are json.Number.
type series struct {
	Name    string            `json:"name"`
	Tags    map[string]string `json:"tags"`
	Columns []string          `json:"columns"`
	Values  [][]any           `json:"values"`
	Partial bool              `json:"partial"`
}

// statementError is what the server says about a statement it understood as a request but did not execute.
type statementError string

func (e statementError) Error() string { return string(e) }

type answer struct {
	Error   string `json:"error"`
	Results []struct {
		Error  string   `json:"error"`
		Series []series `json:"series"`
	} `json:"results"`
}

// query asks for one or more SELECT statements and calls each for every series of the answer, possibly several times for one
// series. It asks for chunks: a server's limit on rows cuts answers only when they come in one piece, and silently. It uses
// GET, for which a server executes nothing that changes data. name is the metric's label.
func (h *History) query(ctx context.Context, name, q string, each func(*series) error) error {
	tctx, cancel := context.WithTimeout(ctx, h.patience())
	defer cancel()
	start := time.Now()
	defer func() { h.m.queries.WithLabelValues(name).Observe(time.Since(start).Seconds()) }()
	err := h.ask(tctx, http.MethodGet, q, each)
	var refusal statementError
	if errors.As(err, &refusal) && strings.HasPrefix(string(refusal), "database not found") {
		return nil // it is made with the first write: nothing was stored yet
	}
	return err
}

func (h *History) ask(ctx context.Context, method, q string, each func(*series) error) error {
	params := url.Values{"q": {q}, "db": {h.cfg.Database}, "epoch": {"ns"}, "chunked": {"true"}, "chunk_size": {"10000"}}
	target, body := h.http.ServerURL()+"query", io.Reader(nil)
	if method == http.MethodGet {
		target += "?" + params.Encode()
	} else {
		body = strings.NewReader(params.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return fmt.Errorf("ask %s: %w", h.cfg.URL, err)
	}
	answered := false
	perr := h.http.DoHTTPRequest(req, func(r *http.Request) {
		if body != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	}, func(r *http.Response) error {
		defer func() { _ = r.Body.Close() }()
		answered = true
		return readAnswer(r.Body, each)
	})
	if answered = answered || perr != nil && perr.StatusCode != 0; answered || !errors.Is(ctx.Err(), context.Canceled) {
		h.heard(answered) // one who does not want to know any more has learned nothing
	}
	if perr != nil {
		return fmt.Errorf("ask %s: %w", h.cfg.URL, perr)
	}
	return nil
}

// readAnswer reads a sequence of JSON documents until the body ends.
func readAnswer(r io.Reader, each func(*series) error) error {
	dec := json.NewDecoder(r)
	dec.UseNumber()
	more := false
	for {
		var a answer
		if err := dec.Decode(&a); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if a.Error != "" {
			return statementError(a.Error)
		}
		for _, res := range a.Results {
			if res.Error != "" {
				return statementError(res.Error)
			}
			for i := range res.Series {
				more = res.Series[i].Partial
				if err := each(&res.Series[i]); err != nil {
					return err
				}
			}
		}
	}
	if more {
		return errors.New("the answer ends before its last row")
	}
	return nil
}

// Prepare makes the database when it is not there, with the server's default retention. It does nothing once it has succeeded.
// The Run methods call it themselves; call it before questions on a new installation.
func (h *History) Prepare(ctx context.Context) error {
	h.preparing.Lock() // not mu: the questions and the health check do not wait for a database that does not answer
	defer h.preparing.Unlock()
	if h.isPrepared() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.QueryTimeout)
	defer cancel()
	found := false
	err := h.ask(ctx, http.MethodGet, "SHOW DATABASES", func(s *series) error {
		for _, row := range s.Values {
			for _, v := range row {
				found = found || v == h.cfg.Database
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for database %q: %w", h.cfg.Database, err)
	}
	if !found {
		err := h.ask(ctx, http.MethodPost, "CREATE DATABASE "+quoteIdent(h.cfg.Database), func(*series) error { return nil })
		var refusal statementError
		switch {
		case err == nil:
		case errors.As(err, &refusal), classify(err).class == refused, classify(err).class == denied:
			// 2.x makes no buckets here, 3.x makes them on the first write: the write will tell.
			h.deps.Log.Warn("the database is not listed and could not be made", "database", h.cfg.Database, "err", err)
		default:
			return fmt.Errorf("make database %q: %w", h.cfg.Database, err)
		}
	}
	h.setPrepared(true)
	return nil
}

func (h *History) isPrepared() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.prepared
}

// setPrepared with false makes the next Prepare look again.
func (h *History) setPrepared(there bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.prepared = there
}

var (
	identQuoter  = strings.NewReplacer("\n", `\n`, `\`, `\\`, `"`, `\"`)
	stringQuoter = strings.NewReplacer("\n", `\n`, `\`, `\\`, `'`, `\'`)
)

// quoteIdent quotes the name of a measurement, field or tag.
func quoteIdent(s string) string { return `"` + identQuoter.Replace(s) + `"` }

// quoteString quotes a value.
func quoteString(s string) string { return `'` + stringQuoter.Replace(s) + `'` }

// names checks that parts of a query are names; everything else is the caller's mistake. What passes needs no escaping, and is
// quoted all the same.
func names(what, s string, more ...string) error {
	if !fleet.ValidName(s) {
		return fleet.Errorf(fleet.CodeInvalid, "%q cannot be a %s", s, what)
	}
	if len(more) > 0 {
		return names(more[0], more[1], more[2:]...)
	}
	return nil
}

func fieldName(s string) error {
	if !wire.ValidField(s) {
		return fleet.Errorf(fleet.CodeInvalid, "%.80q cannot be a field's name", s)
	}
	return nil
}

// ofDevice is the condition that selects one device's points.
func ofDevice(key fleet.DeviceKey) string {
	return `"tenant" = ` + quoteString(key.Tenant) + ` AND "serial" = ` + quoteString(key.Serial)
}

// during is the condition for from <= time < to; a zero time leaves that side open.
func during(from, to time.Time) string {
	var s string
	if !from.IsZero() {
		s += fmt.Sprintf(" AND time >= %d", from.UnixNano())
	}
	if !to.IsZero() {
		s += fmt.Sprintf(" AND time < %d", to.UnixNano())
	}
	return s
}
