package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// deviceState is what a device remembers over a restart, as its flash would: one small file each, replaced atomically
// after every acknowledgement.
type deviceState struct {
	Done  int64    `json:"done"`            // unix seconds of the newest acknowledged reading; 0: none yet
	Boot  int64    `json:"boot"`            // counts starts
	Seq   int64    `json:"seq"`             // next running number within this boot
	Codes []string `json:"codes,omitempty"` // fault codes announced and not yet taken back
}

// runState is what the whole simulator remembers.
type runState struct {
	Start int64 `json:"start"` // unix seconds of the very first start: the past it uploads and its fault plan end there
}

// stateDir keeps the files.
type stateDir string

func openState(dir string) (stateDir, error) {
	if err := os.MkdirAll(filepath.Join(dir, "devices"), 0o700); err != nil {
		return "", fmt.Errorf("open state: %w", err)
	}
	return stateDir(dir), nil
}

func (d stateDir) device(serial string) string {
	return filepath.Join(string(d), "devices", serial+".json")
}

// run returns the first start, which is now when there was none.
func (d stateDir) run(now time.Time) (runState, error) {
	path := filepath.Join(string(d), "run.json")
	var r runState
	ok, err := readJSON(path, &r)
	if err != nil || ok && r.Start > 0 {
		return r, err
	}
	r.Start = now.Unix()
	return r, writeJSON(path, r)
}

// boot loads a device's state and counts the start, on disk too before anything is sent: a running number is never used
// twice within one boot.
func (d stateDir) boot(serial string) (deviceState, error) {
	var s deviceState
	if _, err := readJSON(d.device(serial), &s); err != nil {
		return s, err
	}
	s.Boot++
	s.Seq = 1
	return s, d.save(serial, s)
}

func (d stateDir) save(serial string, s deviceState) error { return writeJSON(d.device(serial), s) }

func readJSON(path string, v any) (bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return false, fmt.Errorf("read state %q: %w (delete the file to begin again)", path, err)
	}
	return true, nil
}

// writeJSON replaces a file whole. It is not synced: after a power cut a simulated device may repeat itself a little.
func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}
