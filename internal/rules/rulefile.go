package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"time"

	"aftercare/internal/fleet"
	"go.yaml.in/yaml/v3"
)

// defaultEventClear is how long after its last event an event rule without a clear condition ends.
const defaultEventClear = 24 * time.Hour

var kinds = []string{
	string(fleet.KindFault), string(fleet.KindMaintenance), string(fleet.KindSafety), string(fleet.KindUsage), string(fleet.KindExperience),
}

var severities = []string{
	fleet.Info.String(), fleet.Watch.String(), fleet.Due.String(), fleet.Fault.String(), fleet.Danger.String(),
}

// located is an expression with its place in the file.
type located struct {
	source
	node *yaml.Node
	path string
}

// draft is a rule before it is compiled.
type draft struct {
	*Rule
	o          object // where it was read
	r          *reader
	path       string
	to         audience
	bad        bool // it has a mistake
	when       located
	levels     []located // of Rule.Levels
	clear      located
	evidence   []located
	normal     map[string]located
	normals    []string // the keys of normal, as written
	season     season
	causeNodes []*yaml.Node
	limitsUsed map[string]bool
}

var ruleKeys = []string{
	"id", "kind", "severity", "problem", "component", "applies", "limits", "when", "for", "levels", "step_down", "min_hold",
	"clear", "clear_for", "flapping", "cause", "season", "in_storage", "evidence", "normal", "text",
}

// rule reads a rule. It is compiled when all are read, because rules look at each other.
func (l *loader) rule(r *reader, n *yaml.Node, path, pack string, to audience) {
	before := len(l.problems)
	o, ok := r.object(n, path, ruleKeys...)
	if !ok {
		return
	}
	d := &draft{Rule: &Rule{Pack: pack, File: r.file, Line: nodeLine(n)}, o: o, r: r, path: path, to: to, limitsUsed: map[string]bool{}}
	l.identity(o, d)
	d.For, d.ClearFor, d.MinHold, d.StepDown = l.span(o, "for"), l.span(o, "clear_for"), l.span(o, "min_hold"), l.span(o, "step_down")
	readLimits(o, d)
	l.readSteps(o, d)
	d.clear = expression(o, "clear", false)
	d.When, d.Clear = d.when.text, d.clear.text
	d.readScopes(o)
	d.readConduct(o)
	for i, item := range o.list("evidence") {
		d.evidence = append(d.evidence, readExpr(r, item, fmt.Sprintf("%s.evidence[%d]", path, i)))
	}
	d.readNormal(o)
	d.Texts = readTexts(o)
	d.bad = len(l.problems) > before
	l.drafts = append(l.drafts, d)
}

// finish compiles a rule for its models, if it has no mistake.
func (l *loader) finish(d *draft) {
	if d.bad && (d.when.source.node == nil && len(d.levels) == 0) {
		return // without a condition there is nothing to compile
	}
	before := len(l.problems)
	told := append([]telling{}, l.check(d.r, d)...)
	l.strangers(d)
	if d.bad = d.bad || len(l.problems) > before; d.bad {
		told = nil // what evidence the rule will have is not known; the rest of its texts is looked at all the same
	}
	checkTemplates(d.o, told)
	if d.bad || len(l.problems) > before || len(d.Models) == 0 { // without models the pack has a mistake that was noted
		return
	}
	d.hash()
	for _, id := range d.Models {
		l.builder(id).add(d)
	}
	l.rules = append(l.rules, d.Rule)
}

func (l *loader) identity(o object, d *draft) {
	r := o.r
	id, n := o.text("id", true)
	if n != nil && !validID(id) {
		r.problem(n, o.path+".id", idHint, "id %q is not a name", clip(id))
	} else if first := l.seen[id]; n != nil && first != "" {
		r.problem(n, o.path+".id", "", "rule %q exists already, in %s", id, first)
	} else if n != nil {
		l.seen[id] = fmt.Sprintf("%s:%d", r.file, n.Line)
	}
	d.ID, d.Problem = id, id
	if p, n := o.text("problem", false); n != nil {
		d.Problem = p
		if !validID(p) {
			r.problem(n, o.path+".problem", idHint, "problem %q is not a name", clip(p))
		}
	}
	if k, n := o.text("kind", true); n != nil {
		d.Kind = fleet.Kind(k)
		if !contains(kinds, k) {
			r.problem(n, o.path+".kind", didYouMean(k, kinds), "unknown kind %q", clip(k))
		}
	}
}

func readSeverity(o object, s *fleet.Severity) {
	if word, n := o.text("severity", true); n != nil {
		if err := s.UnmarshalText([]byte(word)); err != nil {
			o.r.problem(n, join(o.path, "severity"), didYouMean(word, severities), "unknown severity %q", clip(word))
		}
	}
}

func expression(o object, key string, required bool) located {
	_, n := o.text(key, required)
	if n == nil {
		return located{}
	}
	return readExpr(o.r, n, join(o.path, key))
}

func readExpr(r *reader, n *yaml.Node, path string) located {
	v := resolve(n)
	if v.Kind != yaml.ScalarNode {
		r.problem(n, path, "", "want an expression, found %s", kindWord(v))
		return located{}
	}
	src, err := parseExpr(v.Value)
	if err != nil {
		r.problemIn(v, path, *err)
		return located{}
	}
	return located{source: src, node: v, path: path}
}

// problemIn places a mistake inside an expression that may span lines of the file.
func (r *reader) problemIn(n *yaml.Node, path string, e exprError) {
	line := n.Line
	if n.Style == yaml.LiteralStyle {
		line += 1 + e.line
	}
	r.problem(&yaml.Node{Line: line}, path, e.hint, "%s", e.message)
}

func (d *draft) readNormal(o object) {
	n := o.keys["normal"]
	if n == nil {
		return
	}
	m, ok := o.r.object(n, join(o.path, "normal"))
	if !ok {
		return
	}
	d.normal = map[string]located{}
	for _, k := range m.ordered() {
		d.normal[k] = readExpr(o.r, m.keys[k], m.path+"."+clip(k))
		d.normals = append(d.normals, k)
	}
}

var textParts = []string{"what", "why", "otherwise", "do", "cost", "clear"}

// readTexts reads what the rule says to people. English and German are both first languages: both must be complete.
func readTexts(o object) fleet.Texts {
	n := o.keys["text"]
	if n == nil {
		o.r.problem(o.node, join(o.path, "text"), "text: {en: {...}, de: {...}}", "text is missing")
		return nil
	}
	langs, ok := o.r.object(n, join(o.path, "text"))
	if !ok {
		return nil
	}
	texts := fleet.Texts{}
	for _, lang := range []string{"en", "de"} {
		if langs.keys[lang] == nil {
			o.r.problem(n, join(langs.path, lang), "", "the text in language %q is missing", lang)
		}
	}
	for _, lang := range langs.ordered() {
		if len(lang) != 2 {
			o.r.problem(langs.keys[lang], join(langs.path, lang), "en, de, ...", "%q is not a language of two letters", clip(lang))
			continue
		}
		t, ok := o.r.object(langs.keys[lang], join(langs.path, lang), textParts...)
		if !ok {
			continue
		}
		part := func(key string) string {
			s, _ := t.text(key, key != "cost")
			return s
		}
		texts[lang] = fleet.Text{
			What: part("what"), Why: part("why"), Otherwise: part("otherwise"), Do: part("do"), Cost: part("cost"), Clear: part("clear"),
		}
	}
	return texts
}

// hash names the rule's content. The logic hash covers only what decides when it fires and clears. What a rule does not use
// is not in it: a new key does not change the version of old rules.
func (d *draft) hash() {
	logic := []any{d.ID, d.When, d.For, d.Clear, d.ClearFor}
	more := map[string]any{}
	put := func(key string, used bool, v any) {
		if used {
			more[key] = v
		}
	}
	put("levels", len(d.Levels) > 0, d.Levels)
	put("step_down", d.StepDown > 0, d.StepDown)
	put("min_hold", d.MinHold > 0, d.MinHold)
	put("flapping", d.Flapping != defaultFlapping, d.Flapping)
	put("limits", len(d.Limits) > 0, d.Limits)
	put("cause", len(d.Cause) > 0, d.Cause)
	put("season", d.season.set, d.Season)
	put("in_storage", d.InStorage, true)
	if len(more) > 0 {
		logic = append(logic, more)
	}
	ev := make([]string, 0, len(d.evidence)+2*len(d.normals))
	for _, e := range d.evidence {
		ev = append(ev, e.text)
	}
	normals := slices.Clone(d.normals)
	sort.Strings(normals)
	for _, k := range normals {
		ev = append(ev, k, d.normal[k].text)
	}
	d.logic = digest(logic)
	all := []any{logic, d.Kind, d.Severity, d.Problem, d.Pack, ev, d.Texts}
	for _, s := range d.Scopes {
		all = append(all, s)
	}
	if d.Component != "" {
		all = append(all, "component", d.Component)
	}
	d.Version = digest(all)
}

func digest(v any) string {
	b, err := json.Marshal(v) // maps are written sorted: the form is canonical
	if err != nil {
		panic("rules: hash: " + err.Error()) // strings and numbers only: cannot happen
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])[:12]
}
