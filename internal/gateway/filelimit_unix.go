//go:build unix

package gateway

import "syscall"

// fileLimit raises the soft limit of open files to the hard one, and returns it; 0: unknown.
func fileLimit() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	if l.Cur < l.Max {
		l.Cur = l.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
		if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
			return 0
		}
	}
	return uint64(l.Cur) //nolint:unconvert // a signed number on some systems
}
