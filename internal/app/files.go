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

// Files is what people write beside the configuration: model profiles, rule packs, the templates of messages and warranty terms, read
// and compiled.
type Files struct {
	Models    []fleet.Model
	Rules     *rules.Set
	Templates *words.Templates
	Warranty  *registry.Terms
}

// LoadFiles reads the model profiles, rule packs, templates and warranty terms that cfg names, or the shipped ones. It opens no socket and
// returns every mistake; Files is whole only when there is none.
func LoadFiles(cfg config.Config) (*Files, []fleet.Problem) {
	for key, dir := range map[string]string{"models": cfg.Models, "rules.dir": cfg.Rules.Dir, "templates": cfg.Templates, "warranty": cfg.Warranty} {
		if problems := unreadable(key, dir); len(problems) > 0 {
			return &Files{}, problems
		}
	}
	models, problems := registry.LoadModels(folder(cfg.Models, "models"))
	problems = located(problems, cfg.Models, "models")
	set, more := cfg.Rules.Load(folder(cfg.Rules.Dir, "rules"), models)
	more = located(more, cfg.Rules.Dir, "rules")
	if problems = append(problems, more...); set != nil {
		problems = append(problems, located(textProblems(set, models), cfg.Rules.Dir, "rules")...)
	}
	named := models
	if cfg.Warranty == "" && cfg.Models != "" {
		named = nil // the shipped terms name shipped models
	}
	terms, more := registry.LoadWarranty(folder(cfg.Warranty, "warranty"), named)
	problems = append(problems, located(more, cfg.Warranty, "warranty")...)
	templates, more := loadTemplates(cfg.Templates)
	return &Files{Models: models, Rules: set, Templates: templates, Warranty: terms}, append(problems, more...)
}

// loadTemplates reads the shipped templates and over them those of the folder, file by file, and renders each with sample data.
func loadTemplates(dir string) (*words.Templates, []fleet.Problem) {
	layers := []fs.FS{folder("", "templates")}
	if dir != "" {
		layers = append(layers, os.DirFS(dir))
	}
	t, problems := words.LoadTemplates(layers...)
	for i := range problems {
		p := &problems[i]
		if _, err := fs.Stat(layers[len(layers)-1], p.File); dir != "" && err == nil {
			p.File = filepath.Join(dir, p.File)
		} else {
			p.File = filepath.Join("configs", "templates", p.File)
		}
	}
	return t, problems
}

// unreadable says what is wrong with a folder that a setting names; an empty name stands for the shipped files.
func unreadable(key, dir string) []fleet.Problem {
	if info, err := os.Stat(dir); dir == "" || err == nil && info.IsDir() {
		return nil
	}
	return []fleet.Problem{{Path: key, Message: fmt.Sprintf("%q is not a folder that can be read", dir)}}
}

// textProblems renders every rule's texts as each of its models and, for rules about codes, each code's entry in the model's
// dictionary fill them, and says what a reader would stumble over.
func textProblems(set *rules.Set, models []fleet.Model) (out []fleet.Problem) {
	for _, r := range set.Rules() {
		for _, lang := range slices.Sorted(maps.Keys(r.Texts)) {
			told := map[string]bool{}
			tell := func(err error, of string) {
				for line := range strings.Lines(message(err)) {
					if line = strings.TrimSpace(line); !told[line] {
						told[line] = true
						out = append(out, fleet.Problem{File: r.File, Line: r.Line, Path: r.ID + ".text." + lang, Message: line + of})
					}
				}
			}
			tell(words.Check(r.Texts[lang], lang), "")
			for i := range models {
				if m := &models[i]; slices.Contains(r.Models, m.ID) {
					for _, code := range codesOf(r, m) {
						tell(words.CheckFor(r.Texts[lang], lang, m, code), " (code "+code+" of "+m.ID+")")
					}
				}
			}
		}
	}
	return out
}

// codesOf returns the codes of a model's dictionary that a rule's condition names.
func codesOf(r *rules.Rule, m *fleet.Model) (codes []string) {
	for _, c := range m.FaultCodes {
		if strings.Contains(r.When, `"`+c.Code+`"`) || strings.Contains(r.When, "'"+c.Code+"'") {
			codes = append(codes, c.Code)
		}
	}
	return codes
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
