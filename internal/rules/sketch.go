package rules

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// centroids is how many different values a bucket of a sketch tells apart.
const centroids = 8

// centroid stands for n values whose mean is v.
type centroid struct {
	v float32
	n uint32
}

// sketch is a window over a field for quantiles: a few weighted values in each of 16 buckets. As long as a bucket has no more
// than 8 values it holds them all (as 32-bit floats), and the quantile is exact; after that the two neighbours that stand for fewest are
// joined, as in the t-digest (Dunning, Software Impacts 7, 2021) with equal weights. It takes at most 1.4 KB.
type sketch struct {
	head int64
	b    [buckets][]centroid
}

const sketchBytes = buckets * (24 + 8*centroids)

func newSketch() memo { return &sketch{head: math.MinInt64 / 2} }

// add puts a value into the bucket of a place (a time, or thousandths of a counter).
func (s *sketch) add(at, width int64, v float64) {
	b := floorDiv(at, width)
	switch {
	case b > s.head:
		for i := max(s.head+1, b-buckets+1); i <= b; i++ {
			s.b[i&(buckets-1)] = s.b[i&(buckets-1)][:0]
		}
		s.head = b
	case b <= s.head-buckets:
		return
	}
	list := &s.b[b&(buckets-1)]
	i, _ := slices.BinarySearchFunc(*list, float32(v), func(c centroid, v float32) int { return cmp.Compare(c.v, v) })
	if len(*list) < centroids {
		*list = slices.Insert(*list, i, centroid{v: float32(v), n: 1})
		return
	}
	var full [centroids + 1]centroid
	copy(full[:], (*list)[:i])
	full[i] = centroid{v: float32(v), n: 1}
	copy(full[i+1:], (*list)[i:])
	k := 0
	for j := 1; j < centroids; j++ {
		if full[j].n+full[j+1].n < full[k].n+full[k+1].n {
			k = j
		}
	}
	full[k] = full[k].with(full[k+1])
	copy(full[k+1:], full[k+2:])
	copy(*list, full[:])
}

func (c centroid) with(o centroid) centroid {
	n := c.n + o.n
	if n < c.n {
		n = math.MaxUint32
	}
	return centroid{v: c.v + (o.v-c.v)*float32(float64(o.n)/(float64(c.n)+float64(o.n))), n: n}
}

// quantile is the value below which a share q of the window's values lies: linear between the two nearest (type 7 of Hyndman and
// Fan, The American Statistician 50(4), 1996), with each centroid in the middle of the values it stands for. total is how many
// values the window has.
func (s *sketch) quantile(q float64, now, width int64) (v, total float64) {
	var first, second [buckets * centroids]centroid
	var ends [buckets]int
	n, runs := 0, 0
	for b := max(s.head, floorDiv(now, width)) - buckets + 1; b <= s.head; b++ {
		if in := s.b[b&(buckets-1)]; len(in) > 0 {
			n += copy(first[n:], in)
			ends[runs], runs = n, runs+1
		}
	}
	if n == 0 {
		return math.NaN(), 0
	}
	list := mergeRuns(first[:n], second[:n], ends[:runs])
	for _, c := range list {
		total += float64(c.n)
	}
	rank := q * (total - 1)
	before, last, lastAt := 0.0, list[0], 0.0
	for i, c := range list {
		at := before + (float64(c.n)-1)/2
		if rank <= at {
			if i == 0 || at == lastAt {
				return float64(c.v), total
			}
			return float64(last.v) + (float64(c.v)-float64(last.v))*(rank-lastAt)/(at-lastAt), total
		}
		before += float64(c.n)
		last, lastAt = c, at
	}
	return float64(last.v), total
}

// mergeRuns sorts a list of sorted runs, each ending before ends; other is as long as list. It is a merge sort that begins with what
// is in order already.
func mergeRuns(list, other []centroid, ends []int) []centroid {
	for len(ends) > 1 {
		from, out := 0, 0
		for i := 0; i < len(ends); i += 2 {
			mid, end := ends[i], ends[min(i+1, len(ends)-1)]
			a, b := list[from:mid], list[mid:end]
			for k := from; k < end; k++ {
				if len(b) == 0 || len(a) > 0 && a[0].v <= b[0].v {
					other[k], a = a[0], a[1:]
				} else {
					other[k], b = b[0], b[1:]
				}
			}
			ends[out], out, from = end, out+1, end
		}
		list, other, ends = other, list, ends[:out]
	}
	return list
}

func (s *sketch) append(b []byte) []byte {
	b = binary.AppendVarint(b, s.head)
	for i := range s.b {
		b = append(b, byte(len(s.b[i])))
		for _, c := range s.b[i] {
			b = binary.AppendUvarint(binary.LittleEndian.AppendUint32(b, math.Float32bits(c.v)), uint64(c.n))
		}
	}
	return b
}

func (s *sketch) read(b []byte) bool {
	r := decoder{b: b}
	s.head = r.place()
	for i := range s.b {
		n := int(r.byte())
		if n > centroids {
			return false
		}
		s.b[i] = nil
		for range n {
			v := r.bytes(4)
			if v == nil {
				return false
			}
			s.b[i] = append(s.b[i], centroid{v: math.Float32frombits(binary.LittleEndian.Uint32(v)), n: uint32(r.uvarint())}) //nolint:gosec // as it was written
		}
	}
	return r.err == nil && len(r.b) == 0
}
