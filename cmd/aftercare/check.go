package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"aftercare/internal/config"
	"aftercare/internal/fleet"
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
	configFlags(cmd, "models", "rules.dir")
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
	configFlags(cmd, "models", "rules.dir")
	return cmd
}

func newSettings() *cobra.Command {
	return &cobra.Command{
		Use:   "settings [PART]...",
		Short: "Explain every setting, or those of the parts named: what it does, its default, when to change it",
		Long: `Prints every setting with its default and a sentence. A setting is a flag of "serve" (--gateway.listen), an environment variable
(AFTERCARE_GATEWAY_LISTEN) and a key of the configuration file (gateway: {listen: ...}); flags win over the environment, that over the file.
Durations are written 500ms, 5s, 2m or 1h; lists with commas between the values (in the file as YAML lists).`,
		Example: `  aftercare settings gateway.tls presence
  aftercare config --config FILE          prints the values in force`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := config.Explain(cmd.OutOrStdout(), config.Default(), args...); err != nil {
				return &problemsError{[]fleet.Problem{{Message: err.Error()}}}
			}
			return nil
		},
	}
}
