package gateway

import (
	"context"
	"log/slog"
)

// scrubbed lists the attributes in which mochi logs whole packets: payloads, and passwords of CONNECT.
var scrubbed = map[string]bool{"pk": true, "packet": true, "will": true}

// brokerLog is the handler given to mochi. It drops attributes that can hold payload or secrets, and lowers everything but
// errors to debug: a hostile client must not be able to fill the log.
type brokerLog struct{ next slog.Handler }

func (h brokerLog) Enabled(ctx context.Context, l slog.Level) bool {
	return h.next.Enabled(ctx, lowered(l))
}

func (h brokerLog) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, lowered(r.Level), "mqtt broker: "+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if !scrubbed[a.Key] {
			out.AddAttrs(a)
		}
		return true
	})
	return h.next.Handle(ctx, out)
}

func (h brokerLog) WithAttrs(as []slog.Attr) slog.Handler {
	kept := make([]slog.Attr, 0, len(as))
	for _, a := range as {
		if !scrubbed[a.Key] {
			kept = append(kept, a)
		}
	}
	return brokerLog{h.next.WithAttrs(kept)}
}

func (h brokerLog) WithGroup(name string) slog.Handler { return brokerLog{h.next.WithGroup(name)} }

func lowered(l slog.Level) slog.Level {
	if l < slog.LevelError {
		return slog.LevelDebug
	}
	return l
}
