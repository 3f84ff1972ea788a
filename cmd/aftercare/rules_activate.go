package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"aftercare/internal/api"
	"aftercare/internal/app"
	"aftercare/internal/config"
)

func newRulesActivate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "activate [FOLDER]",
		Short: "Put rule packs in force on the running server, without a restart",
		Long: `Has the running server read the rule packs of its folder again (rules.dir), as SIGHUP does, or, with a folder, takes those in it. All are checked first:
with a mistake in any of them nothing changes and the mistakes are printed. Unchanged rules go on where they are: values, windows and open episodes
stay. An episode whose rule is gone ends.

At its next start the server goes by rules.dir again: put packs there that are to stay.

Exit code: 0 they are in force, 1 the server was not asked or refuses them, 2 there are mistakes in FOLDER.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, problems := loadConfig(cmd)
			if len(problems) > 0 {
				return &problemsError{problems}
			}
			in := map[string]any{}
			if len(args) > 0 {
				packs, err := packsIn(cfg, args[0])
				if err != nil {
					return err
				}
				in["packs"] = packs
			}
			c, err := newClient(cfg)
			if err != nil {
				return err
			}
			var out api.Activation
			if err := c.call(cmd.Context(), "POST", "/rules/activate", in, &out); err != nil {
				return err
			}
			if !out.Changed {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "nothing changes: rules %s are in force already\n", out.Set)
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "rules %s are in force (activation %d)\n", out.Set, out.N)
			return err
		},
	}
	configFlags(cmd, "models", "rules.dir", "web.listen")
	return cmd
}

// packsIn returns the rule packs in a folder by file name, once they have no mistake.
func packsIn(cfg config.Config, dir string) (map[string]string, error) {
	cfg.Rules.Dir = dir
	files, problems := app.LoadFiles(cfg)
	if len(problems) > 0 {
		return nil, &problemsError{problems}
	}
	a, _, problems := files.Rules.ReadActivation(os.DirFS(dir), "cli")
	if len(problems) > 0 {
		return nil, &problemsError{problems}
	}
	if len(a.Packs) == 0 {
		return nil, errors.New("there is no rule pack in " + dir)
	}
	return a.Packs, nil
}
