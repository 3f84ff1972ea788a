package app

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

const (
	replayBatch   = 512     // lines handed over at once
	maxReplayLine = 2 << 20 // bytes: more than ingest reads of one payload
	maxReplayGap  = 366 * 24 * time.Hour
	maxNamed      = 20 // broken lines that are named; the others are counted
)

// replayLine is one message of a file.
type replayLine struct {
	number  int
	at      time.Time
	topic   string
	payload []byte
}

// replayFile reads lines ahead in a goroutine of its own, where unpacking them takes a good part of the time.
type replayFile struct {
	batches chan []replayLine
	done    chan struct{}
	now     []replayLine

	// What the goroutine leaves behind; to be read after next has returned false.
	broken int
	named  []string
	err    error
}

func openReplayFile(in io.Reader) *replayFile {
	f := &replayFile{batches: make(chan []replayLine, 8), done: make(chan struct{})}
	go func() {
		defer close(f.batches)
		if err := f.read(in); err != nil {
			f.err = fmt.Errorf("read the messages: %w", err)
			if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
				f.err = fmt.Errorf("%w: the compressed file is cut or damaged", f.err)
			}
		}
	}()
	return f
}

// next returns the next line that can be read; false at the end.
func (f *replayFile) next() (replayLine, bool) {
	for len(f.now) == 0 {
		batch, more := <-f.batches
		if !more {
			return replayLine{}, false
		}
		f.now = batch
	}
	l := f.now[0]
	f.now = f.now[1:]
	return l, true
}

// stop ends the reading early and waits for its end.
func (f *replayFile) stop() {
	close(f.done)
	for range f.batches { //nolint:revive // until it is closed
	}
}

func (f *replayFile) read(in io.Reader) error {
	b := bufio.NewReaderSize(in, 256<<10)
	if magic, _ := b.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(b)
		if err != nil {
			return err
		}
		b = bufio.NewReaderSize(z, 256<<10)
	}
	var last time.Time
	var long []byte
	batch := make([]replayLine, 0, replayBatch)
	for number := 1; ; number++ {
		text, whole, err := readLine(b, long[:0])
		if len(text) > 0 {
			l, reason := parseReplayLine(text, last)
			switch {
			case !whole:
				f.name(number, "it is longer than 2 MiB")
			case reason != "":
				f.name(number, reason)
			default:
				l.number, last = number, l.at
				batch = append(batch, l)
			}
		}
		if len(batch) == replayBatch || err != nil && len(batch) > 0 {
			select {
			case f.batches <- batch:
			case <-f.done:
				return nil
			}
			batch = make([]replayLine, 0, replayBatch)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("after line %d: %w", number, err)
		}
	}
}

// readLine returns a line without its end; whole is false for one that is too long, of which only the beginning is returned.
func readLine(b *bufio.Reader, long []byte) (text []byte, whole bool, err error) {
	whole = true
	for {
		part, err := b.ReadSlice('\n')
		if len(long)+len(part) > maxReplayLine {
			whole = false
			part = part[:min(len(part), 100)]
		}
		if whole || len(long) == 0 {
			long = append(long, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimRight(long, "\r\n"), whole, err
	}
}

// parseReplayLine reads a line; last is the time of the one before it, zero for the first. What it returns does not alias text.
func parseReplayLine(text []byte, last time.Time) (l replayLine, reason string) {
	stamp, rest, ok := bytes.Cut(text, []byte(" "))
	topic, payload, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || len(topic) == 0 {
		return l, "it is not: milliseconds, topic and payload with a space between them"
	}
	ms, err := strconv.ParseInt(string(stamp), 10, 64)
	if err != nil || ms <= 0 || ms >= 1<<42 {
		return l, fmt.Sprintf("%.30q is no time in milliseconds since 1970", stamp)
	}
	l.at = time.UnixMilli(ms).UTC()
	switch {
	case last.IsZero():
	case l.at.Before(last):
		return l, fmt.Sprintf("it was sent %v before the line above: lines have to be in order of sending", last.Sub(l.at))
	case l.at.Sub(last) > maxReplayGap:
		return l, "it was sent more than a year after the line above"
	}
	l.topic, l.payload = string(topic), bytes.Clone(payload)
	return l, ""
}

func (f *replayFile) name(number int, reason string) {
	f.broken++
	if len(f.named) < maxNamed {
		f.named = append(f.named, fmt.Sprintf("line %d: %s", number, reason))
	}
}
