package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/app"
	"aftercare/internal/config"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server until it is told to stop",
		Long: `Runs the server until it is told to stop (SIGINT, SIGTERM). SIGHUP has it read the rule packs again (rules.dir): with a mistake in them nothing changes,
else they are in force from then on, as with "aftercare rules activate".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			return app.Run(cmd.Context(), app.Options{Config: cfg, Files: files, Log: os.Stderr, Version: version, Reload: reload, Ready: func(a app.Addresses) error {
				return announce(cmd.OutOrStdout(), a)
			}})
		},
	}
	configFlags(cmd, config.Common...)
	return cmd
}

// announce says where the server is found, of what it runs.
func announce(out io.Writer, a app.Addresses) error {
	var text string
	if a.Link != "" {
		text += "pages   " + a.Link + "\n"
	}
	if a.Owner != "" {
		text += "owners  " + a.Owner + "\n"
	}
	for _, door := range a.Doors {
		text += "devices " + door + "\n"
	}
	for _, note := range a.Notes {
		text += "note    " + note + "\n"
	}
	_, err := io.WriteString(out, text+"ready\n")
	return err
}

func newDemo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the server and a simulated fleet beside it; prints where to look",
		Args:  cobra.NoArgs,
		RunE:  runDemo,
	}
	configFlags(cmd, config.Common...)
	cmd.Flags().String("sim", "", "the simulator's program (default: firmware-sim beside this one)")
	return cmd
}

// runDemo runs the server in this process and the simulator in one of its own; the first that ends takes the other with it.
func runDemo(cmd *cobra.Command, _ []string) error {
	cfg, files, err := loadAll(cmd, config.Setting{Key: "log.level", Value: "warn"}) // the console is for the visitor
	if err != nil {
		return err
	}
	sim, err := simulator(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	out := cmd.OutOrStdout()
	simDone := make(chan struct{})
	started := false
	err = app.Run(ctx, app.Options{Config: cfg, Files: files, Log: os.Stderr, Version: version, Demo: true, Ready: func(a app.Addresses) error {
		welcome(out, a)
		started = true
		go func() {
			defer close(simDone)
			if err := runSimulator(ctx, sim, a, out); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("the simulator ended: %w", err))
			}
		}()
		return nil
	}})
	cancel(nil)
	if started {
		<-simDone
	}
	if err == nil && cmd.Context().Err() != nil {
		fmt.Fprintf(out, "Stopped. The data stays in %s; the next start goes on with it.\n", cfg.Data)
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, err)
	}
	return err
}

func simulator(cmd *cobra.Command) (string, error) {
	sim, err := cmd.Flags().GetString("sim")
	if err != nil {
		return "", err
	}
	if sim == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find the simulator: %w", err)
		}
		sim = filepath.Join(filepath.Dir(self), "firmware-sim")
	}
	if _, err := os.Stat(sim); err != nil {
		return "", fmt.Errorf("the simulator is not there (make build makes it): %w", err)
	}
	return sim, nil
}

func welcome(out io.Writer, a app.Addresses) {
	fleet := "whose reports go on where they stopped."
	if a.FirstRun {
		fleet = "that now uploads 14 days of its past."
	}
	fmt.Fprintf(out, `
  aftercare is running, with a simulated fleet %s

  The desk        %s
  An owner's page %s
  Metrics         %s/metrics
  Devices         mqtt://%s

  The link holds the key to the pages: keep it to yourself. Ctrl-C stops everything; the data stays in %s.

`, fleet, a.Link, a.OwnerLink, a.Web, a.MQTT, a.Data)
}

func runSimulator(ctx context.Context, program string, a app.Addresses, out io.Writer) error {
	sim := exec.CommandContext(ctx, program, "demo", "--broker", "tcp://"+a.MQTT, "--fleet", a.FleetFile, "--state", filepath.Join(a.Data, "simulator"))
	sim.Stdout, sim.Stderr = out, os.Stderr
	sim.Cancel = func() error { return sim.Process.Signal(os.Interrupt) }
	sim.WaitDelay = 3 * time.Second
	runtime.LockOSThread() // the parent's death is noticed by thread
	defer runtime.UnlockOSThread()
	endWithParent(sim)
	return sim.Run()
}
