package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// command is a command as the API tells of it.
type command struct {
	ID, Name, State, Reason, By string
	Attempts                    int
	Final                       bool
	Result                      json.RawMessage
	Audit                       []struct{ Actor, Action, Detail string }
}

func (p *process) command(t testing.TB, id string) command {
	t.Helper()
	var c command
	p.api(t, "/commands/"+tenant+"/"+id, &c)
	return c
}

// comesTo waits until a command is in a state.
func (p *process) comesTo(t testing.TB, id, state string) command {
	t.Helper()
	var c command
	eventually(t, 15*time.Second, func() error {
		if c = p.command(t, id); c.State != state {
			return fmt.Errorf("command %s is %s (%s), want %s", id, c.State, c.Reason, state)
		}
		return nil
	})
	return c
}

// story is what happened to it: actor and action, oldest first.
func (c *command) story() string {
	out := make([]string, 0, len(c.Audit))
	for _, a := range c.Audit {
		out = append(out, a.Actor+":"+a.Action)
	}
	return strings.Join(out, " ")
}

// sent sends a command by the command line and returns its id.
func (p *process) sent(t testing.TB, args ...string) string {
	t.Helper()
	words := strings.Fields(p.must(t, append([]string{"command", "send"}, args...)...))
	if len(words) != 2 {
		t.Fatalf("command send printed %q", words)
	}
	return words[0]
}

// inHaste are settings with which a test does not wait for the pauses of real life.
var inHaste = []string{"--commands.poll", "100ms", "--commands.retry_min", "1s", "--commands.retry_max", "2s", "--presence.every", "50ms"}

// TestCommandWaitsForItsDevice: a command for a device that is away is kept, handed over when the device comes, put off by "not now", asked
// again, begun and done; each step is in its history, and an answer that comes twice changes nothing.
func TestCommandWaitsForItsDevice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := settle(t, dir, "CW", 1)
	p := start(t, dir, nil, inHaste...)
	id := p.sent(t, "CW-001", "drain", "--args", `{"in_s": 10}`)
	if c := p.command(t, id); c.State != "waiting" || c.Final {
		t.Errorf("a command for a device that was never there is %s", c.State)
	}
	watch := make(chan error, 1)
	go func() {
		out, err := p.cli(t, "command", "watch", id)
		if err == nil && !strings.Contains(out, "done") {
			err = fmt.Errorf("watch printed %q", out)
		}
		watch <- err
	}()

	d := listen(t, p, "washer-w7", "CW-001", h.secrets["CW-001"])
	o := d.next(5 * time.Second)
	if o.ID != id || o.Name != "drain" || !o.Disruptive || o.Args["in_s"] != 10.0 || time.Until(time.UnixMilli(o.ExpiresMS)) < 23*time.Hour {
		t.Errorf("the device was asked %+v", o)
	}
	d.answer(id, `"status":"not_now","reason":"a wash is running","retry_s":1`)
	if c := p.comesTo(t, id, "not_now"); c.Reason != "a wash is running" {
		t.Errorf("not now because %q", c.Reason)
	}
	if o := d.next(10 * time.Second); o.ID != id {
		t.Errorf("asked again: %+v", o)
	}
	d.answer(id, `"status":"running"`)
	p.comesTo(t, id, "running")
	if code, text := p.post(t, "/commands/"+tenant+"/"+id+"/cancel", nil, nil); code != http.StatusConflict {
		t.Errorf("cancelling what has begun: %d %s", code, text)
	}
	for range 3 { // a device that lost the acknowledgement says it again
		d.answer(id, `"status":"done","result":{"litres":4.5}`)
	}
	d.answer(id, `"status":"failed","reason":"too late"`)
	c := p.comesTo(t, id, "done")
	if string(c.Result) != `{"litres":4.5}` {
		t.Errorf("the result is %s", c.Result)
	}
	eventually(t, 10*time.Second, func() error {
		if n := p.metric(t, "aftercare_command_replies_total", label("outcome", "after_final")); n != 3 {
			return fmt.Errorf("%v answers came after the end, want 3", n)
		}
		return nil
	})
	c = p.command(t, id)
	story := strings.ReplaceAll(c.story(), " device:delivered", "") // its PUBACK and its answer race
	if want := "agent:api:waiting system:sent device:not_now system:sent device:running device:done"; story != want || c.State != "done" {
		t.Errorf("its history is %q, want %q", story, want)
	}
	if err := <-watch; err != nil {
		t.Error(err)
	}
	p.conserved(t)
}

// TestCommandEnds: what else a command can come to: refused by the device, expired because nobody took it, called back, of a name that the
// model does not know; one id is one command, by API and command line alike.
func TestCommandEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := settle(t, dir, "CE", 2)
	p := start(t, dir, nil, inHaste...)
	d := listen(t, p, "washer-w7", "CE-001", h.secrets["CE-001"])

	var c command
	if code, text := p.post(t, "/devices/demo/CE-001/commands", map[string]any{"name": "restart", "id": "mine-1"}, &c); code >= 300 {
		t.Fatalf("send: %d %s", code, text)
	}
	if o := d.next(5 * time.Second); o.ID != "mine-1" || !o.Disruptive {
		t.Errorf("the device was asked %+v", o)
	}
	d.answer("mine-1", `"status":"refused","reason":"in use"`)
	if c := p.comesTo(t, "mine-1", "refused"); !c.Final || c.Reason != "in use" {
		t.Errorf("refused: %+v", c)
	}
	if code, _ := p.post(t, "/devices/demo/CE-001/commands", map[string]any{"name": "restart", "id": "mine-1"}, &c); code >= 300 || c.State != "refused" {
		t.Errorf("the same id again: %d, %+v", code, c)
	}
	if _, err := p.cli(t, "command", "watch", "mine-1"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("watch ends with 0 although the device refused: %v", err)
	}

	id := p.sent(t, "CE-002", "identify", "--expires", "1s") // it never comes
	gone := p.sent(t, "CE-002", "identify")
	p.must(t, "command", "cancel", gone)
	if c := p.comesTo(t, gone, "cancelled"); !c.Final {
		t.Errorf("cancelled: %+v", c)
	}
	if c := p.comesTo(t, id, "expired"); c.Reason == "" || c.Attempts != 0 {
		t.Errorf("expired: %+v", c)
	}
	for _, args := range [][]string{{"CE-001", "explode"}, {"NOBODY", "identify"}, {"CE-001", "identify", "--args", "[1]"}, {"CE-001", "identify", "--tenant", "other"}} {
		if out, err := p.cli(t, append([]string{"command", "send"}, args...)...); err == nil {
			t.Errorf("command send %v: %s", args, out)
		}
	}
	if out := p.must(t, "command", "list", "--device", "CE-002"); !strings.Contains(out, id) || !strings.Contains(out, gone) || strings.Contains(out, "mine-1") {
		t.Errorf("list of one device:\n%s", out)
	}
	if out := p.must(t, "command", "list", "--open"); strings.Contains(out, "CE-0") {
		t.Errorf("none is open:\n%s", out)
	}
	late := listen(t, p, "washer-w7", "CE-002", h.secrets["CE-002"])
	late.answer(id, `"status":"done"`)
	select {
	case o := <-late.orders:
		t.Errorf("what is over was sent: %+v", o)
	case <-time.After(time.Second):
	}
	if c := p.command(t, id); c.State != "expired" {
		t.Errorf("an answer after the end made it %s", c.State)
	}
	p.conserved(t)
}

// TestCommandOutlivesTheServer: the server is killed between sending and the answer. The command is still there, the device is asked again
// under the same id, and its answer, given twice, is one. (REL-01, REL-08)
func TestCommandOutlivesTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := settle(t, dir, "CK", 1)
	p := start(t, dir, nil, inHaste...)
	d := listen(t, p, "washer-w7", "CK-001", h.secrets["CK-001"])
	id := p.sent(t, "CK-001", "run_self_test")
	if o := d.next(5 * time.Second); o.ID != id {
		t.Errorf("the device was asked %+v", o)
	}
	p.kill()

	p = start(t, dir, nil, inHaste...)
	if c := p.command(t, id); c.Final {
		t.Errorf("after the kill it is %s", c.State)
	}
	d = listen(t, p, "washer-w7", "CK-001", h.secrets["CK-001"])
	if o := d.next(10 * time.Second); o.ID != id || o.Name != "run_self_test" {
		t.Errorf("after the kill the device was asked %+v", o)
	}
	d.answer(id, `"status":"done"`) // acknowledged: it is in the journal, and nothing else is said to be done
	p.kill()

	p = start(t, dir, nil, inHaste...)
	c := p.comesTo(t, id, "done")
	if n := strings.Count(c.story(), "device:done"); n != 1 {
		t.Errorf("done %d times: %s", n, c.story())
	}
	d = listen(t, p, "washer-w7", "CK-001", h.secrets["CK-001"])
	d.answer(id, `"status":"done"`)
	select {
	case o := <-d.orders:
		t.Errorf("what is done was sent again: %+v", o)
	case <-time.After(time.Second):
	}
	if again := p.command(t, id); again.story() != c.story() {
		t.Errorf("the second answer changed its history: %s", again.story())
	}
	p.conserved(t)
}
