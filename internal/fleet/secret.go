package fleet

// Secret is a string that prints as redacted in logs, errors and configuration dumps; string(s) is the value. An empty
// one prints as nothing, so that a reader sees whether it is set.
type Secret string

const redacted = "[redacted]"

// String hides the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the value in %#v.
func (s Secret) GoString() string { return `fleet.Secret("` + s.String() + `")` }

// MarshalText hides the value in JSON, YAML and structured logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
