package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"aftercare/configs"
	"aftercare/internal/fleet"
	"aftercare/internal/rules/score"
)

func newScore() *cobra.Command {
	var j scoreJob
	cmd := &cobra.Command{
		Use:   "score {--truth FILE | --households FILE} --findings FILE",
		Short: "Compare the findings of a replay with what was true: warned before failure, lead time, false alarms; needs no server",
		Long: `Compares what "aftercare replay --findings" wrote with the truth that "firmware-sim simulate" wrote beside its messages.

A condition is warned of if a rule that speaks of its kind tells its owner from the condition's onset on and before its failure; late if only
between failure and end; else missed. Told means: a finding that is live (the device is not uploading its past), new or of a higher severity than
before, of kind fault, maintenance or safety at severity "watch" or above, which is what owners hear of. For rules of usage and experience any live
finding counts. A finding that was opened before the onset warns of nothing: it was false then.

False is every telling that would reach an owner while the device has no condition that its rule speaks of, whatever else is the matter with it, healthy
oddities among them. Both are counted by telling: a severity that is raised counts again.

Conditions without a sign before they fail, or with one of minutes, are abrupt: they are shown apart and in the total, and --min-warned is about
the others. Habits never fail: what counts is whether they were noticed. Mishaps are soon over: telling of them is not false, and counted apart. Which rules speak of which kind says the map (configs/sim/score.yaml, or
--map): rules that are in no kind, and kinds without a rule, are named. configs/sim/README.md explains more.

With --households it judges instead what people heard, from the list of people that was replayed, the messages and the findings: how many messages a household had in a
year by topic, and that none rang in quiet hours (21 to 7 on the person's wall) but for safety, none was about something that was over, none came twice, no
household had more than its budget, and each that was asked for ended in one way. The files of several parts of a fleet are named one after the other.

Exit code: 1 if --min-warned or --max-false is not reached, or one of those promises was broken.`,
		Example: `  aftercare score --truth fleet.truth.jsonl --findings findings.jsonl --messages messages.jsonl --details
  aftercare score --truth fleet.truth.jsonl --findings findings.jsonl --min-warned 0.95 --max-false 0.05
  aftercare score --households fleet.people.csv --findings findings.jsonl --messages messages.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			if !(j.minWarned >= 0 && j.minWarned <= 1) {
				return &problemsError{[]fleet.Problem{{Path: "--min-warned", Message: fmt.Sprintf("%g is not a share from 0 to 1", j.minWarned)}}}
			}
			if len(j.households) > 0 {
				return j.runHouseholds(cmd.OutOrStdout())
			}
			if j.truth == "" || len(j.findings) != 1 || len(j.messages) > 1 {
				return &problemsError{[]fleet.Problem{{Path: "--truth", Message: "want one truth, one file of findings and at most one of messages"}}}
			}
			for _, r := range files.Rules.Rules() {
				j.rules = append(j.rules, r.ID)
			}
			return j.run(cmd.OutOrStdout())
		},
	}
	configFlags(cmd, "models", "rules.dir")
	f := cmd.Flags()
	f.StringVar(&j.truth, "truth", "", "`file` of what was true, one JSON object a line")
	f.StringSliceVar(&j.households, "households", nil, "`file` of people (CSV): judge what they heard; once for each part of the fleet")
	f.StringSliceVar(&j.findings, "findings", nil, "`file` of findings, as replay writes it")
	f.StringSliceVar(&j.messages, "messages", nil, "`file` of messages, as replay writes it: also judge what owners heard")
	f.StringVar(&j.mapping, "map", "", "`file` that says which rules speak of which kind (default: the shipped configs/sim/score.yaml)")
	f.BoolVar(&j.json, "json", false, "print all of it as JSON")
	f.BoolVar(&j.details, "details", false, "name false findings with their values, and conditions that were not told in time")
	f.Float64Var(&j.minWarned, "min-warned", 0, "smallest share of conditions with a sign before that have to be warned of, 0 to 1")
	f.Float64Var(&j.maxFalse, "max-false", -1, "most false tellings to owners a device-month; below 0: any")
	_ = cmd.MarkFlagRequired("findings")
	cmd.MarkFlagsMutuallyExclusive("truth", "households")
	return cmd
}

type scoreJob struct {
	truth, mapping                 string
	households, findings, messages []string
	json, details                  bool
	minWarned, maxFalse            float64
	rules                          []string // that run
}

func (j *scoreJob) run(out io.Writer) error {
	in, err := j.read()
	if err != nil {
		return err
	}
	r := score.Judge(in)
	if j.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", " ")
		err = enc.Encode(r)
	} else {
		err = r.Print(out, j.details)
	}
	if err != nil {
		return err
	}
	var errs []error
	if r.Signed.Share < j.minWarned {
		errs = append(errs, fmt.Errorf("%.1f %% were warned of before they failed, want at least %.1f %%", 100*r.Signed.Share, 100*j.minWarned))
	}
	if j.maxFalse >= 0 && r.FalsePerUnit > j.maxFalse {
		errs = append(errs, fmt.Errorf("%.4f false tellings a device-month, want at most %.4f", r.FalsePerUnit, j.maxFalse))
	}
	return errors.Join(errs...)
}

func (j *scoreJob) read() (in score.Input, err error) {
	in.Rules = j.rules
	text, err := configs.FS.ReadFile("sim/score.yaml")
	if j.mapping != "" {
		text, err = os.ReadFile(j.mapping)
	}
	if err == nil {
		in.Map, err = score.ReadMap(text)
	}
	if err != nil {
		return in, err
	}
	told := ""
	if len(j.messages) > 0 {
		told = j.messages[0]
	}
	return in, readEach([]scoreFile{
		{j.truth, func(r io.Reader) (err error) { in.Truth, err = score.ReadTruth(r); return err }},
		{j.findings[0], func(r io.Reader) (err error) { in.Findings, in.Span, err = score.ReadFindings(r); return err }},
		{told, func(r io.Reader) (err error) { in.Messages, err = score.ReadMessages(r); return err }},
	})
}

// scoreFile is a file and what reads it.
type scoreFile struct {
	path string
	read func(io.Reader) error
}

func readEach(files []scoreFile) error {
	for _, f := range files {
		if f.path == "" {
			continue
		}
		file, err := os.Open(f.path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.read(file), file.Close()); err != nil {
			return fmt.Errorf("read %s: %w", f.path, err)
		}
	}
	return nil
}

// runHouseholds judges what people heard.
func (j *scoreJob) runHouseholds(out io.Writer) error {
	if n := len(j.households); len(j.findings) != n || len(j.messages) != n {
		return &problemsError{[]fleet.Problem{{Path: "--households", Message: fmt.Sprintf("%d lists of people, %d files of findings and %d of messages: want as many of each",
			n, len(j.findings), len(j.messages))}}}
	}
	parts := make([]score.Homes, len(j.households))
	for i := range parts {
		p := &parts[i]
		if err := readEach([]scoreFile{
			{j.households[i], func(r io.Reader) (err error) { p.People, err = score.ReadPeople(r); return err }},
			{j.findings[i], func(r io.Reader) (err error) { p.Findings, p.Span, err = score.ReadFindings(r); return err }},
			{j.messages[i], func(r io.Reader) (err error) { p.Messages, err = score.ReadMessages(r); return err }},
		}); err != nil {
			return err
		}
	}
	h := score.JudgeHouseholds(score.DefaultRules(), parts...)
	var err error
	if j.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", " ")
		err = enc.Encode(h)
	} else {
		err = h.Print(out)
	}
	return errors.Join(err, h.Err())
}
