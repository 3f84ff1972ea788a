package wire

import (
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Readings makes readings of the metrics of p, whose names must be resolved, and calls yield for each. Device, Model and
// Class are the caller's to set.
//
// All current values of a payload are one reading at the payload's time, because a node stamps each metric some
// milliseconds apart and rules look at values together; where there is no such time it is the newest of theirs. A metric
// that occurs twice among them, and every historical one, goes by its own time: what shares a time shares a reading.
// Readings come in the order of time. Left out are bdSeq, "Node Control/" and "Device Control/", what is null, transient or
// unsupported. "boot" and "seq" number the reading as in the JSON format. A payload with nothing left yields nothing.
//
// A refused value, an unresolved name or a name that cannot be mapped is an error (*DecodeError); what came before has been
// yielded. The reading aliases the payload and the decoder's buffers and is valid until yield returns.
func (d *SparkplugDecoder) Readings(p *SparkplugPayload, yield func(r *fleet.Reading) error) error {
	d.order = d.order[:0]
	twice := d.repeated(p)
	newest := p.Time
	for i := range p.Metrics {
		m := &p.Metrics[i]
		if m.leftOut() {
			continue
		}
		d.order = append(d.order, i)
		if p.Time.IsZero() && !m.Historical && m.Time.After(newest) {
			newest = m.Time
		}
	}
	at := func(i int) time.Time {
		m := &p.Metrics[i]
		if !m.Time.IsZero() && (m.Historical || twice[m.Name]) {
			return m.Time
		}
		return newest
	}
	slices.SortStableFunc(d.order, func(a, b int) int { return at(a).Compare(at(b)) })
	for from := 0; from < len(d.order); {
		t := at(d.order[from])
		d.begin()
		d.joined = d.joined[:0]
		d.reading.Time = t
		to := from
		for ; to < len(d.order) && at(d.order[to]).Equal(t); to++ {
			if err := d.metric(&p.Metrics[d.order[to]]); err != nil {
				return err
			}
		}
		from = to
		if len(d.reading.Fields) == 0 && !d.reading.HasSeq {
			continue
		}
		if err := yield(&d.reading); err != nil {
			return err
		}
	}
	return nil
}

func (m *SparkplugMetric) leftOut() bool {
	return m.Null && m.Err == nil || m.Transient || m.Unsupported || m.Name == "bdSeq" ||
		strings.HasPrefix(m.Name, "Node Control/") || strings.HasPrefix(m.Name, "Device Control/")
}

// repeated returns the names that current metrics bear twice, nil for none.
func (d *SparkplugDecoder) repeated(p *SparkplugPayload) map[string]bool {
	d.order = d.order[:0]
	for i := range p.Metrics {
		if m := &p.Metrics[i]; !m.Historical && !m.leftOut() {
			d.order = append(d.order, i)
		}
	}
	slices.SortFunc(d.order, func(a, b int) int { return strings.Compare(p.Metrics[a].Name, p.Metrics[b].Name) })
	var twice map[string]bool
	for i := 1; i < len(d.order); i++ {
		if name := p.Metrics[d.order[i]].Name; name == p.Metrics[d.order[i-1]].Name {
			if twice == nil {
				twice = map[string]bool{}
			}
			twice[name] = true
		}
	}
	d.order = d.order[:0]
	return twice
}

func (d *SparkplugDecoder) metric(m *SparkplugMetric) error {
	if m.Err != nil {
		return m.Err
	}
	if m.Name == "" {
		return refuse(ReasonName, "a metric without a name (alias %d)", m.Alias)
	}
	name, ok := d.fieldName(m.Name)
	if !ok {
		return refuse(ReasonName, "metric %.80q cannot be a field's name: letters, digits, '.', '_', '-', '/' and ' ', at most %d, a letter first", m.Name, MaxName)
	}
	return d.put(name, m.Value)
}

// fieldName maps a metric's name to a field's: '/' becomes '.', a space '_', anything else that a field cannot have is
// refused. Names that are the same afterwards are refused as given twice.
func (d *SparkplugDecoder) fieldName(name string) (string, bool) {
	if ValidField(name) {
		return name, true
	}
	if len(name) > MaxName {
		return "", false
	}
	from := len(d.joined)
	for i := range len(name) {
		c := name[i]
		switch c {
		case '/':
			c = '.'
		case ' ':
			c = '_'
		}
		d.joined = append(d.joined, c)
	}
	s := view(d.joined, from)
	return s, ValidField(s)
}
