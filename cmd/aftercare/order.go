package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/api"
	"aftercare/internal/config"
)

func newOrder() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "order",
		Short: "Send service partners: list, show, book and cancel visits; the server must run",
	}
	cmd.AddCommand(newOrderList(), newOrderShow(), newOrderBook(), newOrderCancel())
	return cmd
}

func newOrderList() *cobra.Command {
	var state, kase, partner string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List work orders, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connected(cmd)
			if err != nil {
				return err
			}
			q := url.Values{"state": {state}, "limit": {strconv.Itoa(limit)}}
			for name, v := range map[string]string{"case": kase, "partner": partner} {
				if v != "" {
					q.Set(name, v)
				}
			}
			var out struct{ Orders []api.Order }
			if err := c.call(cmd.Context(), "GET", "/orders?"+q.Encode(), nil, &out); err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tSTATE\tPARTNER\tVISIT\tSERIAL\tPROBLEM\tCASE")
			for _, o := range out.Orders {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.ID, o.State, o.Partner, visit(o), o.Serial, o.Problem, o.CaseID)
			}
			return w.Flush()
		},
	}
	configFlags(cmd, "web.listen")
	cmd.Flags().StringVar(&state, "state", "open", "open, offered, accepted, declined, done, cancelled or all")
	cmd.Flags().StringVar(&kase, "case", "", "only of this case")
	cmd.Flags().StringVar(&partner, "partner", "", "only of this partner")
	cmd.Flags().IntVar(&limit, "limit", 100, "how many, at most 1000")
	return cmd
}

// visit is the time of a visit on this machine's clock.
func visit(o api.Order) string {
	from, to := o.From.Local(), o.To.Local()
	end := to.Format("15:04")
	if from.Format(time.DateOnly) != to.Format(time.DateOnly) {
		end = to.Format("2006-01-02 15:04")
	}
	return from.Format("2006-01-02 15:04") + "-" + end
}

func newOrderShow() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a work order, with the link on which its partner answers",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return orderCall(cmd, "GET", func(cfg config.Config) string { return orderPath(cfg, tenant, args[0]) }, nil)
		},
	}
	orderFlags(cmd, &tenant)
	return cmd
}

func newOrderBook() *cobra.Command {
	var in struct {
		Case    string    `json:"case"`
		Partner string    `json:"partner,omitempty"`
		From    time.Time `json:"from,omitzero"`
		To      time.Time `json:"to,omitzero"`
		Part    string    `json:"part,omitempty"`
		Note    string    `json:"note,omitempty"`
	}
	var from, to string
	cmd := &cobra.Command{
		Use:   "book CASE",
		Short: "Offer the work on a case to a partner; an order of the case that is open is shown as it is",
		Long: `Without --partner the best one is asked that serves the device where it is, or who was there before; when it declines or does not answer, the next one.
Without --from a morning is proposed, far enough away (dispatch.notice). The partner may accept another time.`,
		Example: `  aftercare order book case-1f3 --part "drain pump" --note "ring twice"
  aftercare order book case-1f3 --partner kundendienst-nord --from 2026-03-31T08:00 --to 2026-03-31T12:00`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.From, err = parseWhen("from", from); err != nil {
				return err
			}
			if in.To, err = parseWhen("to", to); err != nil {
				return err
			}
			in.Case = args[0]
			return orderCall(cmd, "POST", func(config.Config) string { return "/orders" }, in)
		},
	}
	configFlags(cmd, "web.listen")
	cmd.Flags().StringVar(&in.Partner, "partner", "", "this one and no other")
	cmd.Flags().StringVar(&from, "from", "", "when: 2026-03-31T08:00 (local) or RFC 3339 (default: proposed)")
	cmd.Flags().StringVar(&to, "to", "", "until when (default: dispatch.visit later)")
	cmd.Flags().StringVar(&in.Part, "part", "", "what to bring along")
	cmd.Flags().StringVar(&in.Note, "note", "", "what the partner has to know")
	return cmd
}

func newOrderCancel() *cobra.Command {
	var tenant, why string
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Call a visit off: the partner hears, and the owner if it was agreed",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return orderCall(cmd, "POST", func(cfg config.Config) string { return orderPath(cfg, tenant, args[0]) + "/cancel" }, map[string]string{"why": why})
		},
	}
	orderFlags(cmd, &tenant)
	cmd.Flags().StringVar(&why, "why", "", "why, in a sentence: partner and owner read it (required)")
	_ = cmd.MarkFlagRequired("why")
	return cmd
}

func orderFlags(cmd *cobra.Command, tenant *string) {
	configFlags(cmd, "web.listen")
	cmd.Flags().StringVar(tenant, "tenant", "", "whose (default: web.tenant)")
}

func orderPath(cfg config.Config, tenant, id string) string {
	if tenant == "" {
		tenant = cfg.Web.Tenant
	}
	return "/orders/" + url.PathEscape(tenant) + "/" + url.PathEscape(id)
}

// orderCall asks for one thing about an order and prints the order as it is then.
func orderCall(cmd *cobra.Command, method string, path func(config.Config) string, in any) error {
	cfg, err := load(cmd)
	if err != nil {
		return err
	}
	c, err := newClient(cfg)
	if err != nil {
		return err
	}
	var o api.Order
	if err := c.call(cmd.Context(), method, path(cfg), in, &o); err != nil {
		return err
	}
	return printOrder(cmd.OutOrStdout(), o)
}

func printOrder(out io.Writer, o api.Order) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, line := range [][2]string{{"order", o.ID}, {"state", o.State}, {"why", o.Reason}, {"partner", o.Partner}, {"visit", visit(o)}, {"device", o.Serial}, {"problem", o.Problem},
		{"summary", o.Summary}, {"to bring", o.Part}, {"who pays", o.Pays}, {"note", o.Note}, {"outcome", o.Outcome}, {"cause", o.FixCause}, {"fitted", o.FixPart},
		{"case", o.CaseID}, {"by", o.By}, {"partner's link", o.Link}} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
		}
	}
	return w.Flush()
}
