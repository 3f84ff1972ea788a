package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

func newPartner() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "partner",
		Short: "Say which service companies take which devices where; works while the server runs",
	}
	cmd.AddCommand(newPartnerAdd(), newPartnerList(), newPartnerPause())
	return cmd
}

func newPartnerAdd() *cobra.Command {
	var p fleet.Partner
	var secret string
	cmd := registryTool("add ID", "Register a service company, or replace what is known of it", cobra.ExactArgs(1),
		func(ctx context.Context, r *registry.Registry, args []string, _ io.Writer) error {
			p.ID, p.Secret = args[0], fleet.Secret(secret)
			if old, ok := r.Partner(p.Tenant, p.ID); ok && old.Paused {
				p.Paused = true
			}
			return r.SavePartner(ctx, p)
		})
	cmd.Long = `Work orders go to companies that name the device's model, then to those that name its category, then to those that take everything; of equals to the one whose
region is nearest: the device's own (DE-BY), its country (DE), everywhere. They go out by e-mail, by signed webhook, or both.`
	cmd.Example = `  aftercare partner add kundendienst-nord --name "Kundendienst Nord" --email auftrag@example.org --region DE-HH --region DE-SH --category washing-machine`
	f := cmd.Flags()
	tenantFlag(cmd, &p.Tenant)
	f.StringVar(&p.Name, "name", "", "what it is called")
	f.StringVar(&p.Locale, "locale", "de-DE", "its language and country")
	f.StringVar(&p.Zone, "zone", "Europe/Berlin", "its time zone")
	f.StringVar(&p.Email, "email", "", "where work orders go")
	f.StringVar(&p.Webhook, "webhook", "", "where they go as well, signed: https://...")
	f.StringVar(&secret, "secret", "", `what the webhook is signed with: "whsec_..."`)
	f.StringSliceVar(&p.Regions, "region", nil, "where it works: DE, DE-BY; may be given several times (default: everywhere)")
	f.StringSliceVar(&p.Categories, "category", nil, "what it repairs; may be given several times (default: everything)")
	f.StringSliceVar(&p.Models, "model", nil, "only these models; may be given several times")
	return cmd
}

func newPartnerList() *cobra.Command {
	var tenant, device string
	cmd := registryTool("list", "List the service companies", cobra.NoArgs,
		func(_ context.Context, r *registry.Registry, _ []string, out io.Writer) error {
			list := r.Partners(tenant)
			if device != "" {
				d, ok := r.Device(fleet.DeviceKey{Tenant: tenant, Serial: device})
				if !ok {
					return fleet.Errorf(fleet.CodeNotFound, "device %q is not registered", device)
				}
				list = r.PartnersFor(d)
			}
			w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tNAME\tREGIONS\tREPAIRS\tORDERS BY\tSTATE")
			for _, p := range list {
				state := "active"
				if p.Paused {
					state = "paused"
				}
				var by []string
				if p.Email != "" {
					by = append(by, "email")
				}
				if p.Webhook != "" {
					by = append(by, "webhook")
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.ID, p.Name, orAll(p.Regions), orAll(append(append([]string(nil), p.Models...), p.Categories...)), strings.Join(by, " "), state)
			}
			return w.Flush()
		})
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&device, "for", "", "only those who take the device with this serial, the best first")
	return cmd
}

func orAll(list []string) string {
	if len(list) == 0 {
		return "all"
	}
	return strings.Join(list, " ")
}

func newPartnerPause() *cobra.Command {
	var tenant string
	var resume bool
	cmd := registryTool("pause ID", "Send a service company no new orders for now", cobra.ExactArgs(1),
		func(ctx context.Context, r *registry.Registry, args []string, _ io.Writer) error {
			return r.PausePartner(ctx, tenant, args[0], !resume)
		})
	tenantFlag(cmd, &tenant)
	cmd.Flags().BoolVar(&resume, "resume", false, "send it orders again")
	return cmd
}
