package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// earlierDefaults are filters that a session made by an earlier version may still hold without a state file that says so.
var earlierDefaults = []string{"devices/+/+/+/+"}

// memory is what the broker's session has subscribed to, as far as we know. MQTT cannot ask for it, and a persistent session goes
// on delivering what an older configuration subscribed to, for ever. It is kept in a small file beside the other data.
type memory struct {
	Broker   string   `json:"broker"`
	ClientID string   `json:"client_id"`
	Filters  []string `json:"filters"`
}

// loadMemory reads the file; one that is not there is an empty memory.
func loadMemory(path string) (memory, error) {
	var m memory
	if path == "" {
		return m, nil
	}
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("bridge.state_file: %w", err)
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return memory{}, fmt.Errorf("bridge.state_file %q: %w", path, err)
	}
	return m, nil
}

// save writes the file as a whole or not at all.
func (m memory) save(path string) error {
	if path == "" {
		return nil
	}
	body, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %q: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("bridge.state_file: %w", err)
	}
	_, err = f.Write(append(body, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("bridge.state_file %q: %w", path, err)
	}
	return nil
}

// same reports whether m speaks of the session that cfg uses.
func (m memory) same(broker, clientID string) bool {
	return m.Broker == broker && m.ClientID == clientID
}

// obsolete are the filters of the session that the configuration does not name any more, sorted.
func (m memory) obsolete(now map[string]byte) []string {
	var out []string
	for _, f := range m.Filters {
		if _, wanted := now[f]; !wanted && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

// matches reports whether a topic is one of a filter without $share (MQTT 3.1.1, 4.7).
func matches(filter, topic string) bool {
	for {
		f, restF, moreF := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, restT, moreT := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		if !moreF || !moreT {
			return moreF == moreT || !moreT && restF == "#"
		}
		filter, topic = restF, restT
	}
}

// validFilter reports whether wildcards stand where they may.
func validFilter(filter string) bool {
	if filter == "" || strings.HasPrefix(filter, "$") || strings.ContainsRune(filter, 0) {
		return false
	}
	parts := strings.Split(filter, "/")
	for i, p := range parts {
		if p == "#" && i != len(parts)-1 || len(p) > 1 && strings.ContainsAny(p, "+#") {
			return false
		}
	}
	return true
}
