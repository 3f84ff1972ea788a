package rules

import (
	"hash/maphash"
	"slices"
	"strings"

	"aftercare/internal/fleet"
)

// rosterBlock is how many devices are allocated at a time: so many that whole pages are filled.
const rosterBlock = 512

// roster holds the devices of a state in the order in which they were heard of first, and an index of them by key. A
// device never moves and never goes. It is a map that costs a third of Go's and can be walked in parts while it grows.
type roster struct {
	blocks  [][]device
	n       int
	index   []uint64 // open addressing: upper half of the key's hash, and the device's number + 1; 0: free
	seed    maphash.Seed
	tenants map[string]string // each tenant's name once
	serials strings.Builder   // serial numbers one behind the other
}

func newRoster() roster {
	return roster{index: make([]uint64, 16), seed: maphash.MakeSeed(), tenants: map[string]string{}}
}

// at returns the device of a number below n.
func (r *roster) at(i int) *device { return &r.blocks[i/rosterBlock][i%rosterBlock] }

func (r *roster) hash(key fleet.DeviceKey) uint64 {
	return (maphash.String(r.seed, key.Serial) ^ maphash.String(r.seed, key.Tenant)*31) >> 32
}

// get returns the device of that key, or nil.
func (r *roster) get(key fleet.DeviceKey) *device {
	h, mask := r.hash(key), uint64(len(r.index)-1)
	for i := h & mask; r.index[i] != 0; i = (i + 1) & mask {
		if e := r.index[i]; e>>32 == h {
			if d := r.at(int(uint32(e)) - 1); d.key == key { //nolint:gosec // the lower half
				return d
			}
		}
	}
	return nil
}

// add takes in a device whose key is not there yet, and returns where it is from now on.
func (r *roster) add(d device) *device {
	if 4*(r.n+1) > 3*len(r.index) {
		old := r.index
		r.index = make([]uint64, 2*len(old))
		for _, e := range old {
			if e != 0 {
				r.put(e)
			}
		}
	}
	if r.n%rosterBlock == 0 {
		r.blocks = append(r.blocks, make([]device, rosterBlock))
	}
	r.n++
	r.put(r.hash(d.key)<<32 | uint64(r.n)) //nolint:gosec // not negative
	at := r.at(r.n - 1)
	*at = d
	return at
}

func (r *roster) put(e uint64) {
	mask := uint64(len(r.index) - 1)
	i := e >> 32 & mask
	for r.index[i] != 0 {
		i = (i + 1) & mask
	}
	r.index[i] = e
}

// own returns a key that does not alias a batch. All devices of a tenant share its name.
func (r *roster) own(key fleet.DeviceKey) fleet.DeviceKey {
	tenant, ok := r.tenants[key.Tenant]
	if !ok {
		tenant = strings.Clone(key.Tenant)
		r.tenants[tenant] = tenant
	}
	const block = 4 << 10
	if r.serials.Cap()-r.serials.Len() < len(key.Serial) {
		r.serials.Reset() // who has a serial number of the old block keeps it
		r.serials.Grow(max(block, len(key.Serial)))
	}
	from := r.serials.Len()
	r.serials.WriteString(key.Serial)
	return fleet.DeviceKey{Tenant: tenant, Serial: r.serials.String()[from:]}
}

// sorted returns all devices by key.
func (r *roster) sorted() []*device {
	out := make([]*device, r.n)
	for i := range out {
		out[i] = r.at(i)
	}
	slices.SortFunc(out, func(a, b *device) int { return compareKeys(a.key, b.key) })
	return out
}

func compareKeys(a, b fleet.DeviceKey) int {
	if c := strings.Compare(a.Tenant, b.Tenant); c != 0 {
		return c
	}
	return strings.Compare(a.Serial, b.Serial)
}
