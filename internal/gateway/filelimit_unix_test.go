//go:build unix

package gateway

import "syscall"

// moreFiles asks for n open files, beyond the hard limit where the system lets us, and returns how many there may be.
func moreFiles(n uint64) uint64 {
	may := fileLimit()
	if may < n {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n})
		may = fileLimit()
	}
	return may
}
