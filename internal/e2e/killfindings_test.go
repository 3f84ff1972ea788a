package e2e

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// line is one message of a device, said over the connection of whoever speaks for it.
type line struct{ topic, payload string }

// played is a simulated fleet and what it sends, by connection, in order.
type played struct {
	devices []fleet.Device
	lines   map[string][]line
	total   int
}

var (
	stampRE = regexp.MustCompile(`^\{"ts":\d+,"boot":(\d+),"seq":(\d+),`)
	topicRE = regexp.MustCompile(`^devices/demo/[^/]+/([^/]+)/(telemetry|event)$`)
)

// simulated is four days of a fleet with faults, up to half an hour ago: its past. At the end each device says once more how
// it is now, so that people are told of what is open. What firmware they run is known before.
func simulated(t *testing.T, devices int, now time.Time) (f played) {
	t.Helper()
	dir := t.TempDir()
	code, out := ended(t, "firmware-sim", "simulate", "--out", filepath.Join(dir, "fleet"), "--truth", filepath.Join(dir, "truth"), "--devices", strconv.Itoa(devices), "--days", "4",
		"--start", now.UTC().AddDate(0, 0, -3).Format(time.DateOnly), "--seed", "3")
	if code != 0 {
		t.Fatalf("simulate: exit code %d\n%s", code, out)
	}
	rows, err := csv.NewReader(strings.NewReader(read(t, filepath.Join(dir, "fleet.devices.csv")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	speaks := map[string]string{}
	for _, row := range rows[1:] {
		d := fleet.Device{OwnerID: ownerID}
		for i, to := range map[string]*string{"serial": &d.Key.Serial, "model": &d.Model, "firmware": &d.Firmware, "hardware": &d.Hardware, "batch": &d.Batch, "region": &d.Region, "parent": &d.Parent} {
			*to = row[slices.Index(rows[0], i)]
		}
		d.Key.Tenant = tenant
		f.devices = append(f.devices, d)
		if speaks[d.Key.Serial] = d.Key.Serial; d.Parent != "" {
			speaks[d.Key.Serial] = d.Parent
		}
	}
	f.lines = map[string][]line{}
	last := map[string]line{}
	for lines := bufio.NewScanner(strings.NewReader(read(t, filepath.Join(dir, "fleet")))); lines.Scan(); {
		at, rest, _ := strings.Cut(lines.Text(), " ")
		topic, payload, _ := strings.Cut(rest, " ")
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		m := topicRE.FindStringSubmatch(topic)
		if m == nil || ms > now.Add(-30*time.Minute).UnixMilli() {
			continue
		}
		f.lines[speaks[m[1]]] = append(f.lines[speaks[m[1]]], line{topic, payload})
		if f.total++; m[2] == "telemetry" && stampRE.MatchString(payload) {
			last[m[1]] = line{topic, payload}
		}
	}
	for serial, l := range last {
		n := stampRE.FindStringSubmatch(l.payload)
		seq, err := strconv.Atoi(n[2])
		if err != nil {
			t.Fatal(err)
		}
		l.payload = fmt.Sprintf(`{"ts":%d,"boot":%s,"seq":%d,`, now.UnixMilli(), n[1], seq+100) + l.payload[len(n[0]):]
		f.lines[speaks[serial]] = append(f.lines[speaks[serial]], l)
		f.total++
	}
	return f
}

// inflight is how many messages of one connection wait for their acknowledgement.
const inflight = 20

// say publishes what a connection has not said yet, from index from on, until all is acknowledged or the server is gone. It
// returns up to where everything is acknowledged.
func (f *played) say(p *process, h household, serial string, from int, acked *atomic.Int64) int {
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + p.mqtt).SetClientID(serial).SetUsername(tenant + "/" + serial).SetPassword(h.secrets[serial]).
		SetAutoReconnect(false).SetConnectRetry(false))
	if tok := c.Connect(); !tok.WaitTimeout(20*time.Second) || tok.Error() != nil {
		return from
	}
	defer c.Disconnect(0)
	lines, open := f.lines[serial], []mqtt.Token(nil)
	for next := from; from < len(lines); {
		for ; next < len(lines) && len(open) < inflight; next++ {
			open = append(open, c.Publish(lines[next].topic, 1, false, lines[next].payload))
		}
		select {
		case <-open[0].Done():
		case <-p.done:
			return from
		}
		if open[0].Error() != nil {
			return from
		}
		open = open[1:]
		from++
		acked.Add(1)
	}
	return from
}

// live plays the fleet on a server that is killed each time so many messages were acknowledged, and started again. It returns what
// was found, as the journal has it, and the cases and messages, once done agrees.
func (f *played) live(t *testing.T, kills []int64, done func(p *process) error) (found, told []string) {
	t.Helper()
	dir, packs := t.TempDir(), t.TempDir()
	shipped(t, "rules", packs)
	restless(t, packs)
	h := settleFleet(t, dir, f.devices)
	args := []string{"--rules.dir", packs, "--rules.engine.snapshot_every", "1s"}
	at := map[string]int{}
	var acked atomic.Int64
	p := start(t, dir, nil, args...)
	for {
		var wg sync.WaitGroup
		var mu sync.Mutex
		before := acked.Load()
		for serial, from := range at0(f, at) {
			wg.Go(func() {
				n := f.say(p, h, serial, from, &acked)
				mu.Lock()
				defer mu.Unlock()
				at[serial] = n
			})
		}
		if len(kills) > 0 {
			eventually(t, 60*time.Second, func() error {
				if n := acked.Load(); n < kills[0] {
					return fmt.Errorf("%d of %d are acknowledged", n, kills[0])
				}
				return nil
			})
			p.kill()
		}
		wg.Wait()
		t.Logf("%d of %d are acknowledged", acked.Load(), f.total)
		if len(kills) == 0 {
			break
		}
		if acked.Load() == before {
			t.Fatal("nothing was acknowledged before the kill: it shows nothing")
		}
		kills = kills[1:]
		p = start(t, dir, nil, args...)
		eventually(t, 20*time.Second, func() error { // the next kill leaves a snapshot, and readings behind it
			for partition := range 4 {
				if p.metric(t, "aftercare_rules_snapshot_sequence", fmt.Sprintf(`partition="%d"`, partition)) == 0 {
					return errNotYet
				}
			}
			return nil
		})
	}
	if n := acked.Load(); n != int64(f.total) {
		t.Fatalf("%d of %d are acknowledged\n%s", n, f.total, p.log)
	}
	eventually(t, 60*time.Second, func() error { return done(p) })
	told = p.tales(t)
	p.stop(t)
	return foundIn(t, filepath.Join(dir, "journal")), told
}

// restless adds rules that find something several times a day, so that a kill at any moment comes between: faults are rare.
func restless(t *testing.T, packs string) {
	t.Helper()
	pack(t, packs, "restless-washer", "washer-w7",
		"washer-busy", "kind: usage, severity: info, when: running, for: 20m, clear: not running",
		"washer-power", `kind: usage, severity: info, when: 'avg(power_w, "2h") > 300'`,
		"washer-worked", "kind: fault, severity: due, when: hours(running) > 4",
		"washer-often", `kind: usage, severity: info, when: 'times(running, "24h") > 1'`)
	pack(t, packs, "restless-fridge", "fridge-f3",
		"fridge-warmer", `kind: usage, severity: info, when: 'fridge_c > avg(fridge_c, "24h") + 0.5', for: 20m, clear_for: 20m`,
		"fridge-runs", "kind: usage, severity: info, when: compressor_w > 50",
		"fridge-mean", `kind: fault, severity: due, when: 'ewma(fridge_c, "2h") > 5'`)
	pack(t, packs, "restless-laptop", "laptop-l4",
		"laptop-away", `kind: usage, severity: info, when: not on_mains, flapping: off`,
		"laptop-drains", `kind: fault, severity: due, when: 'slope(charge_pct, "12h") < -20'`)
}

// at0 is from where each connection goes on.
func at0(f *played, at map[string]int) map[string]int {
	out := map[string]int{}
	for serial := range f.lines {
		out[serial] = at[serial]
	}
	return out
}

// tales is what the API says of cases, with how many episodes they had, and of messages. A case that is resolved is closed by a clock
// when its time to come back is over, which is past for what is uploaded: when that happens is no difference.
func (p *process) tales(t *testing.T) (out []string) {
	t.Helper()
	for _, c := range list(t, p, "/cases?state=all&limit=1000") {
		if c["state"] == string(fleet.CaseClosed) {
			c["state"] = string(fleet.CaseResolved)
		}
		out = append(out, fmt.Sprintf("case %v %v %v %v of %v episodes", c["serial"], c["rule"], c["severity"], c["state"], c["count"]))
	}
	for _, m := range list(t, p, "/messages?limit=1000") {
		out = append(out, fmt.Sprintf("message %v %v %v", m["serial"], m["topic"], m["title"]))
	}
	slices.Sort(out)
	return out
}

// foundIn is every finding that a stopped server's journal has, once however often it is there. Two that differ under one id and
// revision are two.
func foundIn(t *testing.T, dir string) (out []string) {
	t.Helper()
	j, closed := opened(t, dir)
	defer closed()
	for from := uint64(0); ; {
		page, err := j.Scan(t.Context(), wire.Findings, from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			slices.Sort(out)
			return slices.Compact(out)
		}
		for i := range page {
			from = page[i].Seq + 1
			if page[i].Kind != wire.KindFinding {
				continue
			}
			f, err := wire.DecodeFinding(page[i])
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s %s %s.%d %s %s live %v at %s", f.Device.Serial, f.Rule, f.ID, f.Revision, f.Phase, f.Severity, f.Live, f.At.UTC().Format(time.RFC3339Nano)))
		}
	}
}

// TestKilledRulesFindTheSame: four days of a fleet with faults under the shipped rules, once undisturbed and once on a server that
// is killed twice, at moments that the dice choose. What is found is the same, by id and revision, and so are the cases and what people are
// told. (REL-08, REL-09)
func TestKilledRulesFindTheSame(t *testing.T) {
	t.Parallel()
	f := simulated(t, 16, time.Now().Truncate(time.Second))
	calm := func() func(p *process) error { // all was looked at, and nothing comes any more
		var last []string
		var since time.Time
		return func(p *process) error {
			if in, looked := p.metric(t, "aftercare_readings_stored_total", ""), p.metric(t, "aftercare_rules_readings_total", ""); looked < in {
				return fmt.Errorf("the rules looked at %v of %v", looked, in)
			}
			if now := p.tales(t); !slices.Equal(now, last) {
				last, since = now, time.Now()
			}
			if time.Since(since) < 2*time.Second {
				return errNotYet
			}
			return nil
		}
	}
	found, told := f.live(t, nil, calm())
	open := 0
	for _, s := range told {
		if strings.HasPrefix(s, "message") {
			open++
		}
	}
	if len(found) < 40 || open < 2 {
		t.Fatalf("the run shows nothing: %d findings, %d messages of\n%s", len(found), open, strings.Join(told, "\n"))
	}
	seed := rand.Uint64()
	t.Logf("seed %d, %d findings, %d messages", seed, len(found), open)
	dice := rand.New(rand.NewPCG(seed, 2))
	third := int64(f.total / 3)
	again, toldAgain := f.live(t, []int64{1 + dice.Int64N(third), third + 200 + dice.Int64N(third)}, func(p *process) error {
		if now := p.tales(t); !slices.Equal(now, told) {
			return fmt.Errorf("cases and messages are\n%s", strings.Join(now, "\n"))
		}
		return nil
	})
	differ(t, "findings", found, again)
	differ(t, "cases and messages", told, toldAgain)
}
