package app

import (
	"slices"
	"strings"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
)

// CheckLimit reports whether "rule-id.limit" names a limit of a rule that runs for a model; CodeInvalid says what there is.
func CheckLimit(set *rules.Set, model, name string) error {
	id, limit, _ := strings.Cut(name, ".")
	var ids []string
	for _, r := range set.Rules() {
		if !slices.Contains(r.Models, model) {
			continue
		}
		if ids = append(ids, r.ID); r.ID == id {
			return checkLimitOf(r, limit)
		}
	}
	return fleet.Errorf(fleet.CodeInvalid, "limit %q: no rule %q runs for model %s%s", name, id, model, hint(rules.Suggest(id, ids)))
}

func checkLimitOf(*rules.Rule, string) error { return nil }

func hint(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}
