package mqttload

import (
	"fmt"
	"os"
	"strconv"
	"sync"
)

// ackedRange is a run of acknowledged messages of one device: every running number from First to Last.
type ackedRange struct {
	Serial      string
	Boot        int64
	First, Last int64
}

// ackedFile is the record of what was acknowledged, one range a line: "serial boot first last". Lines are only appended.
// A range may be split over several lines; no running number is on two.
type ackedFile struct {
	mu sync.Mutex
	f  *os.File
}

func openAcked(path string) (*ackedFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open record of acknowledged messages: %w", err)
	}
	return &ackedFile{f: f}, nil
}

// write appends ranges with one write call, so that a killed process leaves whole lines.
func (a *ackedFile) write(ranges []ackedRange) error {
	if a == nil || len(ranges) == 0 {
		return nil
	}
	var b []byte
	for _, r := range ranges {
		b = append(append(b, r.Serial...), ' ')
		b = append(strconv.AppendInt(b, r.Boot, 10), ' ')
		b = append(strconv.AppendInt(b, r.First, 10), ' ')
		b = append(strconv.AppendInt(b, r.Last, 10), '\n')
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.f.Write(b); err != nil {
		return fmt.Errorf("record acknowledged messages: %w", err)
	}
	return nil
}

func (a *ackedFile) close() error {
	if a == nil {
		return nil
	}
	return a.f.Close()
}
