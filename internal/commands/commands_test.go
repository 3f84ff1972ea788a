package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/store"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code fleet.Code) {
	t.Helper()
	if fleet.CodeOf(err) != code {
		t.Fatalf("code %q (%v), want %q", fleet.CodeOf(err), err, code)
	}
}

var washer = fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}

// bed is the service on a real store, with a device that may be there or not.
type bed struct {
	t     *testing.T
	s     *store.Store
	c     *Commands
	reg   *prometheus.Registry
	stop  func()
	mu    sync.Mutex
	known map[fleet.DeviceKey]*fleet.Device
	here  bool
	acks  bool // the device acknowledges at once
	sent  []toDevice
	fail  error // of commits
	looks int   // how often the store was asked for what is due
}

func (b *bed) Device(key fleet.DeviceKey) (*fleet.Device, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d, ok := b.known[key]
	return d, ok
}

func (b *bed) Model(id string) (*fleet.Model, bool) {
	m := &fleet.Model{ID: id, Commands: []fleet.CommandSpec{{Name: "restart", Disruptive: true}, {Name: "report"}}}
	return m, id == "washer-w7"
}

func (b *bed) Send(_ *fleet.Device, payload []byte, acked func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.here {
		return false
	}
	var k toDevice
	if err := json.Unmarshal(payload, &k); err != nil {
		b.t.Error(err)
	}
	b.sent = append(b.sent, k)
	if b.acks {
		go acked()
	}
	return true
}

// flaky is the store; its commits fail when the test says so.
type flaky struct {
	*store.Store
	b *bed
}

func (f flaky) CommitCommand(ctx context.Context, ch fleet.CommandChange, maxOpen int) error {
	f.b.mu.Lock()
	err := f.b.fail
	f.b.mu.Unlock()
	if err != nil {
		return err
	}
	return f.Store.CommitCommand(ctx, ch, maxOpen)
}

func (f flaky) DueCommands(ctx context.Context, now time.Time, limit int) ([]fleet.Command, error) {
	f.b.set(func() { f.b.looks++ })
	return f.Store.DueCommands(ctx, now, limit)
}

func (b *bed) set(fn func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn()
}

// took returns the ids that were sent since the last call, after a while and what Run takes to look.
func (b *bed) took(after time.Duration) (ids []string) {
	time.Sleep(after + breath)
	synctest.Wait()
	b.set(func() {
		for _, k := range b.sent {
			ids = append(ids, k.ID)
		}
		b.sent = nil
	})
	return ids
}

func (b *bed) start() {
	b.reg = prometheus.NewRegistry()
	cfg := DefaultConfig()
	cfg.Poll = 10 * time.Second // of the days that pass here
	b.c = New(cfg, Deps{Store: flaky{b.s, b}, Reads: b.s, Devices: b, Sender: b, Log: obs.Discard(), Registerer: b.reg})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.c.Run(ctx) }()
	time.Sleep(breath) // the first look is over
	b.stop = func() {
		cancel()
		must(b.t, <-done)
	}
}

func run(t *testing.T, fn func(b *bed)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	synctest.Test(t, func(t *testing.T) {
		cfg := store.DefaultConfig()
		cfg.Path = path
		s, err := store.Open(context.Background(), cfg, obs.Discard())
		must(t, err)
		b := &bed{t: t, s: s, acks: true, known: map[fleet.DeviceKey]*fleet.Device{
			washer:                            {Key: washer, Model: "washer-w7"},
			{Tenant: "demo", Serial: "OTHER"}: {Key: fleet.DeviceKey{Tenant: "demo", Serial: "OTHER"}, Model: "mower"},
		}}
		b.start()
		fn(b)
		b.stop()
		must(t, s.Close())
		synctest.Wait()
	})
}

func (b *bed) ask(name, id string) fleet.Command {
	b.t.Helper()
	k, err := b.c.Send(context.Background(), Request{Device: washer, Name: name, ID: id, By: "agent:ana"}, time.Now())
	must(b.t, err)
	return k
}

func (b *bed) reply(id, status string, more ...int64) {
	b.t.Helper()
	r := fleet.CommandReply{ID: id, Status: status}
	if len(more) > 0 {
		r.RetryS = more[0]
	}
	must(b.t, b.c.Reply(context.Background(), washer, time.Now(), r))
}

// history returns the states a command came to, and checks that it stands where its history ends.
func (b *bed) history(id string) string {
	b.t.Helper()
	k, audit, err := b.c.Get(context.Background(), "demo", id)
	must(b.t, err)
	states := make([]string, len(audit))
	for i, a := range audit {
		states[i] = a.Action
	}
	if len(states) == 0 || states[len(states)-1] != string(k.State) {
		b.t.Errorf("command is %s, its history %v", k.State, states)
	}
	return strings.Join(states, " ")
}

func (b *bed) want(id, states string) {
	b.t.Helper()
	if got := b.history(id); got != states {
		b.t.Errorf("history %q, want %q", got, states)
	}
}

func (b *bed) sentIs(after time.Duration, want ...string) {
	b.t.Helper()
	if got := b.took(after); !slices.Equal(got, want) {
		b.t.Errorf("sent %q, want %q", got, want)
	}
}

func TestACommandIsSentAndAnswered(t *testing.T) {
	run(t, func(b *bed) {
		b.here = true
		b.ask("restart", "k1")
		synctest.Wait()
		if k := b.sent[0]; k.Name != "restart" || !k.Disruptive || k.ExpiresMS != time.Now().Add(24*time.Hour).UnixMilli() {
			t.Errorf("%+v", k)
		}
		b.sentIs(2*time.Second, "k1")
		b.reply("k1", "running")
		time.Sleep(time.Second)
		b.reply("k1", "done")
		b.reply("k1", "done") // again
		b.reply("k1", "failed")
		b.want("k1", "waiting sent delivered running done")
		b.sentIs(48 * time.Hour)
		if n := testutil.ToFloat64(b.c.metrics.replies.WithLabelValues(replyFinal)); n != 2 {
			t.Errorf("%v answers after the end", n)
		}
		rows, err := b.s.LeaseOutbox(context.Background(), fleet.OutboxRecord, time.Now(), time.Minute, 100)
		must(t, err)
		if len(rows) != 5 {
			t.Errorf("%d records for 5 states", len(rows))
		}
		var n fleet.Notice
		must(t, json.Unmarshal(rows[4].Body, &n))
		if n.Type != "command" || n.CommandID != "k1" || n.Command != "restart" || n.Action != "done" || n.Actor != "device" || n.Device != washer {
			t.Errorf("%+v", n)
		}
	})
}

func TestACommandWaitsForItsDevice(t *testing.T) {
	run(t, func(b *bed) {
		b.ask("restart", "k1")
		time.Sleep(time.Second)
		b.ask("report", "k2")
		b.sentIs(3 * time.Hour)
		b.want("k1", "waiting")
		b.set(func() { b.here = true })
		b.c.Arrived(washer)
		b.c.Arrived(washer)
		b.sentIs(time.Second, "k1", "k2") // at once, in order, and once
		b.want("k1", "waiting sent delivered")
	})
}

func TestAnUnansweredCommandIsSentAgainLessAndLessOftenUntilItExpires(t *testing.T) {
	run(t, func(b *bed) {
		b.here, b.acks = true, false
		b.ask("restart", "k1")
		b.sentIs(time.Minute, "k1", "k1")
		b.sentIs(2*time.Minute, "k1")
		n := len(b.took(22 * time.Hour))
		if n < 85 || n > 92 { // every 15 minutes
			t.Errorf("sent %d times", n)
		}
		b.took(2 * time.Hour)
		b.want("k1", "waiting sent expired")
		b.sentIs(48 * time.Hour)
		b.reply("k1", "done")
		b.want("k1", "waiting sent expired")
	})
}

func TestNotNowIsAskedAgain(t *testing.T) {
	run(t, func(b *bed) {
		b.here = true
		b.ask("restart", "k1")
		b.sentIs(time.Second, "k1")
		b.reply("k1", "not_now", 1800)
		b.c.Arrived(washer) // its wish counts more than its return
		b.sentIs(29 * time.Minute)
		b.sentIs(2*time.Minute, "k1")
		b.reply("k1", "not_now")
		b.sentIs(6*time.Minute, "k1")
		b.reply("k1", "refused")
		b.want("k1", "waiting sent delivered not_now sent delivered not_now sent delivered refused")
		b.sentIs(48 * time.Hour)
	})
}

func TestCancel(t *testing.T) {
	run(t, func(b *bed) {
		b.ask("restart", "k1")
		must(t, b.c.Cancel(context.Background(), "demo", "k1", "agent:bob", time.Now()))
		wantCode(t, b.c.Cancel(context.Background(), "demo", "k1", "agent:bob", time.Now()), fleet.CodeConflict)
		wantCode(t, b.c.Cancel(context.Background(), "rival", "k1", "agent:bob", time.Now()), fleet.CodeNotFound)
		b.set(func() { b.here = true })
		b.c.Arrived(washer)
		b.sentIs(time.Hour)
		b.want("k1", "waiting cancelled")
		b.ask("restart", "k2")
		b.sentIs(time.Second, "k2")
		b.reply("k2", "running")
		wantCode(t, b.c.Cancel(context.Background(), "demo", "k2", "agent:bob", time.Now()), fleet.CodeConflict)
		list, err := b.c.List(context.Background(), fleet.CommandFilter{Tenant: "demo", Open: true})
		must(t, err)
		if len(list) != 1 || list[0].ID != "k2" {
			t.Errorf("open: %+v", list)
		}
	})
}

func TestWhatCannotBeAsked(t *testing.T) {
	run(t, func(b *bed) {
		b.known[fleet.DeviceKey{Tenant: "demo", Serial: "R"}] = &fleet.Device{Key: fleet.DeviceKey{Tenant: "demo", Serial: "R"}, Model: "washer-w7", Revoked: true}
		good := Request{Device: washer, Name: "report", By: "agent:ana"}
		for _, x := range []struct {
			name string
			code fleet.Code
			fn   func(r *Request)
		}{
			{"no such device", fleet.CodeNotFound, func(r *Request) { r.Device.Serial = "X" }},
			{"of another tenant", fleet.CodeNotFound, func(r *Request) { r.Device.Tenant = "rival" }},
			{"revoked", fleet.CodeDenied, func(r *Request) { r.Device.Serial = "R" }},
			{"unknown command", fleet.CodeInvalid, func(r *Request) { r.Name = "explode" }},
			{"model without commands", fleet.CodeInvalid, func(r *Request) { r.Device.Serial = "OTHER" }},
			{"args no object", fleet.CodeInvalid, func(r *Request) { r.Args = []byte(`[1]`) }},
			{"args null", fleet.CodeInvalid, func(r *Request) { r.Args = []byte(`null`) }},
			{"args cut", fleet.CodeInvalid, func(r *Request) { r.Args = []byte(`{"a":`) }},
			{"args too long", fleet.CodeInvalid, func(r *Request) { r.Args = fmt.Appendf(nil, `{"a":%q}`, strings.Repeat("x", MaxArgs)) }},
			{"expires too late", fleet.CodeInvalid, func(r *Request) { r.Expires = MaxExpires + 1 }},
			{"expired", fleet.CodeInvalid, func(r *Request) { r.Expires = -time.Hour }},
			{"nobody asks", fleet.CodeInvalid, func(r *Request) { r.By = "" }},
			{"a bad id", fleet.CodeInvalid, func(r *Request) { r.ID = "a/b" }},
		} {
			r := good
			x.fn(&r)
			if _, err := b.c.Send(context.Background(), r, time.Now()); fleet.CodeOf(err) != x.code {
				t.Errorf("%s: %v, want %s", x.name, err, x.code)
			}
		}
		_, err := b.c.Send(context.Background(), Request{Device: washer, Name: "explode", By: "x"}, time.Now())
		if !strings.Contains(err.Error(), "restart, report") {
			t.Errorf("the mistake does not say what there is: %v", err)
		}
		for range DefaultConfig().MaxOpen {
			if _, err := b.c.Send(context.Background(), good, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		_, err = b.c.Send(context.Background(), good, time.Now())
		wantCode(t, err, fleet.CodeBusy)
	})
}

func TestAskingTwiceWithOneIDIsAskingOnce(t *testing.T) {
	run(t, func(b *bed) {
		b.here = true
		first := b.ask("restart", "mine")
		b.took(time.Second)
		if again := b.ask("restart", "mine"); again.ID != first.ID || again.State != fleet.CommandDelivered {
			t.Errorf("%+v", again)
		}
		b.sentIs(5 * time.Second)
		_, err := b.c.Send(context.Background(), Request{Device: washer, Name: "report", ID: "mine", By: "x"}, time.Now())
		wantCode(t, err, fleet.CodeConflict)
	})
}

// A crash between sending and writing that down: the command is sent again, never lost.
func TestKilledBetweenSendAndRecordItIsSentAgain(t *testing.T) {
	run(t, func(b *bed) {
		b.ask("restart", "k1")
		time.Sleep(time.Second)
		b.set(func() { b.here, b.acks, b.fail = true, false, errors.New("killed") })
		b.c.Arrived(washer)
		if got := b.took(1500 * time.Millisecond); len(got) == 0 {
			t.Fatal("it was not sent")
		}
		b.stop()
		b.set(func() { b.fail = nil; b.sent = nil })
		b.want("k1", "waiting")
		b.start()
		b.c.Arrived(washer) // the device comes back to the new process
		b.sentIs(time.Second, "k1")
		b.want("k1", "waiting sent")
	})
}

func TestOnlyTheDeviceItselfAnswers(t *testing.T) {
	run(t, func(b *bed) {
		b.here = true
		b.ask("restart", "k1")
		b.took(time.Second)
		must(t, b.c.Reply(context.Background(), fleet.DeviceKey{Tenant: "demo", Serial: "OTHER"}, time.Now(), fleet.CommandReply{ID: "k1", Status: "done"}))
		must(t, b.c.Reply(context.Background(), fleet.DeviceKey{Tenant: "rival", Serial: "WM-1"}, time.Now(), fleet.CommandReply{ID: "k1", Status: "done"}))
		b.reply("k1", "splendid")
		b.want("k1", "waiting sent delivered")
		for _, outcome := range []string{"foreign", "unknown_command", replyUnknown} {
			if n := testutil.ToFloat64(b.c.metrics.replies.WithLabelValues(outcome)); n != 1 {
				t.Errorf("%s counted %v times", outcome, n)
			}
		}
	})
}

func TestRevokedDevicesGetNothing(t *testing.T) {
	run(t, func(b *bed) {
		b.ask("restart", "k1")
		b.took(time.Second)
		b.set(func() { b.here = true; b.known[washer] = &fleet.Device{Key: washer, Model: "washer-w7", Revoked: true} })
		b.c.Arrived(washer)
		b.sentIs(time.Minute)
		b.want("k1", "waiting cancelled")
	})
}

func TestCommandsOfOtherProcessesAreFound(t *testing.T) {
	run(t, func(b *bed) {
		b.here = true
		cli := New(DefaultConfig(), Deps{Store: b.s, Reads: b.s, Devices: b, Log: obs.Discard(), Registerer: prometheus.NewRegistry()})
		k, err := cli.Send(context.Background(), Request{Device: washer, Name: "report", Args: []byte(` { "a" : 1 } `), By: "cli"}, time.Now())
		must(t, err)
		if string(k.Args) != `{"a":1}` {
			t.Errorf("args %s", k.Args)
		}
		b.sentIs(11*time.Second, k.ID)
	})
}

// replies is a source with two batches; the first comes again because its commit fails once.
type replies struct {
	batches [][]fleet.DeviceReply
	commits int
}

func (r *replies) Next(ctx context.Context) ([]fleet.DeviceReply, func(context.Context) error, error) {
	if r.commits == len(r.batches) {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	return r.batches[r.commits], func(context.Context) error { r.commits++; return nil }, nil
}

func TestRepliesAreTriedAgainWhileTheStoreIsAway(t *testing.T) {
	run(t, func(b *bed) {
		b.here = true
		b.ask("restart", "k1")
		b.took(time.Second)
		src := &replies{batches: [][]fleet.DeviceReply{{{Device: washer, At: time.Now(), Reply: fleet.CommandReply{ID: "k1", Status: "running"}}},
			{{Device: washer, At: time.Now(), Reply: fleet.CommandReply{ID: "k1", Status: "done", Reason: strings.Repeat("ä", 400), Result: []byte(`{"n":1}`)}}}}}
		b.set(func() { b.fail = fleet.Errorf(fleet.CodeBusy, "away") })
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- b.c.RunReplies(ctx, src) }()
		time.Sleep(time.Minute)
		if src.commits != 0 {
			t.Error("marked as done while the store was away")
		}
		b.set(func() { b.fail = nil })
		time.Sleep(10 * time.Second)
		cancel()
		must(t, <-done)
		b.want("k1", "waiting sent delivered running done")
		k, _, err := b.c.Get(context.Background(), "demo", "k1")
		must(t, err)
		if len(k.Reason) > maxReason || !strings.HasPrefix(k.Reason, "ää") || string(k.Result) != `{"n":1}` {
			t.Errorf("%q %s", k.Reason, k.Result)
		}
	})
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	must(t, DefaultConfig().Validate())
	if (Config{}).Validate() == nil {
		t.Error("an empty configuration is accepted")
	}
}
