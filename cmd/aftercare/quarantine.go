package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"aftercare/internal/api"
)

// aside is what selects payloads that were put aside.
type aside struct {
	model, serial, firmware, reason string
	since                           time.Duration
}

func (a *aside) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.model, "model", "", "only of this model")
	cmd.Flags().StringVar(&a.serial, "serial", "", "only of this device")
	cmd.Flags().StringVar(&a.firmware, "firmware", "", "only of this firmware")
	cmd.Flags().StringVar(&a.reason, "reason", "", "only with this reason, such as range or wrong_type")
	cmd.Flags().DurationVar(&a.since, "since", 0, "only of the last so long, such as 24h (default: all that is kept, 7 days)")
}

func (a *aside) values() url.Values {
	q := url.Values{}
	for key, v := range map[string]string{"model": a.model, "serial": a.serial, "firmware": a.firmware, "reason": a.reason} {
		if v != "" {
			q.Set(key, v)
		}
	}
	if a.since > 0 {
		q.Set("since", time.Now().Add(-a.since).UTC().Format(time.RFC3339))
	}
	return q
}

func newQuarantine() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "What devices sent and could not be stored: list it, see which firmware is to blame, try it again; the server must run",
	}
	cmd.AddCommand(newQuarantineList(), newQuarantineReport(), newQuarantineRetry())
	return cmd
}

func newQuarantineList() *cobra.Command {
	var a aside
	var limit int
	var payload bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what was put aside, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connected(cmd)
			if err != nil {
				return err
			}
			q := a.values()
			q.Set("limit", strconv.Itoa(limit))
			var out struct{ Quarantined []api.Quarantined }
			if err := c.call(cmd.Context(), "GET", "/quarantine?"+q.Encode(), nil, &out); err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "CAME AT\tSERIAL\tMODEL\tFIRMWARE\tREASON\tDETAIL")
			for _, x := range out.Quarantined {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", x.At.Local().Format(time.DateTime), x.Serial, x.Model, x.Firmware, x.Reason, x.Detail)
				if payload {
					show(w, x.Payload)
				}
			}
			return w.Flush()
		},
	}
	configFlags(cmd, "web.listen")
	a.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "how many, at most 1000")
	cmd.Flags().BoolVar(&payload, "payload", false, "print what was sent, too")
	return cmd
}

// show prints a payload without letting it play with the terminal.
func show(w io.Writer, payload []byte) {
	if utf8.Valid(payload) {
		fmt.Fprintf(w, "\t%q\n", payload)
		return
	}
	fmt.Fprintf(w, "\t%x\n", payload)
}

func newQuarantineReport() *cobra.Command {
	var model string
	var days int
	cmd := &cobra.Command{
		Use:   "report",
		Short: "How good the reports are, per model and firmware: what is wrong, in which field, how often",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connected(cmd)
			if err != nil {
				return err
			}
			q := url.Values{"days": {strconv.Itoa(days)}}
			if model != "" {
				q.Set("model", model)
			}
			var out struct{ Quality []api.Quality }
			if err := c.call(cmd.Context(), "GET", "/quality?"+q.Encode(), nil, &out); err != nil {
				return err
			}
			if len(out.Quality) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing is counted yet; the newest reports appear here after about 10 seconds")
				return nil
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "MODEL\tFIRMWARE\tDAY\tREPORTS\tREASON\tFIELD\tEXAMPLE")
			for _, x := range out.Quality {
				if x.Reason == "" {
					x.Reason = "(all that arrived)"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", x.Model, x.Firmware, x.Day, x.N, x.Reason, x.Field, x.Example)
			}
			return w.Flush()
		},
	}
	configFlags(cmd, "web.listen")
	cmd.Flags().StringVar(&model, "model", "", "only of this model")
	cmd.Flags().IntVar(&days, "days", 7, "how many days, today included")
	return cmd
}

func newQuarantineRetry() *cobra.Command {
	var a aside
	cmd := &cobra.Command{
		Use:   "retry",
		Short: "Try again what was put aside, after a profile was mended: what can be read now is stored, the rest stays",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connected(cmd)
			if err != nil {
				return err
			}
			in := map[string]any{}
			for key, v := range a.values() {
				in[key] = v[0]
			}
			var out struct {
				Stored, Remaining int
				StillBad          int `json:"still_bad"`
			}
			if err := c.call(cmd.Context(), "POST", "/quarantine/reingest", in, &out); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "stored %d, still bad %d, not tried %d\n", out.Stored, out.StillBad, out.Remaining)
			return nil
		},
	}
	configFlags(cmd, "web.listen")
	a.flags(cmd)
	return cmd
}
