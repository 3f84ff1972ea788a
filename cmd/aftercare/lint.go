package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/fleet"
	"aftercare/internal/ingest"
)

// maxLintInput bounds what lint reads at once: one payload more than a device may send.
const maxLintInput = 4 << 20

func newLint() *cobra.Command {
	var model, format, class string
	var whole, asHex bool
	cmd := &cobra.Command{
		Use:   "lint --model M < payloads",
		Short: "Tell what is wrong with payloads of a device, field by field; needs no server",
		Long: `Reads payloads from standard input, one a line, and tells for each what a server would do with it: store it, store it with its time
corrected, or put it into quarantine, and why. The check is the server's own. Payloads in a binary format are given in hexadecimal, one
a line; with --whole all of the input is one payload. Ends with 1 if anything would be put into quarantine.`,
		Example: `  echo '{"ts":1790000000000,"boot":1,"seq":1,"cycles":812}' | aftercare lint --model washer-w7
  xxd -p -c0 payload.cbor | aftercare lint --model washer-w7 --format cbor`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			l := lint{out: cmd.OutOrStdout(), now: time.Now}
			if l.model, l.format, l.class, err = lintOf(files.Models, model, format, class); err != nil {
				return err
			}
			binary := l.format == fleet.FormatCBOR || l.format == fleet.FormatSenMLCBOR
			l.hex = asHex || binary && !whole
			l.linter = ingest.NewLinter(cfg.Ingest, l.model)
			return l.run(cmd.InOrStdin(), whole)
		},
	}
	configFlags(cmd, "models")
	cmd.Flags().StringVar(&model, "model", "", "id of the model whose profile counts")
	cmd.Flags().StringVar(&format, "format", "", "how the payloads are written ("+strings.Join(lintFormats(), ", ")+"); the profile's by default")
	cmd.Flags().StringVar(&class, "class", "telemetry", "what kind of report they are: telemetry, event, status or reply")
	cmd.Flags().BoolVar(&whole, "whole", false, "all of the input is one payload")
	cmd.Flags().BoolVar(&asHex, "hex", false, "the payloads are given in hexadecimal")
	return cmd
}

// lintFormats are the formats a payload can be in by itself; Sparkplug is one with sessions.
func lintFormats() []string {
	return slices.DeleteFunc(fleet.Formats(), func(s string) bool { return s == fleet.FormatSparkplug.String() })
}

func lintOf(models []fleet.Model, id, format, class string) (*fleet.Model, fleet.Format, fleet.Class, error) {
	var wrong []fleet.Problem
	i := slices.IndexFunc(models, func(m fleet.Model) bool { return m.ID == id })
	if i < 0 {
		ids := make([]string, 0, len(models))
		for _, m := range models {
			ids = append(ids, m.ID)
		}
		return nil, 0, 0, &problemsError{[]fleet.Problem{{Path: "--model", Message: fmt.Sprintf("there is no profile of %q", id), Hint: "one of " + strings.Join(ids, ", ")}}}
	}
	f := models[i].Format
	if format != "" {
		var ok bool
		if f, ok = fleet.ParseFormat(format); !ok {
			wrong = append(wrong, fleet.Problem{Path: "--format", Message: fmt.Sprintf("%q is no format", format), Hint: "one of " + strings.Join(lintFormats(), ", ")})
		}
	}
	if f == fleet.FormatSparkplug {
		wrong = append(wrong, fleet.Problem{Path: "--format", Message: "Sparkplug payloads mean something only within their session", Hint: "one of " + strings.Join(lintFormats(), ", ")})
	}
	c, ok := map[string]fleet.Class{"telemetry": fleet.Telemetry, "event": fleet.Event, "status": fleet.Status, "reply": fleet.Reply}[class]
	if !ok {
		wrong = append(wrong, fleet.Problem{Path: "--class", Message: fmt.Sprintf("%q is no class", class), Hint: "telemetry, event, status or reply"})
	}
	if len(wrong) > 0 {
		return nil, 0, 0, &problemsError{wrong}
	}
	return &models[i], f, c, nil
}

// lint reads payloads and prints what it finds.
type lint struct {
	linter *ingest.Linter
	model  *fleet.Model
	format fleet.Format
	class  fleet.Class
	hex    bool
	out    io.Writer
	now    func() time.Time

	payloads, bad, corrected, remarks int
}

func (l *lint) run(in io.Reader, whole bool) error {
	if whole {
		body, err := io.ReadAll(io.LimitReader(in, maxLintInput))
		if err != nil {
			return fmt.Errorf("read the payload: %w", err)
		}
		if err := l.payload("payload", body); err != nil {
			return err
		}
		return l.summary()
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLintInput)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := l.payload(fmt.Sprint("line ", n), bytes.Clone(lines.Bytes())); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the payloads: %w", err)
	}
	return l.summary()
}

func (l *lint) payload(name string, body []byte) error {
	if l.hex {
		text := strings.Join(strings.Fields(string(body)), "")
		var err error
		if body, err = hex.DecodeString(text); err != nil {
			return &problemsError{[]fleet.Problem{{Path: name, Message: "is not hexadecimal: " + err.Error()}}}
		}
	}
	r := l.linter.Payload(l.class, l.format, body, l.now())
	l.payloads++
	l.corrected += r.Corrected
	verdict := "stored"
	switch {
	case r.Quarantined > 0 && r.Stored > 0:
		verdict = fmt.Sprintf("%d readings stored, %d QUARANTINED", r.Stored, r.Quarantined)
	case r.Quarantined > 0:
		verdict = "QUARANTINED"
	case r.Corrected > 0:
		verdict = "stored, time corrected"
	}
	if r.Quarantined > 0 {
		l.bad++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", name, verdict)
	for _, f := range r.Findings {
		b.WriteString("  " + remark(r, f) + "\n")
		if !f.Error {
			l.remarks++
		}
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "  and %d more remarks\n", r.More)
	}
	_, err := io.WriteString(l.out, b.String())
	return err
}

// remark is one line: "error  reading 2, temp_c [range]: ... (hint)".
func remark(r ingest.Report, f ingest.LintFinding) string {
	s := "note   "
	if f.Error {
		s = "error  "
	}
	if f.Reading > 0 && r.Readings > 1 {
		s += fmt.Sprintf("reading %d, ", f.Reading)
	}
	if f.Field != "" {
		s += f.Field + " "
	}
	s += "[" + f.Reason + "]: " + f.Detail
	if f.Hint != "" {
		s += " (" + f.Hint + ")"
	}
	return printable(s)
}

// printable keeps what a payload holds from moving the cursor of a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func (l *lint) summary() error {
	if l.payloads == 0 {
		return errors.New("there is no payload on standard input")
	}
	if _, err := fmt.Fprintf(l.out, "%d payloads of %s as %s: %d good, %d with something for quarantine; %d readings with the time corrected, %d notes\n",
		l.payloads, l.model.ID, l.format, l.payloads-l.bad, l.bad, l.corrected, l.remarks); err != nil {
		return err
	}
	if l.bad > 0 {
		return fmt.Errorf("%d of %d payloads would not be stored in full", l.bad, l.payloads)
	}
	return nil
}
