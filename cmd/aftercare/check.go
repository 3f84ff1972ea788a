package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"aftercare/internal/config"
)

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check configuration, model profiles and rule packs; prints every mistake, opens no socket",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "no mistakes: configuration, %d model profiles, %d rules\n", len(files.Models), len(files.Rules.Rules()))
			return err
		},
	}
	configFlags(cmd)
	return cmd
}

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration in force: every key with its value, secrets redacted",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			return config.Print(cmd.OutOrStdout(), cfg)
		},
	}
	configFlags(cmd)
	return cmd
}
