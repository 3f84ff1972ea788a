package fleet

import (
	"strconv"
	"time"
)

// FieldType is the type a model's profile fixes for a field. The profile alone decides it: what a payload happens to hold
// (7 or 7.0) never does, because InfluxDB refuses a field that changes its type.
type FieldType uint8

// The field types. Numbers that no profile names are floats.
const (
	Float FieldType = iota
	Integer
	Boolean
	String
)

// String returns the word used in profiles: float, integer, boolean, string.
func (t FieldType) String() string {
	return [...]string{"float", "integer", "boolean", "string"}[t]
}

// UnknownFields says what ingest does with a field that the profile does not name.
type UnknownFields uint8

// The policies for unknown fields.
const (
	KeepUnknown   UnknownFields = iota // store it (numbers as floats)
	DropUnknown                        // leave it out and count it
	RefuseUnknown                      // quarantine the whole reading
)

// FieldSpec describes one field of a model's telemetry.
type FieldSpec struct {
	Name     string
	Type     FieldType
	Unit     string // "°C", "s", "%", "1" for none
	Min, Max float64
	HasMin   bool
	HasMax   bool
	Required bool
	Label    Words // what a person calls it
}

// FaultCode is one entry of a model's dictionary of codes.
type FaultCode struct {
	Code    string
	Meaning Words
	Cause   Words
	Remedy  Words
	Part    string
}

// Component is a part of the product that wears, and the field that counts its use.
type Component struct {
	Name    string // "drain-pump"
	Label   Words
	Counter string  // integer or float field that only grows while the part is in, or what rules count: hours(running); empty: none
	Life    float64 // what the part is made for, in the counter's unit; 0: not known
	Part    string  // spare part number or name
}

// CommandSpec is a command the model's devices understand.
type CommandSpec struct {
	Name       string
	Label      Words
	Disruptive bool // it interrupts what the owner is doing: a device may answer "not now" or refuse
}

// Words is a short text by language ("en", "de"). English is always present in shipped files.
type Words map[string]string

// In returns the text for a locale ("de-AT" looks up "de"), English if there is none.
func (w Words) In(locale string) string {
	if len(locale) >= 2 {
		if s, ok := w[locale[:2]]; ok {
			return s
		}
	}
	return w["en"]
}

// Model is a product model's profile: what its devices send and what it means.
type Model struct {
	ID         string
	Category   string
	Label      Words // what a person calls the thing: "washing machine"
	Interval   time.Duration
	Format     Format // of payloads whose content type says nothing else
	Unknown    UnknownFields
	Fields     []FieldSpec
	FaultCodes []FaultCode
	Components []Component
	Commands   []CommandSpec
	// Chart names the fields shown first on a device's page.
	Chart []string
}

// Field returns the specification of a field, or nil.
func (m *Model) Field(name string) *FieldSpec {
	for i := range m.Fields {
		if m.Fields[i].Name == name {
			return &m.Fields[i]
		}
	}
	return nil
}

// Command returns the specification of a command, or nil.
func (m *Model) Command(name string) *CommandSpec {
	for i := range m.Commands {
		if m.Commands[i].Name == name {
			return &m.Commands[i]
		}
	}
	return nil
}

// Problem is one mistake in a file a person wrote: where it is, what is wrong and what would be right.
type Problem struct {
	File    string
	Line    int    // 1-based; 0 when the place is known by path only
	Path    string // the key's path: "rules[2].when"
	Message string
	Hint    string // what to write instead; may be empty
}

// String returns "file:line: path: message (hint)" with the parts that are known.
func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
	}
	if s != "" {
		s += ": "
	}
	if p.Path != "" {
		s += p.Path + ": "
	}
	s += p.Message
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}
