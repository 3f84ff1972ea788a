package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockFolder makes this process the only server on a data folder: two would write over each other's journal. The lock is the
// kernel's and ends with the process, however that ends; the file only says whose it is. Tools that use SQL alone do not need it.
func lockFolder(dir string) (unlock func() error, err error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder %q (data): %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("the data folder %q is in use by process %s: stop that one, or choose another folder with --data", dir, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("lock the data folder %q (data): %w", dir, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintln(f, os.Getpid()) // for people; the lock holds without it
	}
	return f.Close, nil
}
