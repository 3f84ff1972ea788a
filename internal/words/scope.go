package words

import (
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"

	"aftercare/internal/fleet"
)

// scope is what one message's templates can see.
type scope struct {
	locale     Locale
	now        time.Time
	thing      name
	shortThing name
	device     *fleet.Device
	model      *fleet.Model // nil when it is not known
	kind       fleet.Kind
	since      time.Time
	evidence   []fleet.Evidence
	text       fleet.Text   // the rule's
	cover      *fleet.Cover // nil: the device's warranty says it
	letter     *Letter      // of a message with a template; nil: of a rule's text alone
	first      string       // of a message that takes others along: its own first line
	labels     func(key string) string
	gaps       *[]string // the parts that something was missing in
}

// gap notes that something was missing in a part.
func (s *scope) gap(part string) {
	if !slices.Contains(*s.gaps, part) {
		*s.gaps = append(*s.gaps, part)
	}
}

func (r *Renderer) scope(in Input) *scope {
	if in.Case == nil {
		in.Case = &fleet.Case{}
		if in.Device != nil {
			in.Case.Device, in.Case.Model, in.Case.Category = in.Device.Key, in.Device.Model, in.Device.Category
		}
	}
	s := &scope{now: in.Now, device: in.Device, model: r.models[in.Case.Model], kind: in.Case.Kind, gaps: new([]string)}
	person := in.Person
	if person == nil {
		person = &fleet.Person{}
	}
	if s.device == nil {
		s.device = &fleet.Device{Key: in.Case.Device, Model: in.Case.Model, Category: in.Case.Category}
	}
	s.locale = For(person.Locale, person.Zone, s.device.Region)
	s.thing, s.shortThing = things(s.locale.Lang, s.device, s.model)
	s.since = in.Case.OpenedAt
	if e := speaking(in.Case); e != nil {
		s.since, s.evidence = e.OpenedAt, e.Evidence
	}
	s.text = r.texts(in.Case.Rule).In(s.locale.Lang)
	return s
}

// speaking is the episode whose evidence a message shows: the newest of the rule that speaks for the case.
func speaking(c *fleet.Case) *fleet.Episode {
	for i := len(c.Episodes) - 1; i >= 0; i-- {
		if c.Episodes[i].Rule == c.Rule {
			return &c.Episodes[i]
		}
	}
	if n := len(c.Episodes); n > 0 {
		return &c.Episodes[n-1]
	}
	return nil
}

// say renders one part. whole is false when something had to be left out: a value was missing or the template is broken.
func (s *scope) say(source string) (text string, whole bool) {
	if strings.TrimSpace(source) == "" {
		return "", true
	}
	raw, err := s.execute(source)
	if err != nil {
		return "", false
	}
	return assemble(raw)
}

// execute returns the template's output, values still inside their marks.
func (s *scope) execute(source string) (string, error) {
	t, err := template.New("text").Option("missingkey=error").Funcs(s.funcs()).Parse(dropMarks(source))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	data := map[string]phrase{"Thing": phrase(s.thing.start), "thing": phrase(s.thing.mid)}
	if err := t.Execute(&b, data); err != nil {
		return "", err
	}
	return b.String(), nil
}

func (s *scope) funcs() template.FuncMap {
	code := func(pick func(*fleet.FaultCode) string) func() phrase {
		return func() phrase {
			if c := s.faultCode(); c != nil {
				return phrase(strings.TrimRight(Clean(pick(c), 200), "."))
			}
			return ""
		}
	}
	lang := s.locale.Lang
	return template.FuncMap{
		"value":  func(n string) phrase { return s.quantity(n, func(q quantities) string { return q.value }) },
		"normal": func(n string) phrase { return s.quantity(n, func(q quantities) string { return q.normal }) },
		"limit":  func(n string) phrase { return s.quantity(n, func(q quantities) string { return q.limit }) },
		"at": func(n string) phrase {
			if e := s.find(n); e != nil {
				return phrase(s.locale.When(s.now, e.At))
			}
			return ""
		},
		"ahead": func(n string) phrase { // of an evidence in hours: "in about three weeks"
			if e := s.find(n); e != nil && e.Text == "" {
				return phrase(s.locale.In(time.Duration(min(max(e.Value, 0), 1e6) * float64(time.Hour))))
			}
			return ""
		},
		"since":  func() phrase { return phrase(s.locale.When(s.now, s.since)) },
		"cover":  s.covered,
		"code":   code(func(c *fleet.FaultCode) string { return c.Meaning.In(lang) }),
		"cause":  code(func(c *fleet.FaultCode) string { return c.Cause.In(lang) }),
		"remedy": code(func(c *fleet.FaultCode) string { return c.Remedy.In(lang) }),
		"part":   code(func(c *fleet.FaultCode) string { return c.Part }),
	}
}

func (s *scope) find(name string) *fleet.Evidence {
	want := squeeze(name)
	for i := range s.evidence {
		if squeeze(s.evidence[i].Name) == want {
			return &s.evidence[i]
		}
	}
	return nil
}

// squeeze makes two spellings of one expression equal: avg(f,"1h") and avg( f, '1h' ).
func squeeze(expr string) string {
	return strings.NewReplacer(" ", "", "\t", "", "'", `"`).Replace(expr)
}

func (s *scope) faultCode() *fleet.FaultCode {
	e := s.find("code")
	if e == nil || s.model == nil {
		return nil
	}
	i := slices.IndexFunc(s.model.FaultCodes, func(c fleet.FaultCode) bool { return c.Code == e.Text })
	if i < 0 {
		return nil
	}
	return &s.model.FaultCodes[i]
}

type quantities struct{ value, normal, limit string }

func (s *scope) quantity(name string, pick func(quantities) string) phrase {
	e := s.find(name)
	if e == nil {
		return ""
	}
	return phrase(pick(s.quantities(e)))
}

// quantities renders an evidence's figures with as many digits as it takes to tell them apart, at least two.
func (s *scope) quantities(e *fleet.Evidence) quantities {
	if e.Text != "" {
		return quantities{value: Clean(e.Text, 60)}
	}
	var spec *fleet.FieldSpec
	if s.model != nil {
		spec = s.model.Field(e.Name)
	}
	if spec != nil && spec.Type == fleet.Boolean {
		return quantities{value: s.locale.YesNo(e.Value != 0)}
	}
	unit := e.Unit
	if unit == "" && spec != nil {
		unit = spec.Unit
	}
	var q quantities
	for digits := 2; digits <= 4; digits++ {
		show := func(v float64, has bool) string {
			if !has {
				return ""
			}
			if isDifference(e.Name) {
				return s.locale.Difference(v, unit, digits)
			}
			return s.locale.Quantity(v, unit, digits)
		}
		q = quantities{show(e.Value, true), show(e.Normal, e.HasNormal), show(e.Limit, e.HasLimit)}
		blur := e.HasNormal && q.value == q.normal && e.Value != e.Normal || e.HasLimit && q.value == q.limit && e.Value != e.Limit
		if !blur {
			break
		}
	}
	return q
}

// isDifference tells a difference of temperatures from a temperature: 5 °C more is 9 °F more, not 41 °F.
func isDifference(expr string) bool {
	return strings.HasPrefix(expr, "delta(") || strings.HasPrefix(expr, "rate(") || strings.Contains(expr, " - ")
}

// plainWhat is the first line when the rule's own does not work.
func (s *scope) plainWhat() string {
	return s.thing.start + " " + pick(s.locale.Lang, plainWhat, s.kind)
}

func (s *scope) plainClear() string {
	if s.locale.Lang == "de" {
		return s.thing.start + " ist wieder in Ordnung."
	}
	return s.thing.start + " is back to normal."
}

// plainWhy lists up to three readings that a person has a word for.
func (s *scope) plainWhy() string {
	lines := make([]string, 0, maxReadings)
	usual, limit := "usually", "limit"
	if s.locale.Lang == "de" {
		usual, limit = "sonst", "Grenze"
	}
	for _, r := range s.readings() {
		line := r.Label + ": " + r.Value
		if r.Normal != "" {
			line += fmt.Sprintf(", %s %s", usual, r.Normal)
		}
		if r.Limit != "" {
			line += fmt.Sprintf(", %s %s", limit, r.Limit)
		}
		if r.When != "" {
			line += " (" + r.When + ")"
		}
		lines = append(lines, Clean(line, 200)+".")
	}
	return strings.Join(lines, " ")
}

// Reading is one value of the evidence in words. Normal, Limit and When may be empty.
type Reading struct{ Label, Value, Normal, Limit, When string }

// maxReadings is how many values a message shows.
const maxReadings = 3

// readings are the first values that a person has a word for.
func (s *scope) readings() []Reading {
	var out []Reading
	for i := range s.evidence {
		e := &s.evidence[i]
		if s.model == nil || len(out) == maxReadings {
			break
		}
		spec := s.model.Field(e.Name)
		if spec == nil || spec.Label.In(s.locale.Lang) == "" {
			continue
		}
		q := s.quantities(e)
		out = append(out, Reading{capital(Clean(spec.Label.In(s.locale.Lang), 60)), q.value, q.normal, q.limit, s.locale.When(s.now, e.At)})
	}
	return out
}
