package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"

	"aftercare/internal/wire"
)

// marksFile holds how far each stream was acknowledged and each consumer has committed, some seconds old at most. It is for finding losses, not for preventing
// them, and is therefore not synced.
const marksFile = "acked.json"

// verify compares the end of each stream with how far it was acknowledged. JetStream cuts a block off at a damaged record when it
// was not closed in an orderly way, sets the consumers back to what is left, says so in a warning, and gives the same
// sequences out again. verify makes that countable, and keeps in l.rewound the ends that moved back, for the readers of this
// process. It must run before anything is appended. It returns how many records are missing.
func (l *link) verify(ctx context.Context, log *slog.Logger, acked map[wire.Stream]uint64) (missing uint64, err error) {
	l.rewound = map[wire.Stream]uint64{}
	for _, name := range streams {
		s, err := l.js.Stream(ctx, string(name))
		if err != nil {
			return missing, fmt.Errorf("journal: look up stream %q: %w", name, err)
		}
		last := s.CachedInfo().State.LastSeq
		if acked[name] <= last {
			continue
		}
		missing += acked[name] - last
		l.rewound[name] = last
		log.Error("journal: ACKNOWLEDGED RECORDS ARE MISSING at the end of a stream: its files were damaged or replaced",
			"stream", name, "from", last+1, "to", acked[name])
	}
	return missing, nil
}

// noteAcked remembers how far a stream was acknowledged.
func (j *Journal) noteAcked(stream wire.Stream, seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.acked[stream] = max(j.acked[stream], seq)
}

// loadMarks reads the marks of the process before this one. Without them a loss cannot be told, nothing else is missing.
func (j *Journal) loadMarks() {
	if j.cfg.URL != "" {
		return
	}
	m, err := readMarks(j.cfg.Dir)
	if err != nil {
		j.log.Warn("journal: the marks cannot be read, losses before this start are not found", "error", err)
	}
	j.acked, j.committed = m.Acked, m.Committed
}

// marks are what the marks' file holds.
type marks struct {
	Acked     map[wire.Stream]uint64 // how far each stream was acknowledged
	Committed map[string]uint64      // how far each consumer with memory has committed; see committed.go
	Sum       uint32                 // of the above: a flipped bit must not make records missing
}

func (m *marks) sum() uint32 {
	data, _ := json.Marshal(marks{Acked: m.Acked, Committed: m.Committed}) // cannot fail; maps are sorted
	return crc32.Checksum(data, castagnoli)
}

// readMarks returns empty marks when there are none, and with an error when they cannot be read.
func readMarks(dir string) (marks, error) {
	none := marks{Acked: map[wire.Stream]uint64{}, Committed: map[string]uint64{}}
	data, err := os.ReadFile(filepath.Join(dir, marksFile))
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	var m marks
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err == nil && (m.Sum != m.sum() || m.Acked == nil || m.Committed == nil) {
		err = errors.New("the sum is not right")
	}
	if err != nil {
		return none, fmt.Errorf("%s: %w", marksFile, err)
	}
	return m, nil
}

func (j *Journal) saveMarks() error {
	if j.cfg.URL != "" {
		return nil
	}
	j.mu.Lock()
	m := marks{Acked: maps.Clone(j.acked), Committed: maps.Clone(j.committed)}
	j.mu.Unlock()
	m.Sum = m.sum()
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("journal: marks: %w", err)
	}
	path := filepath.Join(j.cfg.Dir, marksFile)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("journal: save marks: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("journal: save marks: %w", err)
	}
	return nil
}
