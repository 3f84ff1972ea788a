package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/api"
)

func newCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "command",
		Short: "Ask a device to do something and watch what becomes of it; the server must run",
	}
	cmd.AddCommand(newCommandSend(), newCommandList(), newCommandWatch(), newCommandCancel())
	return cmd
}

// connected reads the settings and returns a client of the running server.
func connected(cmd *cobra.Command) (*client, error) {
	cfg, err := load(cmd)
	if err != nil {
		return nil, err
	}
	return newClient(cfg)
}

func newCommandSend() *cobra.Command {
	var tenant, args, id string
	var expires time.Duration
	var watch bool
	cmd := &cobra.Command{
		Use:   "send SERIAL NAME",
		Short: "Send a command; it is kept until the device has answered or it has expired",
		Long: `Sends one of the commands that the profile of the device's model names. It waits on the server while the device is away. A device that is busy may
answer "not now" and is asked again, or refuse a disruptive command.`,
		Example: `  aftercare command send WM-0001 identify --watch
  aftercare command send WM-0001 restart --expires 1h --args '{"in_s": 10}'`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, what []string) error {
			c, err := connected(cmd)
			if err != nil {
				return err
			}
			in := map[string]any{"name": what[1]}
			if args != "" {
				if !json.Valid([]byte(args)) {
					return fmt.Errorf("--args %q: want a JSON object", args)
				}
				in["args"] = json.RawMessage(args)
			}
			if id != "" {
				in["id"] = id
			}
			if expires != 0 {
				in["expires_s"] = int64(expires / time.Second)
			}
			var sent api.Command
			if err := c.call(cmd.Context(), "POST", "/devices/"+url.PathEscape(tenant)+"/"+url.PathEscape(what[0])+"/commands", in, &sent); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", sent.ID, sent.State)
			if !watch {
				return nil
			}
			return follow(cmd, c, tenant, sent.ID, sent.State)
		},
	}
	configFlags(cmd, "web.listen")
	cmd.Flags().StringVar(&tenant, "tenant", "demo", "whose device it is")
	cmd.Flags().StringVar(&args, "args", "", "what the command needs, a JSON object")
	cmd.Flags().StringVar(&id, "id", "", "your own id: sending it twice makes one command")
	cmd.Flags().DurationVar(&expires, "expires", 0, "time after which it is not done any more (default 24h)")
	cmd.Flags().BoolVar(&watch, "watch", false, "wait and print what becomes of it")
	return cmd
}

func newCommandList() *cobra.Command {
	var device string
	var open bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List commands, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connected(cmd)
			if err != nil {
				return err
			}
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			if device != "" {
				q.Set("device", device)
			}
			if open {
				q.Set("open", "true")
			}
			var out struct{ Commands []api.Command }
			if err := c.call(cmd.Context(), "GET", "/commands?"+q.Encode(), nil, &out); err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tSERIAL\tCOMMAND\tSTATE\tASKED AT\tBY\tREASON")
			for _, x := range out.Commands {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.ID, x.Serial, x.Name, x.State, x.CreatedAt.Local().Format(time.DateTime), x.By, x.Reason)
			}
			return w.Flush()
		},
	}
	configFlags(cmd, "web.listen")
	cmd.Flags().StringVar(&device, "device", "", "serial of one device")
	cmd.Flags().BoolVar(&open, "open", false, "only those that are not at their end")
	cmd.Flags().IntVar(&limit, "limit", 100, "how many, at most 1000")
	return cmd
}

func newCommandWatch() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "watch ID",
		Short: "Print what becomes of a command until it is at its end; exit code 1 unless it was done",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, id []string) error {
			c, err := connected(cmd)
			if err != nil {
				return err
			}
			return follow(cmd, c, tenant, id[0], "")
		},
	}
	configFlags(cmd, "web.listen")
	cmd.Flags().StringVar(&tenant, "tenant", "demo", "whose command it is")
	return cmd
}

func newCommandCancel() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Do not send a command any more",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, id []string) error {
			c, err := connected(cmd)
			if err != nil {
				return err
			}
			return c.call(cmd.Context(), "POST", "/commands/"+url.PathEscape(tenant)+"/"+url.PathEscape(id[0])+"/cancel", nil, nil)
		},
	}
	configFlags(cmd, "web.listen")
	cmd.Flags().StringVar(&tenant, "tenant", "demo", "whose command it is")
	return cmd
}

const lookAgain = 500 * time.Millisecond

// follow prints each change of a command's state until it is at its end.
func follow(cmd *cobra.Command, c *client, tenant, id, last string) error {
	for {
		var now api.Command
		if err := c.call(cmd.Context(), "GET", "/commands/"+url.PathEscape(tenant)+"/"+url.PathEscape(id), nil, &now); err != nil {
			return err
		}
		if now.State != last {
			last = now.State
			tell(cmd.OutOrStdout(), &now)
		}
		if now.Final {
			if now.State != "done" {
				return fmt.Errorf("the command is %s", now.State)
			}
			return nil
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-time.After(lookAgain):
		}
	}
}

func tell(w io.Writer, c *api.Command) {
	fmt.Fprintf(w, "%s %s", time.Now().Format(time.TimeOnly), c.State)
	if c.Reason != "" {
		fmt.Fprintf(w, ": %s", c.Reason)
	}
	if c.State == "not_now" && c.DueAt != nil {
		fmt.Fprintf(w, " (asked again at %s)", c.DueAt.Local().Format(time.TimeOnly))
	}
	if len(c.Result) > 0 {
		fmt.Fprintf(w, " %s", c.Result)
	}
	fmt.Fprintln(w)
}
