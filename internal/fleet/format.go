package fleet

// Format is how a payload is written.
type Format uint8

// The formats.
const (
	FormatJSON      Format = iota // an object, an array of them, or {"readings":[...]}
	FormatSenMLJSON               // RFC 8428 in JSON
	FormatSenMLCBOR               // RFC 8428 in CBOR
	FormatCBOR                    // a map, or an array of maps, with the keys of the JSON format
	FormatLine                    // InfluxDB line protocol
	FormatSparkplug               // Sparkplug B payloads; by its topics, never by profile alone
)

var formatWords = [...]string{"json", "senml-json", "senml-cbor", "cbor", "line", "sparkplug"}

// String returns the word used in profiles and on the command line: json, senml-json, senml-cbor, cbor, line, sparkplug.
func (f Format) String() string { return formatWords[f] }

// Formats returns the words in order.
func Formats() []string { return append([]string(nil), formatWords[:]...) }

// ParseFormat reads one of the words.
func ParseFormat(s string) (Format, bool) {
	for i, w := range formatWords {
		if w == s {
			return Format(i), true
		}
	}
	return 0, false
}
