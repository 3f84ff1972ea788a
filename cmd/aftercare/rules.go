package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"aftercare/configs"
	"aftercare/internal/app"
	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/rules/ruletest"
)

func newRules() *cobra.Command {
	cmd := &cobra.Command{Use: "rules", Short: "Test rule packs, put them in force, ask why one did or did not find something"}
	cmd.AddCommand(newRulesTest(), newRulesActivate(), newRulesExplain())
	return cmd
}

func newRulesTest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test [FILE or FOLDER]...",
		Short: "Run the tests beside the rule packs (*_test.yaml)",
		Long: `Runs tests of rules: what a device sends, in a short notation, and what the rules are to find at which time. The rules run as on the server, on
simulated time. Without arguments it runs the tests beside the rule packs in force (rules.dir, or the shipped ones). Rules are those of rules.dir; if it
is not set, the packs beside the tests.

Exit code: 0 all tests pass, 1 a test failed, 2 there are mistakes in the files or flags.`,
		Example: `  aftercare rules test
  aftercare rules test my/rules
  aftercare rules test --rules.dir my/rules elsewhere/washing-machine_test.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, problems := loadConfig(cmd)
			if len(problems) > 0 {
				return &problemsError{problems}
			}
			if cfg.Rules.Dir == "" && len(args) > 0 {
				cfg.Rules.Dir = packsBeside(args[0])
			}
			files, problems := app.LoadFiles(cfg)
			if len(problems) > 0 {
				return &problemsError{problems}
			}
			tests, err := findTests(cfg, args)
			if err != nil {
				return err
			}
			return runTests(cmd.OutOrStdout(), files, tests)
		},
	}
	configFlags(cmd, "models", "rules.dir")
	return cmd
}

// packsBeside returns the folder of tests if there are packs in it, or else nothing.
func packsBeside(tests string) string {
	dir := tests
	if info, err := os.Stat(tests); err == nil && !info.IsDir() {
		dir = filepath.Dir(tests)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if ext := path.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") && !rules.IsTest(e.Name()) {
			return dir
		}
	}
	return ""
}

// testFile is a file of tests with the name people know it by.
type testFile struct {
	name string
	body []byte
}

// findTests reads the files named, and the test files in the folders named; without names, those beside the packs.
func findTests(cfg config.Config, args []string) (out []testFile, err error) {
	if len(args) == 0 {
		if cfg.Rules.Dir == "" {
			return testsIn(configs.FS, "rules", "configs")
		}
		args = []string{cfg.Rules.Dir}
	}
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, fmt.Errorf("read tests: %w", err)
		}
		if info.IsDir() {
			more, err := testsIn(os.DirFS(arg), ".", arg)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
			continue
		}
		body, err := os.ReadFile(arg)
		if err != nil {
			return nil, fmt.Errorf("read tests: %w", err)
		}
		out = append(out, testFile{arg, body})
	}
	return out, nil
}

func testsIn(fsys fs.FS, root, shown string) (out []testFile, err error) {
	err = fs.WalkDir(fsys, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !rules.IsTest(path.Base(name)) {
			return err
		}
		body, err := fs.ReadFile(fsys, name)
		out = append(out, testFile{filepath.Join(shown, name), body})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read tests in %q: %w", shown, err)
	}
	return out, nil
}

func runTests(out io.Writer, files *app.Files, tests []testFile) error {
	var total, failed int
	var wrong []fleet.Problem
	for _, f := range tests {
		r, problems := ruletest.Run(files.Rules, files.Models, f.name, f.body)
		wrong = append(wrong, problems...)
		total, failed = total+r.Tests, failed+r.Failed
		word := "ok    "
		if r.Failed > 0 || len(problems) > 0 {
			word = "FAILED"
		}
		if _, err := fmt.Fprintf(out, "%s %s: %d tests\n", word, f.name, r.Tests); err != nil {
			return err
		}
		for _, p := range r.Failures {
			if _, err := fmt.Fprintf(out, "  %s\n", p); err != nil {
				return err
			}
		}
	}
	switch {
	case len(wrong) > 0:
		return &problemsError{wrong}
	case failed > 0:
		return fmt.Errorf("%d of %d tests failed", failed, total)
	case total == 0:
		return fmt.Errorf("there is no test: test files are named *_test.yaml")
	}
	_, err := fmt.Fprintf(out, "%d tests of %d rules pass\n", total, len(files.Rules.Rules()))
	return err
}
