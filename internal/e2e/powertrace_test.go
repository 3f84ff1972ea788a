package e2e

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// diskCalls are all system calls with which a program of ours may change a folder, and those that make it durable.
const diskCalls = "openat,creat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,sync,syncfs,ftruncate,truncate,fallocate," +
	"rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,mkdir,mkdirat,dup,dup2,dup3,copy_file_range,sendfile,sendto,sendmsg"

// recorder is what stands before the server's command line.
func recorder(t testing.TB, trace string) []string {
	return []string{tool(t, "strace"), "-f", "--seccomp-bpf", "-yy", "-xx", "-s", "8000000", "-o", trace, "-e", "trace=" + diskCalls}
}

// A sysCall is one line of a trace, or two when others came between. What begins may have happened from its begin on, and has
// happened for certain at its end. A cut at n is before the line n.
type sysCall struct {
	begin, end int // numbers of lines; end is -1 when the trace ends first
	name       string
	fd         int    // of the first argument; -1
	on         string // what the fd stood for
	text       []byte // what was written
	offset     int64  // pwrite64, ftruncate
	paths      []string
	flags      string
	ret        int // -1: failed, or did not come back
}

// readSysCalls reads a trace; calls are in the order of their begins.
func readSysCalls(t testing.TB, path string) (calls []*sysCall, lines int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(make([]byte, 1<<20), 64<<20)
	waiting := map[string]*sysCall{}
	for ; in.Scan(); lines++ {
		thread, rest, _ := strings.Cut(in.Text(), " ")
		rest = strings.TrimSpace(rest)
		switch {
		case strings.HasPrefix(rest, "<... "):
			c := waiting[thread]
			if c == nil {
				continue // of a call whose beginning was not traced
			}
			delete(waiting, thread)
			c.end, c.ret = lines, returned(rest)
		case strings.HasPrefix(rest, "---"), strings.HasPrefix(rest, "+++"):
		default:
			c := parseCall(t, rest)
			c.begin, c.end = lines, lines
			if strings.HasSuffix(rest, "<unfinished ...>") {
				c.end, c.ret = -1, -1
				waiting[thread] = c
			} else {
				c.ret = returned(rest)
			}
			calls = append(calls, c)
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return calls, lines
}

var answered = regexp.MustCompile(`\) += (-?\d+)[^"]*$`)

func returned(line string) int {
	m := answered.FindStringSubmatch(line)
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return -1
	}
	return n
}

// parseCall reads name(argument, ...): strings and paths are in hexadecimal, so no character of theirs is in the way.
func parseCall(t testing.TB, line string) *sysCall {
	t.Helper()
	name, rest, ok := strings.Cut(line, "(")
	if !ok {
		t.Fatalf("a line of the trace is not a call: %.200s", line)
	}
	c := &sysCall{name: name, fd: -1, ret: -1}
	args := strings.Split(strings.TrimSuffix(strings.TrimSpace(rest), "<unfinished ...>"), ", ")
	if at := strings.Index(args[0], "<"); at > 0 {
		if n, err := strconv.Atoi(args[0][:at]); err == nil {
			c.fd, c.on = n, described(t, args[0][at+1:])
		}
	}
	switch name {
	case "write":
		c.text = []byte(quoted(t, args[1]))
	case "pwrite64":
		c.text, c.offset = []byte(quoted(t, args[1])), number(t, args[3])
	case "ftruncate":
		c.offset = number(t, args[1])
	case "openat", "unlinkat", "mkdirat":
		c.paths = []string{under(t, args[0], args[1])}
		c.flags = strings.Join(args[2:], " ")
	case "renameat", "renameat2":
		c.paths = []string{under(t, args[0], args[1]), under(t, args[2], args[3])}
	case "unlink", "mkdir", "rmdir", "rename", "creat", "truncate":
		for _, a := range args {
			if strings.HasPrefix(a, `"`) {
				c.paths = append(c.paths, quoted(t, a))
			}
		}
	}
	return c
}

// under joins a folder's argument and a path's.
func under(t testing.TB, folder, path string) string {
	t.Helper()
	p := quoted(t, path)
	if filepath.IsAbs(p) {
		return p
	}
	_, at, _ := strings.Cut(folder, "<")
	return filepath.Join(described(t, at), p)
}

// described reads what an fd stands for: a path, behind which may stand that it was removed, or something like TCP:[...].
func described(t testing.TB, s string) string {
	t.Helper()
	if strings.HasPrefix(s, `\x`) {
		s, _, _ = strings.Cut(s, ">")
	}
	return unhex(t, s)
}

func quoted(t testing.TB, arg string) string {
	t.Helper()
	from, to := strings.Index(arg, `"`), strings.LastIndex(arg, `"`)
	if from < 0 || to == from || strings.HasSuffix(arg, "...") {
		t.Fatalf("not a whole string in the trace: %.200s", arg)
	}
	return unhex(t, arg[from+1:to])
}

func unhex(t testing.TB, s string) string {
	t.Helper()
	if !strings.HasPrefix(s, `\x`) {
		return s
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
	if err != nil {
		t.Fatalf("%.200s in the trace: %v", s, err)
	}
	return string(b)
}

func number(t testing.TB, arg string) int64 {
	t.Helper()
	digits, _, _ := strings.Cut(strings.TrimSpace(arg), ")")
	n, err := strconv.ParseInt(digits, 0, 64)
	if err != nil {
		t.Fatalf("%q in the trace: %v", arg, err)
	}
	return n
}

// pubacks finds at which line the PUBACK of each packet began to be written to a socket of the door for devices. Every packet has an id of its own.
func pubacks(t testing.TB, calls []*sysCall, door string) map[int]int {
	t.Helper()
	at := map[int]int{}
	for _, c := range calls {
		if !strings.HasPrefix(c.on, "TCP:["+door+"->") {
			continue
		}
		if c.name != "write" {
			t.Fatalf("%s on a socket: this test does not know what that sends", c.name)
		}
		for b := c.text; len(b) >= 4 && b[1] < 0x80 && len(b) >= 2+int(b[1]); b = b[2+int(b[1]):] { // a packet is shorter than 128 bytes
			if b[0] != 0x40 {
				continue
			}
			id := int(b[2])<<8 | int(b[3])
			if _, twice := at[id]; twice {
				t.Fatalf("PUBACK %d twice", id)
			}
			at[id] = c.begin
		}
	}
	return at
}

func (c *sysCall) String() string { return fmt.Sprintf("line %d: %s %v", c.begin, c.name, c.paths) }
