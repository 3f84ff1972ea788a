package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"aftercare/firmware-sim/internal/life"
	"aftercare/firmware-sim/internal/sim"
)

const simulateHelp = `firmware-sim simulate writes what a fleet would have sent, as "<unix ms of sending> <topic> <payload>", in order of sending.
Beside FILE it writes FILE.devices.csv (for "aftercare device import"), FILE.facts.jsonl (services and storage, as people enter
them) and FILE.truth.jsonl (what was really the matter; "firmware-sim kinds" explains the kinds). With --households it also writes
FILE.people.csv: who lives together, speaks what, and how they want to hear of their things. The same flags give the same bytes. A name that ends in .gz is compressed; the other names leave out the .gz.`

func runSimulate(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("simulate", flag.ContinueOnError)
	var c sim.Config
	fs.StringVar(&c.Out, "out", "", "`file` for what was sent; .gz compresses")
	fs.StringVar(&c.Truth, "truth", "", "`file` for the truth (default FILE.truth.jsonl)")
	fs.IntVar(&c.Devices, "devices", 300, "devices over all models, about; at least 9")
	fs.IntVar(&c.Days, "days", 180, "days to simulate")
	start := fs.String("start", "2026-01-05", "first `day`, UTC")
	fs.Uint64Var(&c.Seed, "seed", 1, "what everything is drawn from")
	fs.IntVar(&c.Households, "households", 0, "households that the devices belong to, all about as many; 0: nobody")
	fs.Float64Var(&c.Faulty, "faulty", 0.4, "share of the devices that get a fault in the time simulated")
	fs.BoolVar(&c.Healthy, "healthy", false, "the same fleet without faults and habits")
	if err := parse(fs, args, out, simulateHelp); err != nil {
		return err
	}
	var err error
	c.Start, err = time.Parse(time.DateOnly, *start)
	switch {
	case c.Out == "":
		return &usageError{errors.New("--out is missing")}
	case err != nil || c.Start.Year() < 2025 || c.Start.Year() > 2100:
		return &usageError{fmt.Errorf("start %q: want a day like 2026-01-05, from 2025 on", *start)}
	case c.Devices < 9 || c.Devices > 30_000:
		return &usageError{fmt.Errorf("devices %d: want 9 to 30000", c.Devices)}
	case c.Households < 0 || c.Households > c.Devices:
		return &usageError{fmt.Errorf("households %d: want 0 to the number of devices", c.Households)}
	case c.Faulty < 0 || c.Faulty > 1:
		return &usageError{fmt.Errorf("faulty %v: want 0 to 1", c.Faulty)}
	case c.Days < 1 || c.Days > 3650:
		return &usageError{fmt.Errorf("days %d: want 1 to 3650", c.Days)}
	}
	began := time.Now()
	res, err := sim.Run(ctx, c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d devices, %d days: %d messages, %d lines of truth in %s.\n", res.Devices, c.Days, res.Messages, res.Conditions,
		time.Since(began).Round(100*time.Millisecond))
	return err
}

func runKinds(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("kinds", flag.ContinueOnError)
	err := parse(fs, args, out, "firmware-sim kinds lists what a truth file may name: faults, parts at the end of their life, habits and healthy oddities,\n"+
		"with what counts as onset and as failure.")
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tSORT\tMODEL\tCOMPONENT\tCODE\tONSET\tFAILURE")
	for _, k := range life.Kinds() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, k.Sort(), k.Model, k.Component, k.Code, k.Onset, k.Failure)
	}
	return w.Flush()
}
