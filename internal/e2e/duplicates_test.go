package e2e

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// published is one message of a device.
type published struct{ serial, class, payload string }

// day is what three devices publish: reports with and without numbers, a batch, one that is bad, a fault that comes and goes and another
// that stays. All of it was a while ago, so that two runs get the same.
func day(at time.Time) (out []published) {
	ms := func(s int) int64 { return at.Add(time.Duration(s) * time.Second).UnixMilli() }
	add := func(serial, class, format string, args ...any) {
		out = append(out, published{serial, class, fmt.Sprintf(format, args...)})
	}
	for i := range 20 {
		add("DU-001", "telemetry", `{"ts":%d,"boot":3,"seq":%d,"cycles":%d,"power_w":12.25,"running":true}`, ms(i), i, 100+i)
		add("DU-002", "telemetry", `{"ts":%d,"cycles":%d,"water_temp_c":40}`, ms(i), i) // known by its time
	}
	add("DU-003", "telemetry", `{"boot":1,"readings":[{"ts":%d,"seq":1,"cycles":1},{"ts":%d,"seq":2,"cycles":1},{"ts":%d,"seq":3,"cycles":2}]}`, ms(0), ms(0), ms(1))
	add("DU-003", "telemetry", `{"ts":%d,"boot":1,"seq":4,"cycles":"many"}`, ms(2))
	add("DU-001", "event", `{"ts":%d,"boot":3,"seq":30,"code":"E18"}`, ms(30))
	add("DU-002", "event", `{"ts":%d,"boot":1,"seq":31,"code":"E17"}`, ms(31))
	add("DU-001", "event", `{"ts":%d,"boot":3,"seq":32,"code":"OK"}`, ms(60))
	add("DU-003", "status", `{"ts":%d,"boot":1,"seq":40,"online":true,"firmware":"2.0"}`, ms(61))
	return out
}

// play publishes messages over one connection for each device, each times times, the repetitions with the mark of one.
func (p *process) play(t *testing.T, h household, msgs []published, times int) {
	t.Helper()
	conns := map[string]*rawDevice{}
	for _, m := range msgs {
		d := conns[m.serial]
		if d == nil {
			d = p.dial(t, 4)
			if code := d.connect(m.serial, h.secrets[m.serial], nil); code != 0 {
				t.Fatalf("%s: refused with %#x", m.serial, code)
			}
			conns[m.serial] = d
		}
		if strings.Contains(m.payload, `"OK"`) { // what is over before anybody was told is not told
			eventually(t, 20*time.Second, func() error {
				if !slices.ContainsFunc(p.told(t), func(s string) bool { return strings.HasPrefix(s, "message "+m.serial+" opened") }) {
					return errNotYet
				}
				return nil
			})
		}
		for i := range times {
			pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Dup: i > 0}, ProtocolVersion: 4, PacketID: 7,
				TopicName: "devices/" + tenant + "/washer-w7/" + m.serial + "/" + m.class, Payload: []byte(m.payload)}
			var b bytes.Buffer
			if err := pk.PublishEncode(&b); err != nil {
				t.Fatal(err)
			}
			d.write(b.Bytes())
			d.answer(packets.Puback)
		}
	}
	for _, d := range conns {
		d.write([]byte{packets.Disconnect << 4, 0})
		d.cutOff()
	}
}

// TestDuplicatesChangeNothing: every message comes five times: twice more on its connection, once over another, once after the server was
// killed. The database, the cases and the messages are those of a run in which each came once. (REL-08, REL-12)
func TestDuplicatesChangeNothing(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	msgs := day(at)
	const rows = 43 + 3 + 1 + 3 + 6 + 3 // reports, events, a status, findings, changes, how much each was used
	run := func(again bool) (stored, told []string) {
		dir := t.TempDir()
		h := settle(t, dir, "DU", 3)
		addr := freePort(t)
		p := start(t, dir, nil, "--history.embedded.listen", addr)
		if again {
			p.play(t, h, msgs, 3)
			p.play(t, h, msgs, 1)
			p.conserved(t)
			p.kill()
			p = start(t, dir, nil, "--history.embedded.listen", addr)
		}
		p.play(t, h, msgs, 1)
		db := database(t, dir, addr)
		eventually(t, 20*time.Second, func() error { // cases and messages come in their own time
			if told = p.told(t); len(told) < 2+3 { // cases, messages
				return fmt.Errorf("cases and messages so far: %q", told)
			}
			return nil
		})
		eventually(t, 20*time.Second, func() error {
			if n := len(db.of("washer-w7", "DU-001")) + len(db.of("washer-w7", "DU-002")) + len(db.of("washer-w7", "DU-003")); n < 43 {
				return fmt.Errorf("%d readings so far", n)
			}
			if n := len(db.ask(`SELECT * FROM "change"`)); n < 3+3 { // of cases, of messages
				return fmt.Errorf("%d changes so far", n)
			}
			if n := len(db.dump()); n < rows {
				return fmt.Errorf("%d rows so far", n)
			}
			return nil
		})
		p.conserved(t)
		stored, told = normal(db.dump()), p.told(t)
		p.stop(t)
		return stored, told
	}
	stored, told := run(false)
	storedAgain, toldAgain := run(true)
	if len(stored) != rows {
		t.Errorf("the run shows nothing: %d rows", len(stored))
	}
	differ(t, "the database", stored, storedAgain)
	differ(t, "cases and messages", told, toldAgain)
	t.Logf("%d rows; %s", len(stored), strings.Join(told, "; "))
}

// told is what the API says of cases and messages, without what differs from run to run.
func (p *process) told(t *testing.T) (out []string) {
	t.Helper()
	for _, c := range list(t, p, "/cases?state=all&limit=1000") {
		out = append(out, fmt.Sprintf("case %v %v %v %v", c["serial"], c["kind"], c["severity"], c["state"]))
	}
	for _, m := range list(t, p, "/messages?limit=1000") {
		out = append(out, fmt.Sprintf("message %v %v %v", m["serial"], m["topic"], m["title"]))
	}
	slices.Sort(out)
	return out
}

// clocks are the fields of rows that say when the server did something.
var clocks = regexp.MustCompile(`(received|at|opened_at|id|case|case_id|finding|message)=\S* `)

// normal leaves out who came and went, which the replays change, and when the server did things.
func normal(dump []string) (out []string) {
	for _, line := range dump {
		switch {
		case strings.Contains(line, "measurement=presence"):
		case strings.Contains(line, "measurement=change"), strings.Contains(line, "measurement=finding"):
			out = append(out, regexp.MustCompile(`time=\S* `).ReplaceAllString(clocks.ReplaceAllString(line, ""), ""))
		default:
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return out
}

func differ(t *testing.T, what string, once, again []string) {
	t.Helper()
	for _, line := range once {
		if !slices.Contains(again, line) {
			t.Errorf("%s: only without repetitions: %s", what, line)
		}
	}
	for _, line := range again {
		if !slices.Contains(once, line) {
			t.Errorf("%s: only with repetitions: %s", what, line)
		}
	}
	if len(once) != len(again) {
		t.Errorf("%s: %d lines without repetitions, %d with", what, len(once), len(again))
	}
}
