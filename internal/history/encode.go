package history

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	lp "github.com/influxdata/line-protocol/v2/lineprotocol"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

type tag struct{ key, value string }

// findingLine encodes one record of an episode. Two revisions of one episode never share a timestamp.
func findingLine(f fleet.Finding) ([]byte, error) {
	var e lp.Encoder
	e.StartLine(wire.MeasurementFinding)
	addTags(&e, []tag{
		{"kind", string(f.Kind)},
		{"model", f.Model},
		{"rule", f.Rule},
		{"serial", f.Device.Serial},
		{"severity", f.Severity.String()},
		{"tenant", f.Device.Tenant},
	})
	e.AddField("id", text(f.ID))
	e.AddField("revision", lp.IntValue(int64(f.Revision)))
	e.AddField("phase", text(string(f.Phase)))
	e.AddField("live", lp.BoolValue(f.Live))
	e.AddField("problem", text(f.Problem))
	e.EndLine(stamp(f.At, f.ID, f.Revision))
	if err := e.Err(); err != nil {
		return nil, fmt.Errorf("encode finding %q: %w", f.ID, err)
	}
	return e.Bytes(), nil
}

// changeLine encodes something that happened to a case, a message or a command.
func changeLine(n fleet.Notice) ([]byte, error) {
	var e lp.Encoder
	e.StartLine(wire.MeasurementChange)
	addTags(&e, []tag{
		{"action", n.Action},
		{"channel", n.Channel},
		{"kind", string(n.Kind)},
		{"model", n.Model},
		{"serial", n.Device.Serial},
		{"severity", n.Severity.String()},
		{"tenant", n.Device.Tenant},
		{"type", n.Type},
	})
	e.AddField("id", text(n.ID))
	e.AddField("case_id", text(n.CaseID))
	e.AddField("problem", text(n.Problem))
	e.AddField("person", text(n.PersonID))
	e.AddField("actor", text(n.Actor))
	e.AddField("detail", text(n.Detail))
	if n.CommandID != "" {
		e.AddField("command_id", text(n.CommandID))
		e.AddField("command", text(n.Command))
	}
	e.EndLine(stamp(n.At, n.ID, 0))
	if err := e.Err(); err != nil {
		return nil, fmt.Errorf("encode change %q: %w", n.ID, err)
	}
	return e.Bytes(), nil
}

// addTags leaves out empty ones, which line protocol cannot express. The keys must be sorted.
func addTags(e *lp.Encoder, tags []tag) {
	for _, t := range tags {
		if t.value != "" {
			e.AddTag(t.key, t.value)
		}
	}
}

// text makes a string value of one line: line breaks become spaces, because a batch is split at them, and what is not UTF-8
// becomes the replacement character, because InfluxQL's answers are JSON.
func text(s string) lp.Value {
	s = strings.ToValidUTF8(s, "\uFFFD")
	v, _ := lp.StringValue(strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ").Replace(s))
	return v
}

// stamp is the event's millisecond with a hash of its identity in the nanoseconds below, so that two events of one series
// and one millisecond do not overwrite each other and a resend does.
func stamp(at time.Time, id string, revision int) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	fold := (h.Sum64()%uint64(time.Millisecond) + uint64(revision)) % uint64(time.Millisecond)
	return time.UnixMilli(at.UnixMilli()).Add(time.Duration(fold))
}
