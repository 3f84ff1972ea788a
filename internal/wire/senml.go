package wire

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// SenML (RFC 8428) in both its spellings. The records of one resolved time are one reading; readings come in the order of
// time. How a record becomes a field:
//
//   - Its name is bn+n without the device: bn up to its last ':' or '/' (in a name "urn:dev:..." also '_'), or, without a bn,
//     n up to its last ':'. In the rest '/' and ':' become '.'. All records must name the same device; which one it is says
//     the topic alone. A rest that is empty or cannot be a field's name is refused.
//   - v and bv add up, as s and bs; a sum is the field name + ".sum". vs and vb are texts and booleans, vd stays base64url.
//   - bt+t below 2^28 counts from now; a payload that mentions no time has none, as in the JSON format.
//   - u, bu and ut are ignored: the profile says the unit.
//   - Records named "boot" and "seq" number the reading.
//
// Refused: versions above 10 or that differ, unknown labels that end in "_", records without a value, a name twice at a time.
const (
	senmlVersion  = 10
	senmlRelative = 1 << 28
)

// senmlLabel is a known label of a record.
type senmlLabel uint8

const (
	senmlBver senmlLabel = iota
	senmlBn
	senmlBt
	senmlBu
	senmlBv
	senmlBs
	senmlN
	senmlU
	senmlV
	senmlVs
	senmlVb
	senmlS
	senmlT
	senmlUt
	senmlVd
	senmlUnknown
)

// senmlNames are the labels in JSON.
var senmlNames = [senmlUnknown]string{"bver", "bn", "bt", "bu", "bv", "bs", "n", "u", "v", "vs", "vb", "s", "t", "ut", "vd"}

// senmlLabelOf finds the label of a name. Unknown ones are ignored unless their name ends in "_": then the sender says that
// who does not know it misunderstands the record.
func senmlLabelOf(name string) (senmlLabel, error) {
	for i, s := range senmlNames {
		if s == name {
			return senmlLabel(i), nil
		}
	}
	if strings.HasSuffix(name, "_") {
		return senmlUnknown, refuse(ReasonRequired, "the label %.64q must be understood and is not", name)
	}
	return senmlUnknown, nil
}

// wants returns the type that a label's value has.
func (l senmlLabel) wants() fleet.FieldType {
	switch l {
	case senmlBn, senmlBu, senmlN, senmlU, senmlVs, senmlVd:
		return fleet.String
	case senmlVb:
		return fleet.Boolean
	default:
		return fleet.Float
	}
}

// senmlRecord is one record as it was sent.
type senmlRecord struct {
	has  uint32 // bits by label
	vals [senmlUnknown]fleet.Value
}

func (r *senmlRecord) with(l senmlLabel) bool { return r.has&(1<<l) != 0 }

// set takes a label's value in.
func (r *senmlRecord) set(l senmlLabel, v fleet.Value) error {
	if r.with(l) {
		return refuse(ReasonDuplicate, "%q is given twice in a record", senmlNames[l])
	}
	if v.Type != l.wants() {
		return refuse(ReasonSyntax, "%q is a %s: want a %s", senmlNames[l], v.Type, l.wants())
	}
	r.has |= 1 << l
	r.vals[l] = v
	return nil
}

// senmlPoint is a record resolved.
type senmlPoint struct {
	at    time.Time
	name  string
	value fleet.Value
}

// senmlPack resolves records in the order in which they come.
type senmlPack struct {
	fields
	points  []senmlPoint
	names   []byte // texts of the points
	records int
	base    senmlRecord
	device  string
	named   bool // device is set
	timed   bool // some record mentions a time
}

func (p *senmlPack) reset() {
	*p = senmlPack{fields: p.fields, points: p.points[:0], names: p.names[:0]}
	p.begin()
}

// take resolves a record.
func (p *senmlPack) take(r *senmlRecord, now time.Time) error {
	if p.records++; p.records > MaxReadings {
		return refuse(ReasonTooMany, "more than %d records in one payload", MaxReadings)
	}
	if err := p.inherit(r); err != nil {
		return err
	}
	kinds := 0
	for _, l := range [...]senmlLabel{senmlV, senmlVs, senmlVb, senmlVd} {
		if r.with(l) {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return refuse(ReasonSyntax, "record %d has more than one value", p.records)
	case kinds == 0 && !r.with(senmlS) && !r.with(senmlN):
		return nil // it only sets what the others share
	}
	at, err := p.time(r, now)
	if err != nil {
		return err
	}
	name, err := p.name(r)
	if err != nil {
		return err
	}
	if r.with(senmlS) || p.base.with(senmlBs) && kinds == 0 {
		v, err := p.sum(r.vals[senmlS], p.base.vals[senmlBs])
		if err != nil {
			return err
		}
		from := len(p.names)
		p.names = append(append(p.names, name...), ".sum"...)
		p.points = append(p.points, senmlPoint{at, view(p.names, from), v})
		if kinds == 0 && (r.with(senmlS) || !p.base.with(senmlBv)) {
			return nil
		}
	}
	v, err := p.value(r, kinds)
	if err != nil {
		return err
	}
	p.points = append(p.points, senmlPoint{at, name, v})
	return nil
}

// inherit takes the base values of a record over.
func (p *senmlPack) inherit(r *senmlRecord) error {
	if r.with(senmlBver) {
		v := r.vals[senmlBver]
		n, ok := natural(v)
		if !ok || n == 0 || n > senmlVersion {
			return refuse(ReasonVersion, "SenML version %.20s: known are 1 to %d", v.Str, senmlVersion)
		}
		if had := p.base.vals[senmlBver]; p.base.with(senmlBver) && had.Float != v.Float {
			return refuse(ReasonVersion, "records of SenML version %s and %s in one payload", had.Str, v.Str)
		}
	}
	for _, l := range [...]senmlLabel{senmlBver, senmlBn, senmlBt, senmlBv, senmlBs} {
		if r.with(l) {
			p.base.has |= 1 << l
			p.base.vals[l] = r.vals[l]
		}
	}
	return nil
}

func (p *senmlPack) time(r *senmlRecord, now time.Time) (time.Time, error) {
	if r.with(senmlT) || p.base.with(senmlBt) {
		p.timed = true
	}
	s := p.base.vals[senmlBt].Float + r.vals[senmlT].Float
	switch {
	case s >= senmlRelative:
		return secondsTime(s)
	case s > -senmlRelative:
		return time.UnixMilli(now.Add(time.Duration(s * float64(time.Second))).UnixMilli()), nil
	default:
		return time.Time{}, refuse(ReasonTime, "%v s from now", s)
	}
}

// name resolves a record's name to a field's.
func (p *senmlPack) name(r *senmlRecord) (string, error) {
	bn, n := p.base.vals[senmlBn].Str, r.vals[senmlN].Str
	cut := strings.LastIndexAny(bn, ":/")
	if strings.HasPrefix(bn, "urn:dev:") {
		cut = max(cut, strings.LastIndexByte(bn, '_'))
	}
	device := bn[:cut+1]
	if bn == "" {
		i := strings.LastIndexByte(n, ':')
		device, n = n[:i+1], n[i+1:]
	}
	if p.named && device != p.device {
		return "", refuse(ReasonName, "records of two devices in one payload: %.80q and %.80q", p.device, device)
	}
	p.device, p.named = device, true
	rest := bn[cut+1:]
	if len(rest)+len(n) > MaxName {
		return "", refuse(ReasonName, "the name %.80q is longer than %d characters", rest+n, MaxName)
	}
	from := len(p.names)
	p.names = append(append(p.names, rest...), n...)
	for i := from; i < len(p.names); i++ {
		if c := p.names[i]; c == '/' || c == ':' {
			p.names[i] = '.'
		}
	}
	name := view(p.names, from)
	if !ValidField(name) {
		return "", refuse(ReasonName, "%.80q of the record %.80q cannot be a field's name", name, bn+r.vals[senmlN].Str)
	}
	return name, nil
}

func (p *senmlPack) value(r *senmlRecord, kinds int) (fleet.Value, error) {
	switch {
	case r.with(senmlV), kinds == 0 && p.base.with(senmlBv):
		return p.sum(r.vals[senmlV], p.base.vals[senmlBv])
	case r.with(senmlVs):
		return r.vals[senmlVs], nil
	case r.with(senmlVb):
		return r.vals[senmlVb], nil
	case r.with(senmlVd):
		s := r.vals[senmlVd]
		if strings.ContainsFunc(s.Str, func(c rune) bool {
			return c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
		}) {
			return s, refuse(ReasonString, "vd is not base64url without padding")
		}
		return s, nil
	}
	return fleet.Value{}, refuse(ReasonEmpty, "record %d has no value", p.records)
}

// sum adds a base value; missing ones are zero values. Integers stay exact, and so does what is added to nothing.
func (p *senmlPack) sum(v, base fleet.Value) (fleet.Value, error) {
	if base.Float == 0 && v.Str != "" {
		return v, nil
	}
	if v.Str == "" {
		return base, nil
	}
	a, errA := strconv.ParseInt(v.Str, 10, 64)
	b, errB := strconv.ParseInt(base.Str, 10, 64)
	if c := a + b; errA == nil && errB == nil && (c > a) == (b > 0) {
		return integerValue(&p.names, c), nil
	}
	return floatValue(&p.names, v.Float+base.Float, 64)
}

// finish yields the readings.
func (p *senmlPack) finish(payload []byte, yield func(*fleet.Reading, []byte) error) error {
	if len(p.points) == 0 {
		return refuse(ReasonEmpty, "there is no record with a value")
	}
	slices.SortStableFunc(p.points, func(a, b senmlPoint) int { return a.at.Compare(b.at) })
	for i := 0; i < len(p.points); {
		p.begin()
		at := p.points[i].at
		if p.timed {
			p.reading.Time = at
		}
		for ; i < len(p.points) && p.points[i].at.Equal(at); i++ {
			if err := p.put(p.points[i].name, p.points[i].value); err != nil {
				return err
			}
		}
		if err := yield(&p.reading, payload); err != nil {
			return err
		}
	}
	return nil
}
