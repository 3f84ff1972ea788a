package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

func newDeviceRotate() *cobra.Command {
	var tenant, out string
	var finish bool
	cmd := registryTool("rotate SERIAL", "Give a device a new secret; the old one works until it has used the new one for some days", cobra.ExactArgs(1),
		func(ctx context.Context, r *registry.Registry, args []string, w io.Writer) error {
			key := fleet.DeviceKey{Tenant: tenant, Serial: args[0]}
			if finish {
				return r.FinishRotation(ctx, key)
			}
			if err := mayWriteSecrets(out); err != nil {
				return err
			}
			secret, err := r.Rotate(ctx, key)
			if err != nil {
				return err
			}
			return handOut(w, out, credentials(r, tenant, map[fleet.DeviceKey]string{key: secret}))
		})
	tenantFlag(cmd, &tenant)
	cmd.Flags().BoolVar(&finish, "finish", false, "make no secret, end all but the newest now")
	cmd.Flags().StringVar(&out, "out", "", "new file for the credential")
	return cmd
}

func newDeviceClaimCode() *cobra.Command {
	var tenant string
	var expires time.Duration
	var transfer bool
	cmd := registryTool("claim-code SERIAL...", "Make codes with which somebody becomes the devices' owner; a new one replaces the old one", cobra.MinimumNArgs(1),
		func(ctx context.Context, r *registry.Registry, serials []string, w io.Writer) error {
			keys := make([]fleet.DeviceKey, 0, len(serials))
			for _, s := range serials {
				keys = append(keys, fleet.DeviceKey{Tenant: tenant, Serial: s})
			}
			var until time.Time
			if expires > 0 {
				until = time.Now().Add(expires)
			}
			codesFor := r.ClaimCodes
			if transfer {
				codesFor = r.TransferCodes
			}
			codes, err := codesFor(ctx, keys, until)
			if err != nil {
				return err
			}
			for _, k := range keys {
				if _, err := fmt.Fprintf(w, "%s %s\n", k.Serial, codes[k]); err != nil {
					return err
				}
			}
			return nil
		})
	tenantFlag(cmd, &tenant)
	cmd.Flags().DurationVar(&expires, "expires", registry.ClaimExpiry, "how long they are good for; 0: for ever, for codes printed into the box")
	cmd.Flags().BoolVar(&transfer, "transfer", false, "they also work for a device that belongs to somebody: whoever has the code takes it over")
	return cmd
}

func newDeviceClaim() *cobra.Command {
	var tenant, person string
	cmd := registryTool("claim CODE", "Make a person the owner of the device that has the code", cobra.ExactArgs(1),
		func(ctx context.Context, r *registry.Registry, args []string, w io.Writer) error {
			key, err := r.Claim(ctx, tenant, args[0], person)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(w, "%s belongs to %s\n", key.Serial, person)
			return err
		})
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&person, "person", "", "the owner's id")
	if err := cmd.MarkFlagRequired("person"); err != nil { // the flag is defined just above
		panic(err)
	}
	return cmd
}

func newDeviceShow() *cobra.Command {
	var tenant string
	cmd := registryTool("show SERIAL", "Show a device, what rules know of it, its credentials without the secrets, and who changed them", cobra.ExactArgs(1),
		func(ctx context.Context, r *registry.Registry, args []string, w io.Writer) error {
			return showDevice(ctx, r, fleet.DeviceKey{Tenant: tenant, Serial: args[0]}, w)
		})
	tenantFlag(cmd, &tenant)
	return cmd
}

func showDevice(ctx context.Context, r *registry.Registry, key fleet.DeviceKey, out io.Writer) error {
	d, ok := r.Device(key)
	if !ok {
		return fleet.Errorf(fleet.CodeNotFound, "device %q is not registered", key)
	}
	events, err := r.SecurityEvents(ctx, fleet.SecurityFilter{Tenant: key.Tenant, Subject: key.Serial, Limit: 20})
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	state, since := "valid", ""
	if d.Revoked {
		state = "revoked"
	}
	if !d.OwnedSince.IsZero() {
		since = moment(d.OwnedSince)
	}
	for _, f := range [][2]string{{"device", key.String()}, {"state", state}, {"model", d.Model}, {"category", d.Category}, {"name", d.Name}, {"room", d.Room},
		{"region", d.Region}, {"firmware", d.Firmware}, {"hardware", d.Hardware}, {"batch", d.Batch}, {"station", d.Parent}, {"owner", d.OwnerID}, {"owned since", since},
		{"seller", d.Seller}, {"installed", day(d.InstalledAt)}, {"warranty until", day(d.WarrantyUntil)}, {"contract", d.Contract},
		{"contract until", day(d.ContractUntil)}} {
		if f[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", f[0], f[1])
		}
	}
	f, err := r.Facts(ctx, key)
	if err != nil {
		return err
	}
	printFacts(w, f)
	cs := r.Credentials(key)
	slices.SortFunc(cs, func(a, b fleet.Credential) int { return a.CreatedAt.Compare(b.CreatedAt) })
	if len(cs) > 0 {
		fmt.Fprintln(w, "\nCREDENTIAL\tMADE\tFIRST USED\tENDED")
	}
	for _, c := range cs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.ID, moment(c.CreatedAt), moment(c.UsedAt), moment(c.RevokedAt))
	}
	if len(events) > 0 {
		fmt.Fprintln(w, "\nWHEN\tWHO\tWHAT\tDETAIL")
	}
	for _, e := range events {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", moment(e.At), e.Actor, e.Action, e.Detail)
	}
	return w.Flush()
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
