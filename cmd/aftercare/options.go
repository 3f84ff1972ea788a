package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"aftercare/internal/app"
	"aftercare/internal/config"
	"aftercare/internal/fleet"
)

// problemsError is what a person wrote wrongly.
type problemsError struct{ problems []fleet.Problem }

func (e *problemsError) Error() string {
	if len(e.problems) == 1 {
		return "1 mistake"
	}
	return fmt.Sprintf("%d mistakes", len(e.problems))
}

// configFlags adds --config and one flag for each setting. The help lists those in shown, of all commands the data folder, and says where
// the others are explained.
func configFlags(cmd *cobra.Command, shown ...string) {
	cmd.Flags().StringP("config", "c", os.Getenv(config.FileVariable), "configuration `file` (YAML); also "+config.FileVariable)
	config.Flags(cmd.Flags(), append(shown, "data")...)
	cmd.Flags().SortFlags = true
	cmd.SetUsageTemplate(strings.ReplaceAll(cmd.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 130") + `
Each setting is a flag (--gateway.listen), an environment variable (AFTERCARE_GATEWAY_LISTEN) and a key of the configuration file.
"aftercare settings" explains all of them, "aftercare settings gateway.tls" one part; configs/aftercare.yaml is a file to start from.
`)
}

// load reads the configuration a command was given, with extra problems of the files it names.
func load(cmd *cobra.Command) (config.Config, error) {
	cfg, problems := loadConfig(cmd)
	if len(problems) > 0 {
		return cfg, &problemsError{problems}
	}
	return cfg, nil
}

func loadConfig(cmd *cobra.Command, defaults ...config.Setting) (config.Config, []fleet.Problem) {
	file, err := cmd.Flags().GetString("config")
	if err != nil {
		return config.Config{}, []fleet.Problem{{Message: err.Error()}}
	}
	return config.Load(file, os.Environ(), cmd.Flags(), defaults...)
}

// loadAll reads the configuration and the files of models and rules it names.
func loadAll(cmd *cobra.Command, defaults ...config.Setting) (config.Config, *app.Files, error) {
	cfg, problems := loadConfig(cmd, defaults...)
	files, more := app.LoadFiles(cfg)
	if problems = append(problems, more...); len(problems) > 0 {
		return cfg, nil, &problemsError{problems}
	}
	return cfg, files, nil
}
