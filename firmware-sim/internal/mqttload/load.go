// Package mqttload measures how fast a server acknowledges: many connections, small QoS 1 publishes, encoded once and
// patched per message. It keeps an exact record of what was acknowledged, which a test compares with what was stored.
//
// It is no general MQTT client: 3.1.1 over plain TCP, CONNECT, PUBLISH, PUBACK and PINGREQ only. Only firmware-sim
// imports it.
package mqttload

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"aftercare/firmware-sim/internal/fleetfile"
)

// Config says how to load.
type Config struct {
	Broker      string        // "tcp://host:port"
	Connections int           // devices with a connection of their own, the first ones of the fleet
	Rate        float64       // messages a second over all connections; 0: as fast as acknowledged
	InFlight    int           // unacknowledged messages of one connection
	Duration    time.Duration // how long to send; 0: until Messages are sent
	Messages    int64         // per connection; 0: no limit
	FirstSeq    int64         // running number of each device's first message
	Boot        int64
	Reconnect   bool      // connect again and repeat what is open, instead of ending
	AckedPath   string    // where acknowledged messages are recorded; may be empty
	Out         io.Writer // progress lines

	Address string // host:port, from Broker
}

// Validate names the field and value of what is wrong, and fills Address.
func (c *Config) Validate() error {
	u, err := url.Parse(c.Broker)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "tcp" && u.Scheme != "mqtt":
		return fmt.Errorf("broker %q: want tcp://host:port", c.Broker)
	case c.Connections < 1:
		return fmt.Errorf("connections %d: want at least 1", c.Connections)
	case c.InFlight < 1 || c.InFlight > 65535:
		return fmt.Errorf("inflight %d: want 1 to 65535", c.InFlight)
	case c.Rate < 0:
		return fmt.Errorf("rate %v: want 0 or more", c.Rate)
	case c.Duration <= 0 && c.Messages <= 0:
		return errors.New("duration and messages are both 0: it would never end")
	case c.FirstSeq < 1 || c.FirstSeq > 5_000_000_000:
		return fmt.Errorf("first-seq %d: want 1 to 5000000000", c.FirstSeq)
	case c.Boot < 1:
		return fmt.Errorf("boot %d: want at least 1", c.Boot)
	}
	c.Address = u.Host
	return nil
}

// Result is what a run measured. Latencies count from the moment a message was due (with a rate) or written (without).
type Result struct {
	Connections int           `json:"connections"`
	Sent        int64         `json:"sent"`
	Acked       int64         `json:"acked"`
	Unacked     int64         `json:"unacked"`
	Strange     int64         `json:"unexpected_acks"`
	Broken      int           `json:"broken_connections"`
	Took        time.Duration `json:"took_ns"`
	PerSecond   float64       `json:"acked_per_second"`
	P50         time.Duration `json:"p50_ns"`
	P99         time.Duration `json:"p99_ns"`
	P999        time.Duration `json:"p999_ns"`
	Max         time.Duration `json:"max_ns"`
}

// fields are what each model's load message holds besides the reserved keys: five values a healthy device would send,
// about 127 bytes with the rest.
var fields = map[string]string{
	"washer-w7":      `"cycles":812,"running":true,"power_w":142.5,"water_temp_c":38.4,"leak":false`,
	"fridge-f3":      `"fridge_c":4.8,"freezer_c":-18.2,"ambient_c":20.6,"door_s":0,"compressor_w":78.4`,
	"mower-m2":       `"state":"parked","battery_pct":98.6,"blade_h":12.25,"outside_c":8.1,"tilt_deg":1.2`,
	"drill-d18":      `"charge_pct":88.2,"pack_c":21.4,"charging":false,"motor_h":31.2,"motor_c":20.9`,
	"base-b4":        `"temp_c":27.4,"fan_rpm":0,"mains_v":231.2,"link_dbm":-61,"tools":3`,
	"printer-p5":     `"pages":48211,"toner_pct":64.2,"drum_pct":81.5,"jams":21,"fuser_c":162.1`,
	"laptop-l4":      `"charge_pct":88.5,"battery_c":28.1,"cpu_c":52.4,"fan_rpm":1420,"on_mains":true`,
	"ev-charger-e11": `"state":"charging","power_kw":10.9,"plug_c":41.2,"residual_ma":1.1,"mains_v":229.4`,
}

// Run loads the server until the duration is over, all messages are acknowledged, every connection has ended, or ctx
// ends. A server that goes away is no error: the result says what was acknowledged. It is an error when not all
// connections could be made at the start.
func Run(ctx context.Context, cfg Config, fleet *fleetfile.Fleet) (Result, error) {
	var res Result
	if err := cfg.Validate(); err != nil {
		return res, err
	}
	conns, err := makeConns(&cfg, fleet)
	if err != nil {
		return res, err
	}
	record, err := openAcked(cfg.AckedPath)
	if err != nil {
		return res, err
	}
	sockets, err := dialAll(ctx, conns)
	if err != nil {
		return res, errors.Join(err, record.close())
	}
	fmt.Fprintf(cfg.Out, "%d connections are up.\n", len(conns))
	start := time.Now()
	errs := make([]error, len(conns))
	sendCtx, cancel := ctx, context.CancelFunc(func() {})
	if cfg.Duration > 0 {
		sendCtx, cancel = context.WithTimeout(ctx, cfg.Duration)
	}
	defer cancel()
	var running, watching sync.WaitGroup
	for i, c := range conns {
		c.start = start
		running.Go(func() { errs[i] = c.Run(sendCtx, ctx, sockets[i].nc, sockets[i].r) })
	}
	over := make(chan struct{})
	var recordErr error
	watching.Go(func() { recordErr = watch(&cfg, conns, record, over) })
	running.Wait()
	close(over)
	watching.Wait()
	res = sum(conns, errs)
	for _, err := range errs {
		if err != nil {
			fmt.Fprintf(cfg.Out, "%d of %d connections broke, the first with: %v\n", res.Broken, len(conns), err)
			break
		}
	}
	return res, errors.Join(recordErr, record.close())
}

// makeConns prepares a connection for each of the first devices of the fleet that have one.
func makeConns(cfg *Config, fleet *fleetfile.Fleet) ([]*conn, error) {
	var conns []*conn
	for _, d := range fleet.Speakers() {
		f, ok := fields[d.Model]
		if !ok {
			continue
		}
		if len(conns) == cfg.Connections {
			break
		}
		conns = append(conns, &conn{cfg: cfg, index: len(conns), serial: d.Serial, username: fleet.Username(d), password: string(d.Secret),
			template: newTemplate(fleet.Topic(d, "telemetry"), cfg.Boot, f), slots: make([]slot, cfg.InFlight), wake: make(chan struct{}, 1)})
	}
	if len(conns) < cfg.Connections {
		return nil, fmt.Errorf("connections %d: the fleet has only %d devices that connect by themselves", cfg.Connections, len(conns))
	}
	return conns, nil
}

type socket struct {
	nc net.Conn
	r  *bufio.Reader
}

// dialAll connects all, at most 64 at a time. On an error none stays open.
func dialAll(ctx context.Context, conns []*conn) ([]socket, error) {
	sockets := make([]socket, len(conns))
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	turn := make(chan struct{}, 64)
	for i, c := range conns {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			sockets[i].nc, sockets[i].r, errs[i] = c.dial(ctx)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err == nil {
			continue
		}
		for _, s := range sockets {
			if s.nc != nil {
				_ = s.nc.Close()
			}
		}
		return nil, err
	}
	return sockets, nil
}

// watch records acknowledgements every quarter of a second and prints a line each few seconds, until over; then it
// records the rest.
func watch(cfg *Config, conns []*conn, record *ackedFile, over <-chan struct{}) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	printed, before := time.Now(), int64(0)
	for {
		last := false
		select {
		case <-tick.C:
		case <-over:
			last = true
		}
		var ranges []ackedRange
		var acked int64
		for _, c := range conns {
			ranges = append(ranges, c.takeRanges()...)
			c.mu.Lock()
			acked += c.acked
			c.mu.Unlock()
		}
		if err := record.write(ranges); err != nil || last {
			return err
		}
		if took := time.Since(printed); took > 3*time.Second {
			fmt.Fprintf(cfg.Out, "%d acknowledged, %.0f a second.\n", acked, float64(acked-before)/took.Seconds())
			printed, before = time.Now(), acked
		}
	}
}

func sum(conns []*conn, errs []error) Result {
	r := Result{Connections: len(conns)}
	var h histogram
	for i, c := range conns {
		c.mu.Lock()
		r.Sent += c.issued
		r.Acked += c.acked
		r.Unacked += int64(c.busy)
		r.Strange += c.strange
		r.Took = max(r.Took, c.lastAck)
		h.merge(&c.hist)
		c.mu.Unlock()
		if errs[i] != nil {
			r.Broken++
		}
	}
	if r.Took > 0 {
		r.PerSecond = float64(r.Acked) / r.Took.Seconds()
	}
	r.P50, r.P99, r.P999, r.Max = h.quantile(0.5), h.quantile(0.99), h.quantile(0.999), h.max
	return r
}

// String is the result for people.
func (r Result) String() string {
	us := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	return fmt.Sprintf("%d acknowledged in %s: %.0f a second over %d connections; sent %d, not acknowledged %d.\n"+
		"Time to acknowledgement: p50 %s, p99 %s, p99.9 %s, longest %s.",
		r.Acked, r.Took.Round(time.Millisecond), r.PerSecond, r.Connections, r.Sent, r.Unacked, us(r.P50), us(r.P99), us(r.P999), us(r.Max))
}
