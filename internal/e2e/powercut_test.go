package e2e

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/journal"
	"aftercare/internal/wire"
)

// TestPowerCutLosesNothingAcknowledged: strace records all that a server does to its journal's folder while devices send, and when
// each PUBACK goes out. Then, for random moments, the folder is made as a disk may hold it when the power goes at that moment (see
// disk; every other one in its strict model), and the journal is opened on it: everything that was acknowledged before is there, the
// next record is taken, and no damage is left. POWERCUTS sets the number of moments; `make powercuts` takes 1000. (REL-01)
func TestPowerCutLosesNothingAcknowledged(t *testing.T) {
	runs := 100
	if n, err := strconv.Atoi(os.Getenv("POWERCUTS")); err == nil {
		runs = n
	}
	t.Run("sync always", func(t *testing.T) {
		r := record(t, "gateway,rules,web")
		failed, acked := r.cut(t, runs)
		for _, f := range failed[:min(len(failed), 10)] {
			t.Error(f)
		}
		t.Logf("%d power cuts, %d with a loss; %d messages, %d acknowledged at all cuts together; %v times the journal calls a record lost that nobody was told of", runs, len(failed), r.messages(), acked, r.alarms)
	})
	t.Run("while readings are purged", func(t *testing.T) { // what is kept to the end is looked for; the rules would hold the purge back
		r := record(t, "gateway,web", "--journal.trim_every", "1s", "--journal.trim_bytes", "3000000")
		if r.purged == 0 {
			t.Fatal("nothing was purged: this shows nothing")
		}
		failed, acked := r.cut(t, runs/2)
		for _, f := range failed[:min(len(failed), 10)] {
			t.Error(f)
		}
		t.Logf("%d power cuts, %d with a loss; %d readings purged; %d messages acknowledged at all cuts together", runs/2, len(failed), r.purged, acked)
	})
	t.Run("sync switched off is noticed", func(t *testing.T) {
		r := record(t, "gateway,rules,web", "--journal.sync", "interval", "--journal.durability", "relaxed")
		if failed, acked := r.cut(t, 20); len(failed) == 0 {
			t.Errorf("nothing of %d acknowledged is missing although nothing is synced: the test is blind", acked)
		}
	})
}

const (
	cutDevices  = 4
	cutRounds   = 12
	cutInFlight = 5
	cutReadings = 400 // in a message: with 240 messages the stream of readings has several files
	streamBytes = 24 << 20
)

// recording is the trace of a server's life, and what was in its journal at the end.
type recording struct {
	top     string
	calls   []*sysCall
	lines   int
	pubacks map[int]int // packet: line
	records map[int]map[uint64]uint32
	purged  int     // readings
	alarms  float64 // see reopened
}

func (r *recording) messages() int { return len(r.pubacks) }

// record runs a server under strace while four devices send messages, five at a time each.
func record(t *testing.T, roles string, args ...string) *recording {
	t.Helper()
	dir := t.TempDir()
	h := settle(t, dir, "PC", cutDevices)
	trace := filepath.Join(t.TempDir(), "trace")
	p := start(t, dir, recorder(t, trace), append([]string{"--roles", roles, "--journal.readings_bytes", strconv.Itoa(streamBytes),
		"--journal.trim_bytes", strconv.Itoa(streamBytes)}, args...)...)
	devices := make([]*rawDevice, 0, cutDevices)
	for i := range cutDevices {
		serial := fmt.Sprintf("PC-%03d", i+1)
		d := p.dial(t, 4)
		_ = d.c.SetDeadline(time.Now().Add(2 * time.Minute))
		if code := d.connect(serial, h.secrets[serial], nil); code != 0 {
			t.Fatalf("%s is refused: %d", serial, code)
		}
		devices = append(devices, d)
	}
	sent, purging := 0, slices.Contains(args, "--journal.trim_every")
	for round := range cutRounds {
		for i, d := range devices {
			for k := range cutInFlight {
				d.write(cutMessage(t, i, 1+round*cutInFlight+k))
				sent++
			}
		}
		for _, d := range devices {
			for range cutInFlight {
				d.answer(packets.Puback)
			}
		}
		if purging && round == cutRounds*2/3 { // there is enough for a purge
			eventually(t, 10*time.Second, func() error {
				if p.metric(t, "aftercare_journal_trimmed_records_total", "") == 0 {
					return errNotYet
				}
				return nil
			})
		}
	}
	p.stop(t)
	r := &recording{top: dir}
	r.calls, r.lines = readSysCalls(t, trace)
	r.pubacks = pubacks(t, r.calls, p.mqtt)
	if len(r.pubacks) != sent {
		t.Fatalf("the trace shows %d PUBACKs of %d: it is not read rightly", len(r.pubacks), sent)
	}
	r.records = map[int]map[uint64]uint32{}
	readings := 0
	for _, rec := range r.reopen(t, filepath.Join(dir, "journal")).all {
		for _, m := range readingMark.FindAllSubmatch(rec.Body, -1) {
			device, _ := strconv.Atoi(string(m[1]))
			seq, _ := strconv.Atoi(string(m[2]))
			id := (device-1)*1000 + seq/1000
			if r.records[id] == nil {
				r.records[id] = map[uint64]uint32{}
			}
			r.records[id][rec.Seq] = crc32.ChecksumIEEE(rec.Body)
			readings++
		}
	}
	r.purged = sent*cutReadings - readings
	if r.purged != 0 && !purging {
		t.Fatalf("%d readings in the journal at the end, %d acknowledged", readings, sent*cutReadings)
	}
	return r
}

var readingMark = regexp.MustCompile(`serial=PC-0*(\d+)\S* \S*\bseq=(\d+)i`)

// cutMessage is a packet with many readings. Its id is its device's number and its own, and so are the sequences of its readings.
func cutMessage(t *testing.T, device, n int) []byte {
	t.Helper()
	var payload bytes.Buffer
	now := time.Now().UnixMilli()
	for k := range cutReadings {
		fmt.Fprintf(&payload, `%c{"ts":%d,"boot":1,"seq":%d,"cycles":%d}`, "[,"[min(k, 1)], now-int64(cutReadings-k), n*1000+k, n)
	}
	payload.WriteByte(']')
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, ProtocolVersion: 4, PacketID: uint16(device*1000 + n),
		TopicName: fmt.Sprintf("devices/%s/washer-w7/PC-%03d/telemetry", tenant, device+1), Payload: payload.Bytes()}
	var b bytes.Buffer
	if err := pk.PublishEncode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// cut makes the disk of as many moments as runs says and opens the journal on each. It says what was wrong, and how many messages it
// has looked for.
func (r *recording) cut(t *testing.T, runs int) (failed []string, acked int) {
	t.Helper()
	seed := rand.Uint64()
	dice := rand.New(rand.NewPCG(seed, 1))
	cuts := make([]int, runs)
	for i := range cuts {
		cuts[i] = dice.IntN(r.lines + 1)
	}
	slices.Sort(cuts)
	into := fastDir(t)
	byEnd := map[int]*sysCall{}
	for _, c := range r.calls {
		byEnd[c.end] = c
	}
	d := newDisk(t, r.top)
	line, next := 0, 0
	for i, at := range cuts {
		for ; line < at; line++ {
			if next < len(r.calls) && r.calls[next].begin == line {
				d.begin(r.calls[next])
				next++
			}
			if c := byEnd[line]; c != nil {
				d.end(c)
			}
		}
		strict := i%2 == 0
		d.crash(dice, strict, into)
		wrong, n := r.lossesIn(t, into, at)
		acked += n
		if wrong != "" {
			failed = append(failed, fmt.Sprintf("seed %d, cut %d at line %d of %d, strict %v, %d acknowledged: %s", seed, i, at, r.lines, strict, n, wrong))
		}
		if err := os.RemoveAll(filepath.Join(into, "journal")); err != nil {
			t.Fatal(err)
		}
	}
	return failed, acked
}

// fastDir is an empty folder, in memory where there is such a thing.
func fastDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("/dev/shm", fmt.Sprintf("aftercare-powercut-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// lossesIn opens the journal and says what is wrong with it; acked is how many messages were acknowledged before the cut.
func (r *recording) lossesIn(t *testing.T, dir string, at int) (wrong string, acked int) {
	t.Helper()
	found := r.reopen(t, filepath.Join(dir, "journal"))
	sums := map[uint64]uint32{}
	for _, rec := range found.all {
		sums[rec.Seq] = crc32.ChecksumIEEE(rec.Body)
	}
	var lost []int
	for id, line := range r.pubacks {
		if line >= at {
			continue
		}
		acked++
		for seq, sum := range r.records[id] {
			if sums[seq] != sum {
				lost = append(lost, id)
				break
			}
		}
	}
	if len(lost) > 0 {
		slices.Sort(lost)
		return fmt.Sprintf("%d acknowledged messages are lost, such as %d\n%s", len(lost), lost[0], found.log), acked
	}
	r.alarms += found.alarms
	return found.wrong, acked
}

// reopened is what a journal held when it was opened.
type reopened struct {
	all   []wire.Record // of the readings
	wrong string
	log   string
	// alarms is how many records the journal itself says are missing. A record that was being written may have its head on the disk and
	// not its body: it looks like one that was stored and damaged, and is called lost to be on the safe side.
	alarms float64
}

func (r *recording) reopen(t *testing.T, dir string) (out reopened) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg := journal.DefaultConfig()
	cfg.Dir, cfg.ReadingsBytes, cfg.TrimBytes = dir, streamBytes, streamBytes
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	j, err := journal.Open(ctx, cfg, slog.New(slog.NewTextHandler(&log, nil)), reg)
	defer func() { out.log = log.String() }()
	if err != nil {
		out.wrong = fmt.Sprintf("it does not open: %v\n%s", err, log.String())
		return out
	}
	defer j.Close()
	for from := uint64(0); ; from = out.all[len(out.all)-1].Seq + 1 {
		page, err := j.Scan(ctx, wire.Readings, from, 1000)
		if err != nil {
			out.wrong = err.Error()
			return out
		}
		if len(page) == 0 {
			break
		}
		out.all = append(out.all, page...)
	}
	out.alarms = counted(t, reg, "aftercare_journal_missing_records_total")
	if err := j.Append(ctx, []wire.Record{{Stream: wire.Readings, Kind: wire.KindReadings, Received: time.Now(), Body: []byte("next\n")}}); err != nil {
		out.wrong = fmt.Sprintf("nothing more can be appended: %v\n%s", err, log.String())
		return out
	}
	if tail, err := j.Tail(ctx, wire.Readings, 1); err != nil || len(tail) != 1 || string(tail[0].Body) != "next\n" {
		out.wrong = fmt.Sprintf("what was appended is not the newest: %v", err)
	}
	if err := j.Close(); err != nil {
		out.wrong = err.Error()
	}
	if report, err := journal.Inspect(dir); err != nil || len(report.Damages) > 0 {
		out.wrong = fmt.Sprintf("after it was mended and closed: %v, %+v\n%s", err, report.Damages, log.String())
	}
	return out
}

// counted sums the series of a metric.
func counted(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.EqualFold(f.GetName(), name) {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
