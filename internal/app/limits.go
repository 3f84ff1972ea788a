package app

import (
	"maps"
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
			if _, ok := r.Limits[limit]; ok {
				return nil
			}
			names := slices.Sorted(maps.Keys(r.Limits))
			if len(names) == 0 {
				return fleet.Errorf(fleet.CodeInvalid, "limit %q: rule %q names no limits", name, id)
			}
			return fleet.Errorf(fleet.CodeInvalid, "limit %q: rule %q has no such limit%s", name, id, hint(rules.Suggest(limit, names)))
		}
	}
	return fleet.Errorf(fleet.CodeInvalid, "limit %q: no rule %q runs for model %s%s", name, id, model, hint(rules.Suggest(id, ids)))
}

func hint(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}
