package app

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"aftercare/configs"
	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/registry"
	"aftercare/internal/rules"
	"aftercare/internal/words"
)

// Files is what people write beside the configuration: model profiles and rule packs, read and compiled.
type Files struct {
	Models []fleet.Model
	Rules  *rules.Set
}

// LoadFiles reads the model profiles and rule packs that cfg names, or the shipped ones. It opens no socket and returns every
// mistake; Files is whole only when there is none.
func LoadFiles(cfg config.Config) (*Files, []fleet.Problem) {
	for key, dir := range map[string]string{"models": cfg.Models, "rules.dir": cfg.Rules.Dir} {
		if info, err := os.Stat(dir); dir != "" && (err != nil || !info.IsDir()) {
			return &Files{}, []fleet.Problem{{Path: key, Message: fmt.Sprintf("%q is not a folder that can be read", dir)}}
		}
	}
	models, problems := registry.LoadModels(folder(cfg.Models, "models"))
	problems = located(problems, cfg.Models, "models")
	set, more := cfg.Rules.Load(folder(cfg.Rules.Dir, "rules"), models)
	more = located(more, cfg.Rules.Dir, "rules")
	if problems = append(problems, more...); set != nil {
		problems = append(problems, located(textProblems(set), cfg.Rules.Dir, "rules")...)
	}
	return &Files{Models: models, Rules: set}, problems
}

// textProblems renders every rule's texts with sample values and says what a reader would stumble over.
func textProblems(set *rules.Set) (out []fleet.Problem) {
	for _, r := range set.Rules() {
		for _, lang := range slices.Sorted(maps.Keys(r.Texts)) {
			for line := range strings.Lines(message(words.Check(r.Texts[lang], lang))) {
				out = append(out, fleet.Problem{File: r.File, Line: r.Line, Path: r.ID + ".text." + lang, Message: strings.TrimSpace(line)})
			}
		}
	}
	return out
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// located puts the folder in front of the files' names.
func located(problems []fleet.Problem, dir, shipped string) []fleet.Problem {
	if dir == "" {
		dir = path.Join("configs", shipped)
	}
	for i := range problems {
		problems[i].File = filepath.Join(dir, problems[i].File)
	}
	return problems
}

func folder(dir, shipped string) fs.FS {
	if dir != "" {
		return os.DirFS(dir)
	}
	sub, err := fs.Sub(configs.FS, shipped)
	if err != nil { // the name is one of ours
		panic(err)
	}
	return sub
}
