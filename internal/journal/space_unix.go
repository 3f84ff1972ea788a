//go:build linux || darwin

package journal

import "syscall"

// freeShare returns the share of the disk that is free for this user, 0 to 1.
func freeShare(dir string) (float64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	if s.Blocks == 0 {
		return 1, nil // a file system without a size
	}
	return float64(s.Bavail) / float64(s.Blocks), nil
}
