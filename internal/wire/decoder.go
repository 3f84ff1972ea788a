package wire

import (
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Decoder reads payloads of every format that is chosen by profile or content type. It keeps its buffers from call to call:
// one goroutine at a time. The zero value is ready.
type Decoder struct {
	json      JSONDecoder
	senmlJSON senmlJSON
	senmlCBOR senmlCBOR
	cbor      cborDecoder
	line      lineDecoder
}

// Decode reads a payload of format f and calls yield for each reading in it, with the bytes it was read from (the whole
// payload where a reading's parts are spread over it). now is what relative times count from.
//
// Numbers arrive as Float with their decimal text in Str, so that a 64-bit integer loses nothing: the text as it was sent
// where the format is text. The reading and its strings alias payload and the decoder's buffers and are valid until yield
// returns. Errors are *DecodeError, or what yield returned; readings before the mistake may have been yielded then.
func (d *Decoder) Decode(f fleet.Format, payload []byte, now time.Time, yield func(r *fleet.Reading, raw []byte) error) error {
	switch f {
	case fleet.FormatJSON:
		return d.json.Decode(payload, yield)
	case fleet.FormatSenMLJSON:
		return d.senmlJSON.decode(payload, now, yield)
	case fleet.FormatSenMLCBOR:
		return d.senmlCBOR.decode(payload, now, yield)
	case fleet.FormatCBOR:
		return d.cbor.decode(payload, yield)
	case fleet.FormatLine:
		return d.line.decode(payload, yield)
	default:
		return refuse(ReasonFormat, "a payload of the format %q cannot come on this topic", f)
	}
}

// FormatOf returns the format that an MQTT 5 content type names: a media type, whose parameters are ignored, or one of the
// words of profiles. ok is false for anything else, and for Sparkplug, whose topics alone decide.
func FormatOf(contentType string) (f fleet.Format, ok bool) {
	if i := strings.IndexByte(contentType, ';'); i >= 0 {
		contentType = contentType[:i]
	}
	contentType = strings.TrimSpace(contentType)
	if strings.EqualFold(contentType, "application/json") { // the common case, without an allocation
		return fleet.FormatJSON, true
	}
	switch strings.ToLower(contentType) {
	case "application/senml+json":
		return fleet.FormatSenMLJSON, true
	case "application/senml+cbor":
		return fleet.FormatSenMLCBOR, true
	case "application/cbor":
		return fleet.FormatCBOR, true
	case "application/vnd.influxdata.line-protocol", "text/vnd.influxdata.line-protocol":
		return fleet.FormatLine, true
	}
	f, ok = fleet.ParseFormat(contentType)
	return f, ok && f != fleet.FormatSparkplug
}
