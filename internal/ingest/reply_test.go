package ingest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

func (l *log) replies(t *testing.T) (out []wire.Reply) {
	t.Helper()
	for _, rec := range l.records {
		if rec.Kind == wire.KindReply {
			r, err := wire.DecodeReply(rec)
			if err != nil || rec.Stream != wire.Changes || rec.Partition != l.PartitionOf(r.Device) {
				t.Fatalf("record %+v: %v", rec, err)
			}
			out = append(out, r)
		}
	}
	return out
}

func TestAnAnswerIsDurableOrPutAside(t *testing.T) { // REL-01, REL-12
	const topic = "devices/demo/w7/WM-1/reply"
	for name, c := range map[string]struct {
		payload string
		want    wire.Outcome
	}{
		"done":           {`{"id":"cmd-1","status":"done","result":{"a":[1,2]}}`, wire.Stored},
		"not now":        {`{"id":"cmd-1","status":"not_now","retry_s":60,"reason":"busy"}`, wire.Stored},
		"no result":      {`{"id":"cmd-1","status":"running","result":null}`, wire.Stored},
		"not JSON":       {`done`, wire.Quarantined},
		"no id":          {`{"status":"done"}`, wire.Quarantined},
		"bad id":         {`{"id":"a/b","status":"done"}`, wire.Quarantined},
		"bad status":     {`{"id":"cmd-1","status":"expired"}`, wire.Quarantined},
		"any result":     {`{"id":"cmd-1","status":"done","result":42}`, wire.Stored},
		"long result":    {`{"id":"cmd-1","status":"done","result":{"a":"` + strings.Repeat("x", 20<<10) + `"}}`, wire.Stored},
		"huge":           {`{"id":"cmd-1","status":"done"}` + strings.Repeat(" ", maxReply), wire.Quarantined},
		"long reason":    {`{"id":"cmd-1","status":"failed","reason":"` + strings.Repeat("x", 501) + `"}`, wire.Stored},
		"negative retry": {`{"id":"cmd-1","status":"not_now","retry_s":-1}`, wire.Quarantined},
		"deep":           {`{"id":"cmd-1","status":"done","result":{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`, wire.Quarantined},
		"not UTF-8":      {"{\"id\":\"cmd-1\",\"status\":\"done\",\"reason\":\"\xff\"}", wire.Quarantined},
	} {
		t.Run(name, func(t *testing.T) {
			b, a := start(t, &log{}), &acks{}
			b.submit(t, washer, topic, c.payload, a, 4)
			if err := b.stop(); err != nil {
				t.Fatal(err)
			}
			if want := []string{fmt.Sprintf("4:%d", c.want)}; !cmp.Equal(a.got, want) {
				t.Fatalf("heard %v, want %v", a.got, want)
			}
			_, aside := b.log.text(t)
			replies := b.log.replies(t)
			if c.want == wire.Stored && (len(replies) != 1 || replies[0].Device != washer || replies[0].Reply.ID != "cmd-1" || len(aside) != 0) {
				t.Errorf("replies %+v, aside %+v", replies, aside)
			}
			if c.want == wire.Quarantined && (len(replies) != 0 || len(aside) != 1 || aside[0].Reason != reasonReply) {
				t.Errorf("replies %+v, aside %+v", replies, aside)
			}
			b.conserved(t, 1)
		})
	}
}

func TestOurOwnReadingsJoinTheCommit(t *testing.T) { // REL-12
	b := start(t, &log{})
	at := time.UnixMilli(1_790_000_000_123)
	online := func(d fleet.DeviceKey) fleet.Reading {
		return fleet.Reading{Device: d, Class: fleet.Presence, Time: at, Fields: []fleet.Field{
			{Name: "online", Value: fleet.Value{Type: fleet.Boolean, Int: 1}}, {Name: "cause", Value: fleet.Value{Type: fleet.String, Str: "heard"}}}}
	}
	if err := b.Record(t.Context(), []fleet.Reading{online(washer), online(drill)}); err != nil {
		t.Fatal(err)
	}
	bad := online(washer)
	bad.Class = fleet.Telemetry
	broken := online(washer)
	broken.Fields[1].Value.Str = "a\nb"
	for _, r := range []fleet.Reading{bad, broken, online(fleet.DeviceKey{Tenant: "demo", Serial: "nobody"}), {}} {
		if err := b.Record(t.Context(), []fleet.Reading{r}); fleet.CodeOf(err) != fleet.CodeInvalid {
			t.Errorf("recorded %+v: %v", r, err)
		}
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	lines, _ := b.log.text(t)
	for _, want := range []string{`presence,model=w7,serial=WM-1,tenant=demo online=true,cause="heard" 1790000000123000000`, `presence,model=d18,serial=DR-1,`} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q does not hold %q", lines, want)
		}
	}
	if err := b.Record(t.Context(), []fleet.Reading{online(washer)}); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	b.conserved(t, 2)
}

// TestAgain: a payload that comes back from quarantine keeps its time of receipt and is never put aside a second time.
func TestAgain(t *testing.T) { // REL-12
	b, a := start(t, &log{}), &acks{}
	first := time.UnixMilli(1_790_000_000_000)
	again := func(payload string, ticket uint64) {
		t.Helper()
		m := wire.Inbound{Door: "gateway", Trusted: true, Topic: "devices/demo/w7/WM-1/telemetry", Payload: []byte(payload), Ack: a, Ticket: ticket, Again: true, Received: first}
		if err := b.Submit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	again(`{"cycles":7}`, 1)
	again(`{"cycles":"x"}`, 2)
	again(`[{"cycles":8},{"cycles":"x"}]`, 3)
	again(`{`, 4)
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	lines, aside := b.log.text(t)
	if strings.Count(lines, "\n") != 2 || !strings.Contains(lines, "cycles=7i 1790000000000000000\n") || !strings.Contains(lines, "cycles=8i") || len(aside) != 0 {
		t.Errorf("lines %q, aside %+v", lines, aside)
	}
	if want := []string{"1:0", "2:1", "3:1", "4:1"}; !cmp.Equal(a.got, want) {
		t.Errorf("heard %v, want %v", a.got, want)
	}
	b.conserved(t, 5)
}
