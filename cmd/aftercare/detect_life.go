package main

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/fleet"
	"aftercare/internal/rules/detect"
)

// detectLife is what `detect life` was asked for.
type detectLife struct {
	timeCol, value, sep, out string
	limit                    float64
}

func newDetectLife() *cobra.Command {
	var l detectLife
	cmd := &cobra.Command{
		Use:   "life --limit L --out DIR FILES...",
		Short: "How long until a value reaches a limit, at the unit's own pace",
		Long: `Gives each row what is left until the value reaches the limit, with an interval that holds the truth in about 80 of 100 cases, as columns time,
value, remaining, low and high. Counted is in rows; with --time in the unit of that column if it holds numbers (cycles, hours of use), in days if it
holds times. Every file is one unit from its first use on. What is left is empty as long as there is no clear trend towards the limit, and 0 at the limit; the
first 10 values say nothing.`,
		Example: `  aftercare detect life --value capacity --limit 1.4 --out left cells/*.csv
  aftercare detect life --time cycle --value drain_s --limit 90 --out left exported/*.csv`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error { return l.run(files) },
	}
	cmd.Flags().StringVar(&l.timeCol, "time", "", "column with the place of the row: a number that grows, or a time (default: the number of the row)")
	cmd.Flags().StringVar(&l.sep, "sep", ",", "what separates the columns of the files")
	cmd.Flags().StringVar(&l.value, "value", "value", "column with the value")
	cmd.Flags().Float64Var(&l.limit, "limit", 0, "the limit; the value comes to it from the side of the first row (required)")
	cmd.Flags().StringVar(&l.out, "out", "", "folder for the answers, in which each file keeps its path (required)")
	_ = cmd.MarkFlagRequired("out")
	_ = cmd.MarkFlagRequired("limit")
	return cmd
}

func (l detectLife) run(files []string) error {
	if math.IsNaN(l.limit) || math.IsInf(l.limit, 0) {
		return &problemsError{[]fleet.Problem{{Path: "--limit", Message: fmt.Sprintf("%v is no finite number", l.limit)}}}
	}
	sep, err := separator(l.sep)
	if err != nil {
		return err
	}
	jobs, err := detectJobs(l.out, files)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if err := j.run(sep, []string{"time", "value", "remaining", "low", "high"}, l.rows); err != nil {
			return err
		}
	}
	return nil
}

// rows follows the unit of one file.
func (l detectLife) rows(first []string) (func([]string) ([]string, error), error) {
	at := -1
	if l.timeCol != "" {
		var err error
		if at, err = columnNamed(first, l.timeCol); err != nil {
			return nil, err
		}
	}
	of, err := columnNamed(first, l.value)
	if err != nil {
		return nil, err
	}
	d, n := detect.Life{Limit: l.limit}, 0
	return func(row []string) ([]string, error) {
		n++
		place, shown := float64(n), strconv.Itoa(n)
		if at >= 0 {
			shown = row[at]
			var ok bool
			if place, ok = placeOf(shown); !ok {
				return nil, fmt.Errorf("column %q: %q is neither a number nor a time", l.timeCol, shown)
			}
		}
		v, ok := number(row[of])
		if !ok {
			return nil, fmt.Errorf("column %q: %q is no number", l.value, row[of])
		}
		answer := []string{shown, row[of], "", "", ""}
		if left := d.Step(place, v); left.Known {
			for i, x := range []float64{left.Remaining, left.Low, left.High} {
				answer[2+i] = strconv.FormatFloat(x, 'g', 6, 64)
			}
		}
		return answer, nil
	}, nil
}

// placeOf reads a number, or a time as days.
func placeOf(cell string) (float64, bool) {
	if v, err := strconv.ParseFloat(cell, 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
		return v, true
	}
	t, ok := timeOf(cell)
	return float64(t.UnixMilli()) / float64(24*time.Hour/time.Millisecond), ok
}
