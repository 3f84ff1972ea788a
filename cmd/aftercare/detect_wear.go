package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/rules/detect"
)

// detectWear is what `detect wear` was asked for.
type detectWear struct {
	timeCol, sep, out string
	value             string
	values            []string
	falls, plain      bool
}

func newDetectWear() *cobra.Command {
	var w detectWear
	cmd := &cobra.Command{
		Use:   "wear --out DIR FILES...",
		Short: "When a channel climbs slowly above its own past, as machines do that wear",
		Long: `Gives each row a score, 1 and more where an alarm begins, and whether there is an alarm (1) or none (0), as columns timestamp, score and alarm.
Values are averaged over blocks of four hours, so the times must be real ones; the first 18 blocks with values (three days, or 18 uses of a machine that is used
less) score 0. A jump to a new level, as of a machine that was moved, is no wear. An empty value is passed over, and so is one that is not above 0
unless --plain is given. With several channels each is judged by itself and the worst one counts.`,
		Example: `  aftercare detect wear --time timestamp --value vibration --out wear exported/*.csv
  aftercare detect wear --time timestamp --values capacity --falls --out wear cells/*.csv`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error { return w.run(files) },
	}
	cmd.Flags().StringVar(&w.timeCol, "time", "timestamp", "column with the time of the row: RFC 3339, 2026-01-31 18:20:00 or Unix seconds or milliseconds; UTC if it does not say")
	cmd.Flags().StringVar(&w.sep, "sep", ",", "what separates the columns of the files")
	cmd.Flags().StringVar(&w.value, "value", "value", "column with the value")
	cmd.Flags().StringSliceVar(&w.values, "values", nil, "columns with the values of several channels, instead of --value")
	cmd.Flags().BoolVar(&w.falls, "falls", false, "wear makes the values fall")
	cmd.Flags().BoolVar(&w.plain, "plain", false, "take the values as they are and not their logarithms: for channels that may be 0 or less")
	cmd.Flags().StringVar(&w.out, "out", "", "folder for the answers, in which each file keeps its path (required)")
	_ = cmd.MarkFlagRequired("out")
	cmd.MarkFlagsMutuallyExclusive("value", "values")
	return cmd
}

func (w detectWear) run(files []string) error {
	sep, err := separator(w.sep)
	if err != nil {
		return err
	}
	jobs, err := detectJobs(w.out, files)
	if err != nil {
		return err
	}
	if len(w.values) == 0 {
		w.values = []string{w.value}
	}
	for _, j := range jobs {
		if err := j.run(sep, []string{"timestamp", "score", "alarm"}, w.rows); err != nil {
			return err
		}
	}
	return nil
}

// rows judges the rows of one file with a detector of its own for each channel.
func (w detectWear) rows(first []string) (func([]string) ([]string, error), error) {
	at, err := columnNamed(first, w.timeCol)
	if err != nil {
		return nil, err
	}
	of, err := columnsNamed(first, w.values)
	if err != nil {
		return nil, err
	}
	detectors := make([]detect.Wear, len(of))
	for i := range detectors {
		detectors[i] = detect.Wear{Falls: w.falls, Plain: w.plain}
	}
	return func(row []string) ([]string, error) {
		t, ok := timeOf(row[at])
		if !ok {
			return nil, fmt.Errorf("column %q: %q is no time", w.timeCol, row[at])
		}
		worst, alarm := 0.0, "0"
		for i, c := range of {
			v, ok := number(row[c])
			if !ok {
				return nil, fmt.Errorf("column %q: %q is no number", w.values[i], row[c])
			}
			trend := detectors[i].Step(t.UnixMilli(), v)
			if worst = max(worst, trend.Score); trend.Alarm {
				alarm = "1"
			}
		}
		return []string{row[at], strconv.FormatFloat(worst, 'g', 9, 64), alarm}, nil
	}, nil
}

// timeForms are the ways to write a time that exports and loggers have.
var timeForms = []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02", "2006.01.02.15.04.05", "2006/01/02 15:04:05"}

// timeOf reads a time. Numbers are seconds since 1970, or milliseconds from 100,000,000,000 on (seconds of the year 5138); a number of less
// than three years is rather a count of something.
func timeOf(cell string) (time.Time, bool) {
	for _, form := range timeForms {
		if t, err := time.Parse(form, cell); err == nil {
			return t, true
		}
	}
	switch v, err := strconv.ParseFloat(cell, 64); {
	case err != nil || !(v >= 1e8) || v >= 1e14:
		return time.Time{}, false
	case v >= 1e11:
		return time.UnixMilli(int64(v)), true
	default:
		return time.UnixMilli(int64(v * 1000)), true
	}
}
