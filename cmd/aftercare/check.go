package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"aftercare/internal/app"
	"aftercare/internal/config"
	"aftercare/internal/fleet"
)

func newCheck() *cobra.Command {
	var records bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check configuration, model profiles, rule packs, templates and warranty terms; prints every mistake, opens no socket",
		Long: `Reads the configuration, the model profiles, the rule packs, the templates of messages and the warranty terms and prints every mistake in
them. Each template is rendered for each channel and language with sample data, with none, and with long and hostile names. It opens
no socket.

With --journal it also verifies every record in the journal's files, as a start of the server does, but changes none of them: use it on a
stopped server, or on a copy of its data folder, to see what is damaged and what the next start makes of it. It refuses while a
server runs on the data folder.

Exit code: 0 all is well, 1 the journal is damaged or cannot be looked at, 2 there are mistakes in the files or flags.`,
		Example: `  aftercare check --config FILE
  aftercare check --rules.dir my/rules --templates my/templates
  aftercare check --journal --data FOLDER`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("name a folder of rule packs with --rules.dir %s", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if _, err = fmt.Fprintf(out, "no mistakes: configuration, %d model profiles, %d rules, %d templates, warranty terms of %d countries\n",
				len(files.Models), len(files.Rules.Rules()), files.Templates.Len(), files.Warranty.Countries()); err != nil {
				return err
			}
			if note := app.PushTrouble(cfg); note != "" {
				if _, err := fmt.Fprintln(out, "note: "+note); err != nil {
					return err
				}
			}
			if !records {
				return nil
			}
			report, err := app.InspectJournal(cfg)
			if err != nil {
				return err
			}
			return tellDamage(out, cfg.Journal.Dir, &report)
		},
	}
	configFlags(cmd, "models", "rules.dir", "templates", "warranty")
	cmd.Flags().BoolVar(&records, "journal", false, "also verify every record in the journal's files; the server must be stopped")
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
	configFlags(cmd, "models", "rules.dir", "warranty")
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
			err := config.Explain(cmd.OutOrStdout(), config.Default(), args...)
			var unknown *config.UnknownError
			if errors.As(err, &unknown) {
				return &problemsError{[]fleet.Problem{{Message: err.Error(), Hint: config.Suggest(unknown.Name)}}}
			}
			return err
		},
	}
}
