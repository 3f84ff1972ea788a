package main

import (
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"aftercare/internal/app"
	"aftercare/internal/fleet"
)

func newDevice() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Register devices, list them, change and end their credentials, give them to owners, say what rules have to know of them; works while the server runs",
	}
	cmd.AddCommand(newDeviceAdd(), newDeviceImport(), newDeviceList(), newDeviceShow(), newDeviceRotate(), newDeviceRevoke(),
		newDeviceClaimCode(), newDeviceClaim(), newDeviceTransfer(), newDeviceCover(), newDeviceSet(), newDeviceService(), newDeviceMaintenance(), newDeviceStore())
	return cmd
}

func newDeviceAdd() *cobra.Command {
	var tenant, model, parent, owner, out string
	cmd := &cobra.Command{
		Use:   "add SERIAL...",
		Short: "Register devices of one model and write their credentials to a file",
		Long: `Registers devices and makes a random secret for each that has no base station. Secrets are written to the file given with --out (mode 0600,
the format that firmware-sim reads) or, without it, printed once. They are not kept and cannot be shown again.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, serials []string) error {
			cfg, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			var devices []fleet.Device
			for _, s := range serials {
				devices = append(devices, fleet.Device{Key: fleet.DeviceKey{Tenant: tenant, Serial: s}, Model: model, Parent: parent, OwnerID: owner})
			}
			creds, err := app.AddDevices(cmd.Context(), cfg, files, devices)
			if err != nil {
				return err
			}
			if out != "" {
				return app.WriteFleetFile(out, app.FleetFile{Tenant: tenant, Devices: creds})
			}
			for _, c := range creds {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "username %s/%s password %s\n", tenant, c.Serial, c.Secret); err != nil {
					return err
				}
			}
			return nil
		},
	}
	configFlags(cmd)
	cmd.Flags().StringVar(&tenant, "tenant", "demo", "whose devices they are")
	cmd.Flags().StringVar(&model, "model", "", "the model's id, a profile of it must exist")
	cmd.Flags().StringVar(&parent, "parent", "", "serial of the base station that speaks for them")
	cmd.Flags().StringVar(&owner, "owner", "", "id of the person who hears of them")
	cmd.Flags().StringVar(&out, "out", "", "file for the credentials")
	if err := cmd.MarkFlagRequired("model"); err != nil { // the flag is defined just above
		panic(err)
	}
	return cmd
}

func newDeviceList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the registered devices",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			devices, err := app.ListDevices(cmd.Context(), cfg, files)
			if err != nil {
				return err
			}
			slices.SortFunc(devices, func(a, b fleet.Device) int {
				return slices.Compare([]string{a.Key.Tenant, a.Key.Serial}, []string{b.Key.Tenant, b.Key.Serial})
			})
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "TENANT\tSERIAL\tMODEL\tSTATION\tOWNER\tSTATE")
			for _, d := range devices {
				state := "valid"
				if d.Revoked {
					state = "revoked"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Key.Tenant, d.Key.Serial, d.Model, d.Parent, d.OwnerID, state)
			}
			return w.Flush()
		},
	}
	configFlags(cmd)
	return cmd
}

func newDeviceRevoke() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "revoke SERIAL...",
		Short: "End the credentials of devices; a running server cuts their connections within seconds",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, serials []string) error {
			cfg, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			var keys []fleet.DeviceKey
			for _, s := range serials {
				keys = append(keys, fleet.DeviceKey{Tenant: tenant, Serial: s})
			}
			return app.RevokeDevices(cmd.Context(), cfg, files, keys)
		},
	}
	configFlags(cmd)
	cmd.Flags().StringVar(&tenant, "tenant", "demo", "whose devices they are")
	return cmd
}
