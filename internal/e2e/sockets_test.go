package e2e

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// onlyLoopback asserts that none of the processes started with p listens on anything but loopback.
func onlyLoopback(t *testing.T, p *process) {
	t.Helper()
	inodes := map[string]int{}
	members := groupMembers(t, p.cmd.Process.Pid)
	for _, pid := range members {
		for _, inode := range socketsOf(pid) {
			inodes[inode] = pid
		}
	}
	if len(members) < 2 {
		t.Errorf("processes %v: want the server and the simulator", members)
	}
	heard := 0
	for _, s := range listening(t) {
		pid, ours := inodes[s.inode]
		if !ours {
			continue
		}
		heard++
		if !s.addr.Addr().IsLoopback() {
			t.Errorf("process %d (%s) listens on %s %s", pid, commandLine(pid), s.network, s.addr)
		}
	}
	if heard < 3 { // pages, devices, profiling
		t.Errorf("%d listening sockets found: the test does not see them", heard)
	}
}

type socket struct {
	network string
	addr    netip.AddrPort
	inode   string
}

// listening returns the sockets of this machine that wait for others: listening ones of TCP, unconnected ones of UDP.
func listening(t *testing.T) (out []socket) {
	t.Helper()
	for network, state := range map[string]string{"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"} {
		f, err := os.Open(filepath.Join("/proc/net", network))
		if err != nil {
			t.Skipf("SKIPPED: %v, so which ports are open is not looked at", err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Scan() // the heading
		for lines.Scan() {
			words := strings.Fields(lines.Text())
			if len(words) < 10 || words[3] != state {
				continue
			}
			addr, err := kernelAddr(words[1])
			if err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			out = append(out, socket{network, addr, words[9]})
		}
	}
	return out
}

// kernelAddr reads "0100007F:1F90": 32-bit words in the machine's order (little-endian where this runs), and the port.
func kernelAddr(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for word := range slices.Chunk(b, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("no address of %d bytes", len(b))
	}
	n, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), err
}

// socketsOf returns the inodes of a process's sockets.
func socketsOf(pid int) (inodes []string) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir) // it may have ended
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:[") {
			inodes = append(inodes, strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]"))
		}
	}
	return inodes
}

// groupMembers returns the living processes of a process group.
func groupMembers(t *testing.T, group int) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		_, rest, ok := strings.Cut(string(text), ") ") // the name before may hold blanks
		words := strings.Fields(rest)
		if !ok || len(words) < 3 || words[0] == "Z" || words[2] != strconv.Itoa(group) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func commandLine(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimSpace(strings.ReplaceAll(string(text), "\x00", " "))
}
