package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"aftercare/internal/fleet"
	"aftercare/internal/rules/detect"
)

// detectMulti is what `detect multi` was asked for.
type detectMulti struct {
	timeCol, sep, out string
	values            []string
	train             int
}

// labels are columns that say what the truth was: never channels.
var labels = []string{"anomaly", "changepoint"}

func newDetectMulti() *cobra.Command {
	var m detectMulti
	cmd := &cobra.Command{
		Use:   "multi --out DIR FILES...",
		Short: "When any of several channels leaves its own past",
		Long: `Gives each row a score, 1 and more where an alarm begins, and whether there is an alarm (1) or none (0), as columns datetime, score and
alarm, with commas between them. The first rows train and score 0. An empty value is a missing one: its channel stays as it is.
Without --values the channels are the columns that hold numbers in the training rows, except anomaly and changepoint.`,
		Example: `  aftercare detect multi --time datetime --sep ';' --train-rows 400 --out alarms valve1/*.csv`,
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(_ *cobra.Command, files []string) error { return m.run(files) },
	}
	cmd.Flags().StringVar(&m.timeCol, "time", "datetime", "column with the time of the row; copied, rows count in their order")
	cmd.Flags().StringVar(&m.sep, "sep", ",", "what separates the columns of the files")
	cmd.Flags().StringSliceVar(&m.values, "values", nil, "columns with the channels; all with numbers by default")
	cmd.Flags().IntVar(&m.train, "train-rows", 400, "rows at the beginning to learn from; fewer than 250 make it worse")
	cmd.Flags().StringVar(&m.out, "out", "", "folder for the answers, in which each file keeps its path (required)")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func (m detectMulti) run(files []string) error {
	sep, err := separator(m.sep)
	if err != nil {
		return err
	}
	cfg := detect.DefaultMulti(1)
	cfg.Train = m.train
	if err := cfg.Validate(); err != nil {
		return &problemsError{[]fleet.Problem{{Path: "--train-rows", Message: err.Error()}}}
	}
	jobs, err := detectJobs(m.out, files)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		values := m.values
		if len(values) == 0 {
			if values, err = m.channels(j.in, sep); err != nil {
				return fmt.Errorf("%s: %w", j.in, err)
			}
		}
		if err := j.run(sep, []string{"datetime", "score", "alarm"}, m.rows(values)); err != nil {
			return err
		}
	}
	return nil
}

// rows judges the rows of one file with a detector of its own.
func (m detectMulti) rows(values []string) func([]string) (func([]string) ([]string, error), error) {
	return func(first []string) (func([]string) ([]string, error), error) {
		at, err := columnNamed(first, m.timeCol)
		if err != nil {
			return nil, err
		}
		of, err := columnsNamed(first, values)
		if err != nil {
			return nil, err
		}
		cfg := detect.DefaultMulti(len(values))
		cfg.Train = m.train
		d, err := detect.NewMulti(cfg)
		if err != nil {
			return nil, err
		}
		x := make([]float64, len(values))
		return func(row []string) ([]string, error) {
			for i, c := range of {
				v, ok := number(row[c])
				if !ok {
					return nil, fmt.Errorf("column %q: %q is no number", values[i], row[c])
				}
				x[i] = v
			}
			a := d.Next(x)
			alarm := "0"
			if a.Alarm {
				alarm = "1"
			}
			return []string{row[at], strconv.FormatFloat(a.Score, 'g', 9, 64), alarm}, nil
		}, nil
	}
}

// channels names the columns that hold numbers, and nothing else, in the training rows of a file.
func (m detectMulti) channels(path string, sep rune) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma = sep
	names, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: its first row must name the columns")
	} else if err != nil {
		return nil, err
	}
	names[0] = strings.TrimPrefix(names[0], "\ufeff")
	held, other := make([]bool, len(names)), make([]bool, len(names))
	for range m.train {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		for i, cell := range row {
			_, ok := number(cell)
			held[i] = held[i] || ok && cell != ""
			other[i] = other[i] || !ok
		}
	}
	var found []string
	for i, name := range names {
		if held[i] && !other[i] && name != m.timeCol && !slices.Contains(labels, name) {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no column holds numbers: is %q what separates the columns?", sep)
	}
	return found, nil
}

// number reads a cell. An empty one is NaN: a missing value, which the detector expects.
func number(cell string) (float64, bool) {
	if cell == "" {
		return math.NaN(), true
	}
	v, err := strconv.ParseFloat(cell, 64)
	return v, err == nil
}
