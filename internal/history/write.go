package history

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	httpapi "github.com/influxdata/influxdb-client-go/v2/api/http"
)

// class is what a failed write means for what to do next.
type class string

const (
	accepted class = ""
	away     class = "away"    // no answer: again
	busy     class = "busy"    // too much, or an error inside the server: again
	denied   class = "denied"  // wrong credential: again, somebody has to correct it
	missing  class = "missing" // no such database: make it, then again
	refused  class = "refused" // the server refuses even a good line: again, somebody has to look
	lines    class = "lines"   // some lines are at fault: find them
)

// The reasons of rejected lines: labels of a counter.
const (
	reasonParse     = "parse"
	reasonType      = "field_type"
	reasonRetention = "retention"
	reasonSize      = "size"
	reasonRecord    = "record" // the journal record itself could not be read
	reasonOther     = "other"
)

// verdict is a classified answer to a write.
type verdict struct {
	class   class
	err     error
	after   time.Duration // the server's wish for the next try
	dropped int           // how many lines the server says it refused; 0: it does not say
}

// classify reads the answers of InfluxDB 1.8 to 3. In 1.8 a 400 "partial write" means that the good lines are stored and
// "dropped=N" are not; a 400 without these words, and any of 2.x, that none is. Either way the good ones may be sent again.
func classify(err error) verdict {
	if err == nil {
		return verdict{}
	}
	v := verdict{class: away, err: err}
	var he *httpapi.Error
	if !errors.As(err, &he) || he.StatusCode == 0 {
		return v
	}
	v.after = time.Duration(he.RetryAfter) * time.Second
	switch msg := he.Message; {
	case strings.Contains(msg, "partial write"), strings.Contains(msg, "field type conflict"), strings.Contains(msg, "unable to parse"):
		v.class, v.dropped = lines, droppedCount(msg)
	case he.StatusCode == http.StatusBadRequest, he.StatusCode == http.StatusUnprocessableEntity:
		v.class = refused
	case he.StatusCode == http.StatusRequestEntityTooLarge:
		v.class = lines
	case he.StatusCode == http.StatusUnauthorized, he.StatusCode == http.StatusForbidden:
		v.class = denied
	case he.StatusCode == http.StatusNotFound:
		v.class = missing
	default:
		v.class = busy
	}
	return v
}

func droppedCount(msg string) int {
	_, rest, ok := strings.Cut(msg, "dropped=")
	if !ok {
		return 0
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(rest[:end])
	return n
}

func (v verdict) reason() string {
	var he *httpapi.Error
	msg := v.err.Error()
	switch {
	case strings.Contains(msg, "field type conflict"):
		return reasonType
	case strings.Contains(msg, "beyond retention"):
		return reasonRetention
	case strings.Contains(msg, "unable to parse"):
		return reasonParse
	case errors.As(v.err, &he) && he.StatusCode == http.StatusRequestEntityTooLarge:
		return reasonSize
	}
	return reasonOther
}

// writer brings batches of one stream to the database.
type writer struct {
	h      *History
	stream string
	outage *outage
}

// deliver returns when every line of b is stored or rejected; its error is ctx's. It tries again for ever: the journal is
// the buffer, and nothing behind b is committed meanwhile.
func (w *writer) deliver(ctx context.Context, b batch) error {
	waiting := w.h.m.waiting.WithLabelValues(w.stream)
	for attempt := 0; ; attempt++ {
		v := w.post(ctx, b.body)
		if v.class == refused && w.post(ctx, probeLine).class == accepted {
			v.class = lines // it takes a good line, so the fault is in these
		}
		switch v.class {
		case accepted:
			w.h.m.points.WithLabelValues(w.stream).Add(float64(b.lines))
			w.answered()
			return nil
		case lines:
			w.answered()
			return w.split(ctx, b, v)
		case missing:
			w.h.setPrepared(false)
		}
		if attempt == 0 {
			waiting.Add(float64(b.lines))
			defer waiting.Sub(float64(b.lines))
		}
		if err := w.pause(ctx, attempt, v); err != nil {
			return err
		}
	}
}

// post tries one write.
func (w *writer) post(ctx context.Context, body string) verdict {
	if err := w.h.Prepare(ctx); err != nil {
		v := classify(err)
		if v.class != accepted {
			w.h.m.failures.WithLabelValues(w.stream, string(v.class)).Inc()
		}
		return v
	}
	tctx, cancel := context.WithTimeout(ctx, w.h.cfg.WriteTimeout)
	defer cancel()
	start := time.Now()
	v := classify(w.h.write.WriteRecord(tctx, body))
	w.h.m.writes.WithLabelValues(w.stream).Observe(time.Since(start).Seconds())
	if v.class != accepted && ctx.Err() == nil {
		w.h.m.failures.WithLabelValues(w.stream, string(v.class)).Inc()
	}
	return v
}

// probeLine is a line nobody can object to; it gets the server's own time. It tells a server that refuses everything (a
// proxy in between, a wrong parameter) from one that refuses a line: without it a misconfiguration would send every
// reading to quarantine.
const probeLine = "aftercare_probe ok=true\n"

// split looks for the lines at fault by halving: good halves are stored, single bad lines rejected. When the server says
// that it dropped exactly as many lines as there are, all of them are at fault at once.
func (w *writer) split(ctx context.Context, b batch, v verdict) error {
	if b.lines <= 1 || v.dropped == b.lines {
		for line := range strings.Lines(b.body) {
			if err := w.reject(ctx, line, v.reason(), v.err.Error()); err != nil {
				return err
			}
		}
		return nil
	}
	mid := 0
	for range b.lines / 2 {
		mid += strings.IndexByte(b.body[mid:], '\n') + 1
	}
	if err := w.deliver(ctx, batch{b.body[:mid], b.lines / 2}); err != nil {
		return err
	}
	return w.deliver(ctx, batch{b.body[mid:], b.lines - b.lines/2})
}

// reject hands a line over for good. It returns when that is durable, or with ctx's error.
func (w *writer) reject(ctx context.Context, line, reason, detail string) error {
	line = strings.TrimSuffix(line, "\n")
	w.h.m.rejected.WithLabelValues(w.stream, reason).Inc()
	w.h.deps.Log.Warn("the database refuses a line for good", "stream", w.stream, "reason", reason, "detail", detail, "line", clip(line, 200))
	if w.h.deps.Reject == nil {
		return nil
	}
	for attempt := 0; ; attempt++ {
		err := w.h.deps.Reject(ctx, []byte(line), detail)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			w.h.deps.Log.Warn("a refused line could not be put aside; trying again", "stream", w.stream, "err", err)
		}
		if err := sleep(ctx, w.h.backoff(attempt)); err != nil {
			return err
		}
	}
}

// pause waits before the next try and says so: once in the log, always in the metrics and the health check.
func (w *writer) pause(ctx context.Context, attempt int, v verdict) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if v.class == away {
		w.h.heard(false)
	}
	if w.outage.begin(time.Now(), v.err) {
		w.h.deps.Log.Warn("writes to InfluxDB fail; the journal keeps what comes in, trying again",
			"url", w.h.cfg.URL, "stream", w.stream, "class", string(v.class), "err", v.err)
	}
	return sleep(ctx, max(w.h.backoff(attempt), min(v.after, time.Minute)))
}

// answered ends what pause began.
func (w *writer) answered() {
	w.h.heard(true)
	if since := w.outage.end(); !since.IsZero() {
		w.h.deps.Log.Info("InfluxDB takes writes again", "url", w.h.cfg.URL, "away", time.Since(since).Round(time.Millisecond))
	}
}

// backoff doubles from RetryMin to RetryMax; up to a fifth is left to chance, so that many do not come back at once.
func (h *History) backoff(attempt int) time.Duration {
	d := h.cfg.RetryMax
	if attempt < 30 && h.cfg.RetryMin<<attempt > 0 {
		d = min(d, h.cfg.RetryMin<<attempt)
	}
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}
