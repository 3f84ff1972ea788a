package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"aftercare/internal/fleet"
)

func newDetect() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "detect",
		Short: "Run a detector over CSV files, to see whether it suits the data; needs no server",
		Long: `Runs a detector over CSV files in the order of their rows, as if they came in one by one: a row's answer depends on the rows above it
only. Every file is a series of its own, and all are treated alike. The answers go to a folder, one file for each file, a row for each row:
a file named by a path below the working directory keeps that path there, others keep theirs below the deepest folder they share,
with its name if all of them are in it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDetectAnomaly(), newDetectMulti(), newDetectWear(), newDetectLife(), newDetectRules())
	return cmd
}

// detectJob is one file to read and where its answers go.
type detectJob struct{ in, out string }

// detectJobs says where the answers for files go in the folder out. Two files with one place for their answers, and
// answers in place of a file that is read, are mistakes found before anything is written.
func detectJobs(out string, files []string) ([]detectJob, error) {
	rel := slices.Clone(files)
	if slices.ContainsFunc(files, func(f string) bool { return !filepath.IsLocal(f) }) {
		shared := ""
		for i, f := range files {
			path, err := filepath.Abs(f)
			if err != nil {
				return nil, fmt.Errorf("path of %q: %w", f, err)
			}
			if rel[i] = path; i == 0 {
				shared = filepath.Dir(path)
			}
			for shared != filepath.Dir(shared) && !strings.HasPrefix(path, shared+string(filepath.Separator)) {
				shared = filepath.Dir(shared)
			}
		}
		if !slices.ContainsFunc(rel, func(path string) bool { return filepath.Dir(path) != shared }) {
			shared = filepath.Dir(shared) // one folder: its name tells the answers of several runs apart
		}
		for i, path := range rel {
			r, err := filepath.Rel(shared, path)
			if err != nil {
				return nil, fmt.Errorf("path of %q: %w", path, err)
			}
			rel[i] = r
		}
	}
	jobs := make([]detectJob, len(files))
	from := map[string]string{}
	for i, f := range files {
		to := filepath.Join(out, rel[i])
		if other, taken := from[to]; taken {
			return nil, &problemsError{[]fleet.Problem{{Path: f, Message: fmt.Sprintf("its answers and those of %q would both go to %q", other, to)}}}
		}
		from[to] = f
		jobs[i] = detectJob{f, to}
	}
	for _, j := range jobs {
		have, err := os.Stat(j.out)
		if err != nil {
			continue
		}
		for _, other := range jobs {
			if in, err := os.Stat(other.in); err == nil && os.SameFile(in, have) {
				return nil, &problemsError{[]fleet.Problem{{Path: "--out", Message: fmt.Sprintf("the answers would overwrite %q, which is read", other.in)}}}
			}
		}
	}
	return jobs, nil
}

// run reads the file row by row through answer, which is given the first row once and returns what to do with each
// further row: the row of the answer. sep separates the columns that are read, a comma those of the answers. Nothing half is left behind: the file with the answers gets its name at the end.
func (j detectJob) run(sep rune, header []string, answer func(first []string) (func(row []string) ([]string, error), error)) (err error) {
	in, err := os.Open(j.in)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(j.out), 0o755); err != nil {
		return fmt.Errorf("make the folder for the answers: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(j.out), ".detect-*")
	if err != nil {
		return fmt.Errorf("write the answers: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	err = errors.Join(j.rows(in, tmp, sep, header, answer), tmp.Chmod(0o644), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), j.out)
}

func (j detectJob) rows(in io.Reader, out io.Writer, sep rune, header []string, answer func(first []string) (func(row []string) ([]string, error), error)) error {
	r, w := csv.NewReader(in), csv.NewWriter(out)
	r.Comma, r.ReuseRecord = sep, true
	first, err := r.Read()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: the file is empty: its first row must name the columns", j.in)
	} else if err != nil {
		return fmt.Errorf("%s: %w", j.in, err)
	}
	first = slices.Clone(first)
	first[0] = strings.TrimPrefix(first[0], "\ufeff") // as spreadsheets write it
	each, err := answer(first)
	if err != nil {
		return fmt.Errorf("%s: %w", j.in, err)
	}
	_ = w.Write(header) // what went wrong is kept until Flush
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("%s: %w", j.in, err)
		}
		line, _ := r.FieldPos(0)
		got, err := each(row)
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", j.in, line, err)
		}
		_ = w.Write(got)
	}
	w.Flush()
	return w.Error()
}

// columnNamed is the place of a column, or a mistake that says which there are.
func columnNamed(first []string, name string) (int, error) {
	if i := slices.Index(first, name); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("line 1: there is no column %q, only %q", name, first)
}

// columnsNamed are the places of several columns.
func columnsNamed(first, names []string) (of []int, err error) {
	of = make([]int, len(names))
	for i, name := range names {
		if of[i], err = columnNamed(first, name); err != nil {
			return nil, err
		}
	}
	return of, nil
}

// separator reads what separates the columns of the files.
func separator(text string) (rune, error) {
	sep, size := utf8.DecodeRuneInString(text)
	if size == 0 || size != len(text) || slices.Contains([]rune{'"', '\r', '\n', utf8.RuneError}, sep) {
		return 0, &problemsError{[]fleet.Problem{{Path: "--sep", Message: fmt.Sprintf("%q is not one character that can separate columns", text)}}}
	}
	return sep, nil
}
