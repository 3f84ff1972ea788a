// Command aftercare is the telemetry backend for connected durable goods, and the tools around it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"aftercare/internal/config"
	"aftercare/internal/fleet"
)

// version is set by the build of a release.
var version = "dev"

func main() { os.Exit(run(os.Args[1:])) }

// run is main with an exit code: 0 done, 1 failed, 2 the files or flags are wrong.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var wrong *problemsError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		for _, p := range wrong.problems {
			fmt.Fprintln(os.Stderr, p)
		}
		fmt.Fprintf(os.Stderr, "\n%s\n", wrong)
		return 2
	default:
		fmt.Fprintln(os.Stderr, "aftercare:", err)
		return 1
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "aftercare",
		Short: "Turns connected durable goods into cared-for ones",
		Long: `aftercare is the telemetry backend for connected durable goods: devices report their health over MQTT, rules find maintenance
needs and faults early, owners hear of it in time, agents get one case with the evidence.

Start with "aftercare demo": the server with every part in one process, and a simulated fleet.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		p := fleet.Problem{Message: err.Error()}
		if name, unknown := strings.CutPrefix(p.Message, "unknown flag: --"); unknown && strings.Contains(name, ".") {
			p.Hint = config.Suggest(name)
		}
		return &problemsError{[]fleet.Problem{p}}
	})
	root.AddCommand(newServe(), newDemo(), newCheck(), newDevice(), newOwner(), newPartner(), newOrder(), newProvision(), newCommand(), newQuarantine(), newRules(), newLint(), newDetect(), newReplay(), newScore(), newConfig(), newSettings())
	for _, c := range root.Commands() {
		strict(c)
	}
	return root
}

// strict has a group of commands name a word that is none of them, where cobra prints the help and is content, and says with a wrong
// number of arguments which are wanted.
func strict(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strict(sub)
	}
	if c.HasSubCommands() && !c.Runnable() {
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		c.Args = cobra.NoArgs
	}
	if wanted := c.Args; wanted != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			err := wanted(c, args)
			if err == nil {
				return nil
			}
			if c.HasSubCommands() {
				c.SuggestionsMinimumDistance = 2
				if near := c.SuggestionsFor(args[0]); len(near) > 0 {
					return fmt.Errorf("%w (did you mean %q?)", err, near[0])
				}
				return fmt.Errorf("%w (see %s --help)", err, c.CommandPath())
			}
			return fmt.Errorf("%w: %s", err, c.UseLine())
		}
	}
}
