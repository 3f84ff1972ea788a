package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/app"
	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

// What rules know of a device besides its readings. A running server hands it to the rules within seconds.

func newDeviceSet() *cobra.Command {
	var tenant string
	var limits, unset []string
	cmd := &cobra.Command{
		Use:   "set SERIAL",
		Short: "Give a device values of its own for rules' named limits",
		Long: `A rule can name limits ("limits: {slow: {value: 90, unit: s}}"); a device can have a value of its own for each, in the limit's unit. "device show" lists
them, "rules explain" says which value counts.`,
		Example: `  aftercare device set WM-0001 --limit washer-drain-slow.slow=110
  aftercare device set WM-0001 --unset washer-drain-slow.slow`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(limits)+len(unset) == 0 {
				return errors.New("nothing to change: name --limit RULE.LIMIT=VALUE or --unset RULE.LIMIT")
			}
			cfg, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			return app.WithRegistry(cmd.Context(), cfg, files, func(ctx context.Context, r *registry.Registry) error {
				key := fleet.DeviceKey{Tenant: tenant, Serial: args[0]}
				d, ok := r.Device(key)
				if !ok {
					return fleet.Errorf(fleet.CodeNotFound, "device %q is not registered", key)
				}
				set := map[string]float64{}
				for _, text := range limits {
					name, v, err := parseLimit(text)
					if err != nil {
						return err
					}
					if err := app.CheckLimit(files.Rules, d.Model, name); err != nil {
						return fmt.Errorf("%w; the rules are those of rules.dir: --rules.dir names another folder", err)
					}
					set[name] = v
				}
				return r.SetLimits(ctx, key, set, unset)
			})
		},
	}
	configFlags(cmd, "rules.dir")
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringArrayVar(&limits, "limit", nil, "`RULE.LIMIT=VALUE`, in the limit's unit; may be given several times")
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "`RULE.LIMIT` whose usual value counts again")
	return cmd
}

func parseLimit(text string) (name string, v float64, err error) {
	name, value, ok := strings.Cut(text, "=")
	if v, err = strconv.ParseFloat(value, 64); !ok || err != nil {
		return "", 0, fmt.Errorf("--limit %q: want RULE.LIMIT=NUMBER, such as washer-drain-slow.slow=110", text)
	}
	return name, v, nil
}

func newDeviceService() *cobra.Command {
	var tenant, at, by string
	cmd := registryTool("service SERIAL COMPONENT", "Note that a component was cleaned, repaired or replaced: its use is counted anew", cobra.ExactArgs(2),
		func(ctx context.Context, r *registry.Registry, args []string, _ io.Writer) error {
			t, err := parseWhen("at", at)
			if err != nil {
				return err
			}
			return r.Serviced(ctx, fleet.DeviceKey{Tenant: tenant, Serial: args[0]}, fleet.Service{Component: args[1], At: t, By: by})
		})
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&at, "at", "", "when: 2026-03-31, 2026-03-31T14:00 (local) or RFC 3339 (default: now)")
	cmd.Flags().StringVar(&by, "by", "", `who did it: "owner", or a partner's or agent's name (default: cli)`)
	cmd.Example = "  aftercare device service WM-0001 drain-pump --at 2026-03-31 --by owner"
	return cmd
}

func newDeviceMaintenance() *cobra.Command {
	return spanCommand(registry.Maintenance, "maintenance SERIAL",
		"Say when somebody works on a device: only safety and danger are told meanwhile", "  aftercare device maintenance WM-0001 --from 2026-03-31T08:00 --to 2026-03-31T12:00")
}

func newDeviceStore() *cobra.Command {
	return spanCommand(registry.Storage, "store SERIAL",
		"Say when a device is put away on purpose: its silence is no fault", "  aftercare device store MW-0001 --to 2026-04-01\n  aftercare device store MW-0001 --end")
}

func spanCommand(kind registry.SpanKind, use, short, example string) *cobra.Command {
	var tenant, from, to string
	var end bool
	cmd := registryTool(use, short, cobra.ExactArgs(1), func(ctx context.Context, r *registry.Registry, args []string, _ io.Writer) error {
		key := fleet.DeviceKey{Tenant: tenant, Serial: args[0]}
		if end {
			return r.EndSpan(ctx, key, kind)
		}
		var s fleet.Span
		var err, err2 error
		s.From, err = parseWhen("from", from)
		s.To, err2 = parseWhen("to", to)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		return r.AddSpan(ctx, key, kind, s)
	})
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&from, "from", "", "from when: 2026-03-31, 2026-03-31T14:00 (local) or RFC 3339 (default: now)")
	cmd.Flags().StringVar(&to, "to", "", "until when (default: until further notice)")
	cmd.Flags().BoolVar(&end, "end", false, "end it now, or call off the next one")
	cmd.MarkFlagsMutuallyExclusive("end", "from")
	cmd.MarkFlagsMutuallyExclusive("end", "to")
	cmd.Example = example
	return cmd
}

// parseWhen reads a moment; an empty text is the zero time.
func parseWhen(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--%s %q: want 2026-03-31, 2026-03-31T14:00 or 2026-03-31T14:00:00+02:00", flag, text)
}

// printFacts adds what rules know of a device to what is shown of it.
func printFacts(w io.Writer, f fleet.Facts) {
	for _, list := range []struct {
		name  string
		spans []fleet.Span
	}{{"maintenance", f.Maintenance}, {"put away", f.Stored}} {
		for _, s := range list.spans {
			fmt.Fprintf(w, "%s\t%s\n", list.name, registry.SpanText(s))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Limits)) {
		fmt.Fprintf(w, "limit\t%s = %s\n", name, strconv.FormatFloat(f.Limits[name], 'g', -1, 64))
	}
	if len(f.Services) > 0 {
		fmt.Fprintln(w, "\nSERVICED\tWHEN\tBY")
	}
	for _, s := range f.Services {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Component, moment(s.At), s.By)
	}
}
