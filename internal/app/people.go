package app

import "aftercare/internal/rules"

// component is the one that a rule in force is about, for what the warranty terms say of it; empty if none.
func (r *ruleset) component(rule string) string {
	a := r.active.Load()
	if c, ok := a.set.Rule(rule); ok {
		return c.Component
	}
	if a.before != nil {
		return componentOf(a.before)(rule)
	}
	return ""
}

func componentOf(set *rules.Set) func(rule string) string {
	return func(rule string) string {
		if r, ok := set.Rule(rule); ok {
			return r.Component
		}
		return ""
	}
}
