package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"aftercare/internal/app"
	"aftercare/internal/registry"
)

// registryTool is a command that works on the registry, also while the server runs. do gets its arguments and where to print.
func registryTool(use, short string, args cobra.PositionalArgs,
	do func(ctx context.Context, r *registry.Registry, args []string, out io.Writer) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			return app.WithRegistry(cmd.Context(), cfg, files, func(ctx context.Context, r *registry.Registry) error {
				return do(ctx, r, args, cmd.OutOrStdout())
			})
		},
	}
	configFlags(cmd)
	return cmd
}

func tenantFlag(cmd *cobra.Command, tenant *string) {
	cmd.Flags().StringVar(tenant, "tenant", "demo", "whose devices they are")
}

// mayWriteSecrets makes sure, before secrets are made that are shown only once, that the file for them can be written and
// replaces none with others in it.
func mayWriteSecrets(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%q is there already, and credentials in it would be lost: name another file", path)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// handOut writes credentials to the file or, without one, prints them.
func handOut(out io.Writer, path string, f app.FleetFile) error {
	if path != "" {
		return app.WriteFleetFile(path, f)
	}
	for _, c := range f.Devices {
		if c.Secret == "" {
			continue
		}
		if _, err := fmt.Fprintf(out, "username %s/%s password %s\n", f.Tenant, c.Serial, c.Secret); err != nil {
			return err
		}
	}
	return nil
}
