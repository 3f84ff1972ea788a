package main

import (
	"fmt"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"aftercare/internal/rules/detect"
)

func newDetectAnomaly() *cobra.Command {
	var timeCol, valueCol, out string
	cmd := &cobra.Command{
		Use:   "anomaly --out DIR FILES...",
		Short: "How unusual each value of one channel is, against the channel's own past",
		Long: `Gives each row a score from 0 (as usual) to 1 (never seen the like), as columns timestamp and score. Scores from about 0.39
on are worth a look, from 0.45 on if a false one is a nuisance; the first 100 values of a file score 0, and after an outburst others like it score less for some 1,000 values. A row without a value scores 0 and
teaches nothing; a value that is no finite number is a mistake.`,
		Example: `  aftercare detect anomaly --time timestamp --value drain_s --out scores exported/*.csv`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			jobs, err := detectJobs(out, files)
			if err != nil {
				return err
			}
			for _, j := range jobs {
				if err := j.run(',', []string{"timestamp", "score"}, anomalyRows(timeCol, valueCol)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&timeCol, "time", "timestamp", "column with the time of the row; copied, rows count in their order")
	cmd.Flags().StringVar(&valueCol, "value", "value", "column with the value")
	cmd.Flags().StringVar(&out, "out", "", "folder for the answers, in which each file keeps its path (required)")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

// anomalyRows scores the rows of one file with a detector of its own.
func anomalyRows(timeCol, valueCol string) func([]string) (func([]string) ([]string, error), error) {
	return func(first []string) (func([]string) ([]string, error), error) {
		at, err := columnNamed(first, timeCol)
		if err != nil {
			return nil, err
		}
		of, err := columnNamed(first, valueCol)
		if err != nil {
			return nil, err
		}
		var d detect.Anomaly
		return func(row []string) ([]string, error) {
			score := 0.0
			if row[of] != "" {
				v, err := strconv.ParseFloat(row[of], 64)
				if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
					return nil, fmt.Errorf("column %q: %q is no finite number", valueCol, row[of])
				}
				score = d.Step(v)
			}
			return []string{row[at], strconv.FormatFloat(score, 'g', 9, 64)}, nil
		}, nil
	}
}
