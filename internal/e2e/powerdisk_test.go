package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A disk is what a file system may hold of a folder when the power goes. The data of a file is certain once an fsync of the file
// that began after the write has returned; before that any sectors of it may be there, and the file may have any length it had. A
// name in a folder (made, replaced, removed) is certain once an fsync of the folder has returned. That is what POSIX promises, and
// less than ext4, XFS and btrfs do, where the fsync of a new file makes its name durable, too: in the strict model it does not.
type disk struct {
	t     testing.TB
	top   string // the folder that all paths are below; it is there already
	root  *inode
	open  map[int]*handle
	names []*naming
	// What the changes of a call have become, for its end.
	ends map[*sysCall]func()
}

type inode struct {
	folder  map[string]*inode // nil: a file
	whole   []byte            // what is certain of a file
	pending []*change
	named   *naming // the newest one that gave it a name
}

// change is a write, or a new length.
type change struct {
	cut  bool // to length at
	at   int64
	text []byte
	done bool // the call has returned
}

// naming is a change of a folder.
type naming struct {
	folder       *inode
	from, to     string // from: a name that goes; to: a name that is given; either may be empty
	what         *inode
	done, synced bool
}

type handle struct {
	node   *inode
	at     int64
	always bool // O_SYNC
}

func newDisk(t testing.TB, top string) *disk {
	return &disk{t: t, top: top, root: &inode{folder: map[string]*inode{}}, open: map[int]*handle{}, ends: map[*sysCall]func(){}}
}

// find returns the folder of a path and the path's last name; nil when it is not below the top, or gone.
func (d *disk) find(path string) (folder *inode, name string) {
	rest, ok := strings.CutPrefix(path, d.top+"/")
	if !ok {
		return nil, ""
	}
	steps := strings.Split(rest, "/")
	folder = d.root
	for _, s := range steps[:len(steps)-1] {
		if folder = folder.folder[s]; folder == nil {
			return nil, ""
		}
	}
	return folder, steps[len(steps)-1]
}

func (d *disk) node(path string) *inode {
	if path == d.top {
		return d.root
	}
	folder, name := d.find(path)
	if folder == nil {
		return nil
	}
	return folder.folder[name]
}

// begin is called in the order of the trace when a call begins, end when it has returned.
func (d *disk) begin(c *sysCall) {
	if c.ret < 0 && c.end >= 0 {
		return // it failed and changed nothing
	}
	switch c.name {
	case "openat":
		d.openat(c)
	case "mkdirat", "mkdir":
		d.name(c, c.paths[0], "", &inode{folder: map[string]*inode{}})
	case "unlinkat", "unlink", "rmdir":
		d.name(c, "", c.paths[0], nil)
	case "renameat", "renameat2", "rename":
		if what := d.node(c.paths[0]); what != nil {
			if filepath.Dir(c.paths[0]) != filepath.Dir(c.paths[1]) {
				d.t.Fatalf("%v: from folder to folder, which this model does not know", c)
			}
			d.name(c, c.paths[1], c.paths[0], what)
		}
	case "write", "pwrite64", "ftruncate":
		d.write(c)
	case "fsync", "fdatasync":
		if h := d.handle(c); h != nil {
			d.sync(c, h.node)
		}
	default:
		touches := d.handle(c) != nil
		for _, p := range c.paths {
			touches = touches || strings.HasPrefix(p, d.top)
		}
		if touches {
			d.t.Fatalf("%v: this model does not know the call", c)
		}
	}
}

func (d *disk) end(c *sysCall) {
	if done := d.ends[c]; done != nil {
		delete(d.ends, c)
		done()
	}
}

// handle is the open file that a call is about; nil when it is not one of the folder's. Numbers come back after a close.
func (d *disk) handle(c *sysCall) *handle {
	if !strings.HasPrefix(c.on, d.top) {
		return nil
	}
	return d.open[c.fd]
}

func (d *disk) openat(c *sysCall) {
	d.ends[c] = func() { delete(d.open, c.ret) }
	if folder, _ := d.find(c.paths[0]); folder == nil && c.paths[0] != d.top {
		return
	}
	node := d.node(c.paths[0])
	var made, cut func()
	if node == nil {
		if !strings.Contains(c.flags, "O_CREAT") {
			return
		}
		node = &inode{}
		d.name(c, c.paths[0], "", node)
		made = d.ends[c]
	}
	if strings.Contains(c.flags, "O_APPEND") || strings.Contains(c.flags, "O_DIRECT|") {
		d.t.Fatalf("%v %s: this model does not know the flag", c, c.flags)
	}
	if strings.Contains(c.flags, "O_TRUNC") && made == nil {
		ch := &change{cut: true}
		node.pending = append(node.pending, ch)
		cut = func() { ch.done = true }
	}
	d.ends[c] = func() {
		for _, f := range []func(){made, cut} {
			if f != nil {
				f()
			}
		}
		d.open[c.ret] = &handle{node: node, always: strings.Contains(c.flags, "O_SYNC") || strings.Contains(c.flags, "O_DSYNC")}
	}
}

// name gives what a name, or takes one away, or both.
func (d *disk) name(c *sysCall, to, from string, what *inode) {
	n := &naming{what: what}
	for _, p := range []string{to, from} {
		if p == "" {
			continue
		}
		if n.folder, _ = d.find(p); n.folder == nil {
			return
		}
	}
	if from != "" {
		n.from = filepath.Base(from)
		delete(n.folder.folder, n.from)
	}
	if to != "" {
		n.to = filepath.Base(to)
		n.folder.folder[n.to] = what
		what.named = n
	}
	d.names = append(d.names, n)
	d.ends[c] = func() { n.done = true }
}

func (d *disk) write(c *sysCall) {
	h := d.handle(c)
	if h == nil {
		return
	}
	ch := &change{cut: c.name == "ftruncate", at: c.offset, text: c.text}
	if c.name == "write" {
		ch.at = h.at
		h.at += int64(len(c.text))
	}
	h.node.pending = append(h.node.pending, ch)
	d.ends[c] = func() {
		if !ch.cut && c.ret != len(c.text) {
			d.t.Fatalf("%v: wrote %d of %d bytes, which this model does not know", c, c.ret, len(c.text))
		}
		ch.done = true
		if h.always {
			var changes []*change
			for _, p := range h.node.pending {
				if p == ch || p.cut && p.done {
					changes = append(changes, p)
				}
			}
			h.node.settle(changes)
		}
	}
}

func (d *disk) sync(c *sysCall, node *inode) {
	var changes []*change
	var names []*naming
	for _, ch := range node.pending {
		if ch.done {
			changes = append(changes, ch)
		}
	}
	for _, n := range d.names {
		if n.done && n.folder == node {
			names = append(names, n)
		}
	}
	d.ends[c] = func() {
		node.settle(changes)
		for _, n := range names {
			n.synced = true
		}
	}
}

// settle makes changes certain.
func (n *inode) settle(changes []*change) {
	for _, c := range changes {
		n.whole = c.apply(n.whole)
	}
	var rest []*change
	for _, p := range n.pending {
		keep := true
		for _, c := range changes {
			keep = keep && p != c
		}
		if keep {
			rest = append(rest, p)
		}
	}
	n.pending = rest
}

func (c *change) apply(to []byte) []byte {
	if c.cut {
		return resize(to, int(c.at))
	}
	to = resize(to, max(len(to), int(c.at)+len(c.text)))
	copy(to[c.at:], c.text)
	return to
}

func resize(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n]
	}
	if n <= cap(b) { // what is behind the end may be of before
		tail := b[len(b):n]
		clear(tail)
		return b[:n]
	}
	out := make([]byte, n, n+n/4)
	copy(out, b)
	return out
}

const sector = 512

// after makes what may be found of a file after the cut.
func (n *inode) after(dice *rand.Rand) []byte {
	out := append([]byte(nil), n.whole...)
	mode := dice.IntN(5)
	longest, lengths := len(out), []int{len(out)}
	for _, c := range n.pending {
		whole := mode == 1 || mode > 1 && dice.IntN(2) == 0
		if !c.cut {
			longest = max(longest, int(c.at)+len(c.text))
			lengths = append(lengths, int(c.at)+len(c.text))
		}
		switch {
		case mode == 0, c.cut && !whole:
		case c.cut, whole && mode < 4:
			out = c.apply(out)
		case mode >= 3: // by sectors of the disk
			end := int(c.at) + len(c.text)
			for from := int(c.at); from < end; {
				to := min((from/sector+1)*sector, end)
				if dice.IntN(2) == 0 {
					out = (&change{at: int64(from), text: c.text[from-int(c.at) : to-int(c.at)]}).apply(out)
				}
				from = to
			}
		}
	}
	if len(n.pending) == 0 || dice.IntN(2) == 0 {
		return out
	}
	// The length is of its own: longer than what came, with zeros, or shorter; never shorter than what is certain.
	length := lengths[dice.IntN(len(lengths))]
	if dice.IntN(3) == 0 {
		length = len(n.whole) + dice.IntN(max(longest-len(n.whole), 0)+1)
	}
	for _, c := range n.pending {
		if c.cut {
			return out // certain lengths are no longer so
		}
	}
	return resize(out, max(length, len(n.whole)))
}

// crash writes what may be found into a folder. In the strict model any name that is not synced may be there or not; otherwise the
// names come in the order in which they were changed, and the name of a file that was synced is there, as on ext4 and XFS.
func (d *disk) crash(dice *rand.Rand, strict bool, into string) {
	d.t.Helper()
	chance := []float64{0, 0.5, 1, dice.Float64()}[dice.IntN(4)]
	first := 0
	for i, n := range d.names {
		if n.synced || n.what != nil && n.what.folder == nil && len(n.what.whole) > 0 {
			first = i + 1
		}
	}
	first += dice.IntN(len(d.names) - first + 1)
	found := map[*inode]map[string]*inode{}
	for i, n := range d.names {
		there := n.synced || strict && dice.Float64() < chance || !strict && i < first
		if !there {
			continue
		}
		if found[n.folder] == nil {
			found[n.folder] = map[string]*inode{}
		}
		delete(found[n.folder], n.from)
		if n.to != "" {
			found[n.folder][n.to] = n.what
		}
	}
	var lay func(node *inode, at string)
	lay = func(node *inode, at string) {
		if node.folder == nil {
			if err := os.WriteFile(at, node.after(dice), 0o600); err != nil {
				d.t.Fatal(err)
			}
			return
		}
		if err := os.MkdirAll(at, 0o700); err != nil {
			d.t.Fatal(err)
		}
		for name, child := range found[node] {
			lay(child, filepath.Join(at, name))
		}
	}
	if journal := found[d.root]["journal"]; journal != nil {
		lay(journal, filepath.Join(into, "journal"))
	}
}
