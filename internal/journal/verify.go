package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"

	"aftercare/internal/wire"
)

// marksFile holds how far each stream was acknowledged, some seconds old at most. It is for finding losses, not for preventing
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
	var err error
	if j.acked, err = readMarks(j.cfg.Dir); err != nil {
		j.log.Warn("journal: the marks cannot be read, losses before this start are not found", "error", err)
	}
}

// readMarks returns an empty map when there are none.
func readMarks(dir string) (map[wire.Stream]uint64, error) {
	data, err := os.ReadFile(filepath.Join(dir, marksFile))
	if errors.Is(err, fs.ErrNotExist) {
		return map[wire.Stream]uint64{}, nil
	}
	marks := map[wire.Stream]uint64{}
	if err == nil {
		err = json.Unmarshal(data, &marks)
	}
	if err != nil || marks == nil {
		return map[wire.Stream]uint64{}, err
	}
	return marks, nil
}

func (j *Journal) saveMarks() error {
	if j.cfg.URL != "" {
		return nil
	}
	j.mu.Lock()
	acked := maps.Clone(j.acked)
	j.mu.Unlock()
	data, err := json.Marshal(acked)
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
