package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

func newProvision() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Secrets that all devices of a model carry, with which each fetches one of its own at its first contact",
		Long: `A provisioning secret is built into all devices of a model. A device that has never used a credential of its own logs in with it and
may do nothing but fetch one; from its first log-in with that on, the shared secret is of no use for it. Devices have to be
registered (aftercare device import --first-contact), unless the key is open.`,
	}
	cmd.AddCommand(newProvisionCreate(), newProvisionList(), newProvisionRevoke())
	return cmd
}

func newProvisionCreate() *cobra.Command {
	var tenant, model string
	var open bool
	cmd := registryTool("create", "Make a provisioning secret for a model and print it, once", cobra.NoArgs,
		func(ctx context.Context, r *registry.Registry, _ []string, w io.Writer) error {
			id, secret, err := r.CreateProvisioning(ctx, tenant, model, open)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(w, "key %s password %s\n", id, secret)
			return err
		})
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&model, "model", "", "the model's id, a profile of it must exist")
	cmd.Flags().BoolVar(&open, "open", false, "take devices that are not registered too: whoever has the secret can add devices")
	if err := cmd.MarkFlagRequired("model"); err != nil { // the flag is defined just above
		panic(err)
	}
	return cmd
}

func newProvisionList() *cobra.Command {
	var tenant string
	cmd := registryTool("list", "List the provisioning keys, without the secrets", cobra.NoArgs,
		func(_ context.Context, r *registry.Registry, _ []string, out io.Writer) error {
			keys := r.ProvisioningKeys(tenant)
			slices.SortFunc(keys, func(a, b fleet.ProvisioningKey) int { return a.CreatedAt.Compare(b.CreatedAt) })
			w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "KEY\tMODEL\tMADE\tTAKES\tENDED")
			for _, k := range keys {
				takes := "registered devices"
				if k.Open {
					takes = "any device"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.ID, k.Model, moment(k.CreatedAt), takes, moment(k.RevokedAt))
			}
			return w.Flush()
		})
	tenantFlag(cmd, &tenant)
	return cmd
}

func newProvisionRevoke() *cobra.Command {
	var tenant string
	cmd := registryTool("revoke KEY...", "End provisioning keys; what devices have fetched with them stays valid", cobra.MinimumNArgs(1),
		func(ctx context.Context, r *registry.Registry, ids []string, _ io.Writer) error {
			for _, id := range ids {
				if err := r.RevokeProvisioning(ctx, tenant, id); err != nil {
					return err
				}
			}
			return nil
		})
	tenantFlag(cmd, &tenant)
	return cmd
}
