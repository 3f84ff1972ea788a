package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"aftercare/internal/app"
	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

func newDeviceImport() *cobra.Command {
	var tenant, out string
	var o registry.ImportOptions
	cmd := registryTool("import FILE.csv", "Register the devices of a list; says which rows are wrong and takes the others", cobra.ExactArgs(1),
		func(ctx context.Context, r *registry.Registry, args []string, w io.Writer) error {
			return importDevices(ctx, r, w, importJob{file: args[0], tenant: tenant, out: out, options: o})
		})
	cmd.Long = `Registers or updates the devices of a list: CSV in UTF-8 with commas or semicolons, at most 10,000 rows. The first line names the
columns, in any order: serial and model, and if wanted name, room, region (DE-BY), firmware, hardware, batch, parent (serial of
the base station), owner (id), seller, contract (who insures it), installed_at, warranty_until and contract_until (2026-03-31). FILE "-" is the standard input.

Rows that are right go in, all others are printed with line and column, and the exit code is 1. A device that is known keeps its
credential and what the list leaves empty. The credentials of new devices are written to the file given with --out (mode 0600) or,
without it, printed once; with --first-contact there are none, and the devices fetch them with their model's provisioning
secret.`
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&out, "out", "", "new file for the credentials")
	cmd.Flags().BoolVar(&o.FirstContact, "first-contact", false, "make no credentials: the devices fetch them (aftercare provision)")
	return cmd
}

type importJob struct {
	file, tenant, out string
	options           registry.ImportOptions
}

func importDevices(ctx context.Context, r *registry.Registry, w io.Writer, job importJob) error {
	in := io.Reader(os.Stdin)
	if job.file != "-" {
		f, err := os.Open(job.file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	if err := mayWriteSecrets(job.out); err != nil {
		return err
	}
	rep, err := r.ImportCSV(ctx, job.tenant, in, job.options)
	if err == nil {
		err = handOut(w, job.out, credentials(r, job.tenant, rep.Secrets))
	}
	if job.out != "" && len(rep.Secrets) == 0 {
		_ = os.Remove(job.out) // the empty one made above
	}
	if err != nil {
		return err
	}
	for _, p := range rep.Bad {
		p.File = job.file
		fmt.Fprintln(w, p)
	}
	fmt.Fprintf(w, "%d rows: %d added, %d updated, %d not taken\n", rep.Rows, rep.Added, rep.Updated, len(rep.Bad))
	if len(rep.Bad) > 0 {
		return fmt.Errorf("%d of %d rows were not taken", len(rep.Bad), rep.Rows)
	}
	return nil
}

// credentials makes the file for those who play or produce the devices, sorted by serial.
func credentials(r *registry.Registry, tenant string, secrets map[fleet.DeviceKey]string) app.FleetFile {
	f := app.FleetFile{Tenant: tenant}
	for key, secret := range secrets {
		c := app.DeviceCredential{Serial: key.Serial, Secret: secret}
		if d, ok := r.Device(key); ok {
			c.Model, c.Parent = d.Model, d.Parent
		}
		f.Devices = append(f.Devices, c)
	}
	slices.SortFunc(f.Devices, func(a, b app.DeviceCredential) int { return strings.Compare(a.Serial, b.Serial) })
	return f
}
