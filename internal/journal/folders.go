package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"aftercare/internal/wire"
)

// folders makes the names of files durable. JetStream syncs what it writes into a file, but not the folder that it has made the
// file in: on ext4, XFS and btrfs the fsync of a new file makes its name durable, POSIX does not promise it, and a file without
// a name is lost. So a folder is synced before a record is acknowledged when it has changed since the last time.
//
// The time of its last change says whether it has. That costs a question to the kernel (about 1 µs) where an fsync of a folder that
// has not changed would cost a flush of the disk. Two changes within a tick of the kernel's clock may have one time: a time counts as
// known only when it was older than that when the folder was synced.
type folders struct {
	dir string

	mu     sync.Mutex
	synced map[string]time.Time // what each folder's time of change was when it was synced
}

// clockTick is longer than the kernel's clock for files stands still (10 ms at most).
const clockTick = 20 * time.Millisecond

// settle makes what was stored in a stream findable after a power cut.
func (f *folders) settle(stream wire.Stream) error {
	top := filepath.Join(f.dir, "jetstream", server.DEFAULT_GLOBAL_ACCOUNT, "streams", string(stream))
	for _, dir := range []string{filepath.Join(top, "msgs"), top} { // a purge of everything replaces msgs
		if err := f.one(dir); err != nil {
			return fmt.Errorf("journal: sync the folder of %q: %w", stream, err)
		}
	}
	return nil
}

func (f *folders) one(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	changed := info.ModTime()
	f.mu.Lock()
	known := f.synced[dir].Equal(changed)
	f.mu.Unlock()
	if known {
		return nil
	}
	old := time.Since(changed) > clockTick
	if err := syncDir(dir); err != nil {
		return err
	}
	if old {
		f.mu.Lock()
		f.synced[dir] = changed
		f.mu.Unlock()
	}
	return nil
}

// all syncs every folder of the journal, from the innermost, and those that it is in, which may be new as well. It also syncs what the streams are: the
// server leaves that to the kernel for a stream whose records are not synced.
func (f *folders) all() error {
	var paths []string
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server tidies up at its start
		}
		if err == nil && (d.IsDir() || d.Name() == "meta.inf" || d.Name() == "meta.sum") {
			paths = append(paths, path)
		}
		return err
	})
	for i := len(paths) - 1; i >= 0 && err == nil; i-- {
		if err = syncDir(paths[i]); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	above, err2 := filepath.Abs(f.dir)
	if err = errors.Join(err, err2); err != nil {
		return fmt.Errorf("journal: sync the folders in %q: %w", f.dir, err)
	}
	for above != filepath.Dir(above) {
		above = filepath.Dir(above)
		_ = syncDir(above) // those that are not ours are not ours to sync
	}
	return nil
}
