package app

import (
	"io/fs"
	"maps"
	"os"
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
	models, problems := registry.LoadModels(folder(cfg.Models, "models"))
	set, more := cfg.Rules.Load(folder(cfg.Rules.Dir, "rules"), models)
	if problems = append(problems, more...); set != nil {
		problems = append(problems, textProblems(set)...)
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
