package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/app"
	"aftercare/internal/fleet"
)

func newReplay() *cobra.Command {
	var j replayJob
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Run what devices sent through ingest, rules, cases and messages on simulated time; needs no server",
		Long: `Runs a file of messages through the server's own parts as if it were arriving: decoding, profile checks, clock correction, quarantine, presence,
rules, cases, and the decision whom to tell what and when. Time is that of the file; no broker and no database server is needed, and the same file gives the same
findings and messages, byte for byte.

FILE ("-" is the standard input; gzip is recognised) has one message a line, in order of sending:

  <unix milliseconds of sending> <topic> <payload>
  1767571200000 devices/demo/washer-w7/WM-0001/telemetry {"ts":1767571199000,"boot":1,"seq":1,"cycles":812}

"firmware-sim simulate" writes such files. The devices are those of the list FILE.devices.csv (without .gz) or --devices, which is what
"aftercare device import" reads. Services and storage that people entered are in FILE.facts.jsonl, if there is one, or --facts. Who lives together and how they
want to hear of their things is in FILE.people.csv or --people. A device without an owner in the list gets one with a phone, so that messages can be decided on; nothing is
sent. People open most of their messages and answer some, by chance that is drawn from the message; who had a thing serviced may say that it is fixed.

--findings takes one finding a line as JSON and, as its last line, the report; --messages takes which messages were asked for, what became of each, and what people did. Lines that
cannot be read are counted and named, and the exit code is 1. The SQL database goes to a folder that is removed at the end, or to --data,
which must not have one yet.`,
		Example: `  firmware-sim simulate --out fleet.gz --devices 300 --days 180
  aftercare replay fleet.gz --findings findings.jsonl --messages messages.jsonl
  aftercare score --truth fleet.truth.jsonl --findings findings.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("data") {
				dir, err := os.MkdirTemp("", "aftercare-replay-")
				if err != nil {
					return fmt.Errorf("make a folder for the database: %w", err)
				}
				defer os.RemoveAll(dir)
				cfg.Data = dir
			}
			j.file, j.in = args[0], cmd.InOrStdin()
			return j.run(cmd.Context(), app.ReplayOptions{Config: cfg, Files: files, Tenant: j.tenant, Log: cmd.ErrOrStderr()}, cmd.OutOrStdout())
		},
	}
	configFlags(cmd, "models", "rules.dir")
	tenantFlag(cmd, &j.tenant)
	cmd.Flags().StringVar(&j.devices, "devices", "", "list of the devices (CSV); default: FILE.devices.csv")
	cmd.Flags().StringVar(&j.people, "people", "", "list of the `people` who own them (CSV); default: FILE.people.csv, if there is one")
	cmd.Flags().StringVar(&j.facts, "facts", "", "`file` of services and storage, one JSON object a line; default: FILE.facts.jsonl, if there is one")
	cmd.Flags().StringVar(&j.findings, "findings", "", "`file` for the findings, one JSON object a line")
	cmd.Flags().StringVar(&j.messages, "messages", "", "`file` for the messages to owners, one JSON object a line")
	return cmd
}

type replayJob struct {
	file, devices, people, facts, tenant, findings, messages string

	in io.Reader // for the file "-"
}

func (j *replayJob) run(ctx context.Context, o app.ReplayOptions, out io.Writer) (err error) {
	if err := j.beside(); err != nil {
		return err
	}
	var ends []func() error
	defer func() {
		for _, end := range slices.Backward(ends) {
			err = errors.Join(err, end())
		}
	}()
	o.Messages = j.in
	for _, in := range []struct {
		path string
		to   *io.Reader
	}{{j.named(), &o.Messages}, {j.devices, &o.Devices}, {j.people, &o.People}, {j.facts, &o.Facts}} {
		if in.path == "" {
			continue
		}
		f, err := os.Open(in.path)
		if err != nil {
			return err
		}
		ends = append(ends, f.Close)
		*in.to = f
	}
	for _, w := range []struct {
		path string
		to   *io.Writer
	}{{j.findings, &o.Findings}, {j.messages, &o.Sent}} {
		if w.path == "" {
			continue
		}
		f, err := os.Create(w.path)
		if err != nil {
			return err
		}
		b := bufio.NewWriterSize(f, 256<<10)
		ends = append(ends, f.Close, b.Flush)
		*w.to = b
	}
	begin := time.Now()
	report, err := app.Replay(ctx, o)
	if err != nil {
		return err
	}
	return printReplay(out, report, time.Since(begin))
}

// named is the file of the messages; empty for the standard input.
func (j *replayJob) named() string {
	if j.file == "-" {
		return ""
	}
	return j.file
}

// beside fills in the files that lie beside that of the messages.
func (j *replayJob) beside() error {
	switch {
	case j.file == "-" && j.devices == "":
		return &problemsError{[]fleet.Problem{{Path: "--devices", Message: "messages on standard input have no list beside them", Hint: "name the list"}}}
	case j.file == "-":
		return nil
	case j.devices == "":
		if j.devices = replayBeside(j.file, ".devices.csv"); !exists(j.devices) && exists(j.file) {
			return &problemsError{[]fleet.Problem{{Path: "--devices", Message: fmt.Sprintf("the list of devices %q is not there", j.devices),
				Hint: "name the list, as aftercare device import reads it"}}}
		}
	}
	if path := replayBeside(j.file, ".facts.jsonl"); j.facts == "" && exists(path) {
		j.facts = path
	}
	if path := replayBeside(j.file, ".people.csv"); j.people == "" && exists(path) {
		j.people = path
	}
	return nil
}

// replayBeside is the name of a file that belongs to a file of messages: that of fleet.gz is fleet.devices.csv.
func replayBeside(file, ending string) string {
	if path := file + ending; exists(path) {
		return path
	}
	return strings.TrimSuffix(file, ".gz") + ending
}

func exists(path string) bool {
	_, err := os.Stat(filepath.Clean(path))
	return err == nil
}

func printReplay(w io.Writer, r app.ReplayReport, took time.Duration) error {
	var b strings.Builder
	days := r.To.Sub(r.From).Hours() / 24
	fmt.Fprintf(&b, "%d devices, %.1f days from %s, %d messages in %.1f s (%.0f readings/s)\n", r.Devices, days,
		r.From.UTC().Format(time.DateOnly), r.Messages, took.Seconds(), float64(r.In)/took.Seconds())
	fmt.Fprintf(&b, "readings: %d in = %d stored + %d put aside%s + %d refused%s\n", r.In, r.Stored, total(r.Quarantined), byReason(r.Quarantined), total(r.Refused), byReason(r.Refused))
	fmt.Fprintf(&b, "of the stored, %d came again and %d too late for rules\n", r.Resent, r.Late)
	fmt.Fprintf(&b, "findings: %d opened, %d cleared; %d messages%s\n", r.Opened, r.Cleared, total(r.Told), byReason(r.Told))
	for _, line := range r.BrokenLines {
		fmt.Fprintln(&b, line)
	}
	if more := r.Broken - len(r.BrokenLines); more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if r.Broken > 0 {
		return fmt.Errorf("%d lines are no messages", r.Broken)
	}
	return nil
}

func total(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

// byReason spells counts: " (range 3, syntax 1)".
func byReason(m map[string]int) string {
	if len(m) == 0 {
		return ""
	}
	parts := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
