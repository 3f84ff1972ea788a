// Package sim writes what a fleet would have sent over months, in order of sending, with a list of the devices and the truth
// about them. It holds little more than one interval of messages at a time.
//
// It opens no socket and knows nothing of the server but topics and payloads. Only firmware-sim imports it.
package sim

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config says what to simulate.
type Config struct {
	Out     string // what was sent; compressed if the name ends in .gz
	Truth   string // default: Out without .gz, and .truth.jsonl
	Devices int    // 9 or more, at most 9999
	Days    int
	Start   time.Time
	Seed    uint64
	Healthy bool // the same fleet without faults and habits

	Households int     // who the devices belong to, 0: nobody; Out's people.csv lists the people
	Faulty     float64 // share of a model's devices that get a fault; 0: 0.4
}

// Result is what was written.
type Result struct{ Devices, Messages, Readings, Conditions int }

// base returns the name that the accompanying files begin with.
func (c Config) base() string { return strings.TrimSuffix(c.Out, ".gz") }

// block is how much is simulated before what was sent in it is put in order, seconds.
const block = 600

// Run simulates and writes all files: Out, Out's devices.csv and facts.jsonl, and the truth. The same config gives the same
// bytes. It ends early, with ctx's error, when ctx ends; half-written files stay.
func Run(ctx context.Context, cfg Config) (Result, error) {
	nodes, err := fleet(cfg)
	if err != nil {
		return Result{}, err
	}
	if cfg.Truth == "" {
		cfg.Truth = cfg.base() + ".truth.jsonl"
	}
	if err := create(cfg.base()+".devices.csv", func(w io.Writer) error { return writeDevices(w, cfg, nodes) }); err != nil {
		return Result{}, err
	}
	if cfg.Households > 0 {
		if err := create(cfg.base()+".people.csv", func(w io.Writer) error { return writePeople(w, cfg) }); err != nil {
			return Result{}, err
		}
	}
	res := Result{Devices: len(nodes)}
	err = create(cfg.Out, func(w io.Writer) error {
		if !strings.HasSuffix(cfg.Out, ".gz") {
			return play(ctx, cfg, nodes, w, &res)
		}
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return err
		}
		return errors.Join(play(ctx, cfg, nodes, z, &res), z.Close())
	})
	if err != nil {
		return res, err
	}
	lines := truth(nodes)
	res.Conditions = len(lines)
	err = errors.Join(create(cfg.Truth, func(w io.Writer) error { return writeLines(w, lines) }),
		create(cfg.base()+".facts.jsonl", func(w io.Writer) error { return writeLines(w, facts(nodes)) }))
	return res, err
}

// create writes a file through a buffer.
func create(path string, write func(w io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<18)
	if err := errors.Join(write(b), b.Flush(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// play steps all devices through time, block by block.
func play(ctx context.Context, cfg Config, nodes []*node, w io.Writer, res *Result) error {
	out := &outbox{}
	start := cfg.Start.Unix()
	end := start + int64(cfg.Days)*86400
	for _, n := range nodes {
		n.out = out
		n.next = start + int64(n.seed.U(901, 0)*float64(n.life.Interval))
	}
	buffered := bufio.NewWriterSize(w, 1<<18)
	for t := start; t < end; t += block {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, n := range nodes {
			for n.next < t+block && n.next < end {
				n.step()
				res.Readings++
			}
		}
		if err := out.flush(buffered, (t+block)*1000, res); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		n.life.Close(end)
	}
	return errors.Join(out.flush(buffered, end*1000, res), buffered.Flush())
}

// outbox holds messages until it is certain that no earlier one will come.
type outbox struct {
	waiting []sent
	n       int64
	line    []byte
}

// sent is a message with the time at which it is sent, in milliseconds, and its number, which makes the order definite.
type sent struct {
	at, n int64
	message
}

func (o *outbox) add(at int64, m message) {
	o.n++
	o.waiting = append(o.waiting, sent{at, o.n, m})
}

// flush writes what is sent before a time.
func (o *outbox) flush(w *bufio.Writer, before int64, res *Result) error {
	slices.SortFunc(o.waiting, func(a, b sent) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.n, b.n)) })
	i := 0
	for ; i < len(o.waiting) && o.waiting[i].at < before; i++ {
		m := &o.waiting[i]
		o.line = strconv.AppendInt(o.line[:0], m.at, 10)
		o.line = append(append(o.line, ' '), m.topic...)
		o.line = append(append(append(o.line, ' '), m.body...), '\n')
		if _, err := w.Write(o.line); err != nil {
			return err
		}
	}
	res.Messages += i
	rest := copy(o.waiting, o.waiting[i:])
	clear(o.waiting[rest:])
	o.waiting = o.waiting[:rest]
	return nil
}
