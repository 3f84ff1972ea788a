package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

const (
	damagedDir = "damaged"     // below the journal's directory: damaged files as they were found
	savedFile  = ".saved.json" // what of them is still to be stored again
	keepCopies = 32            // 8 MiB each
	// ReasonDamaged is the reason of what was put aside because the journal's files were damaged.
	ReasonDamaged = "damaged"
	maxAside      = 64 << 10
)

// salvage returns the readings of a damaged record that lie in whole chunks, as a record of the same partition and time, and how
// many lines that is and how many not.
func salvage(r *stored) (saved []wire.Record, kept, lost int) {
	rec := decodeStored(r)
	if rec.Kind != wire.KindReadings && !bytes.Contains(r.header, []byte(wire.KindReadings)) {
		return nil, 0, 0
	}
	lines := bytes.Count(r.body, []byte{'\n'})
	_, text := sumsText(r.header)
	label, sums, ok := chunkSums(text, len(r.body))
	if !ok || label != labelSum(&rec) {
		return nil, 0, lines
	}
	body, kept := wholeLines(r.body, badChunks(r.body, sums))
	if kept == 0 {
		return nil, 0, lines
	}
	rec.Body, rec.Seq, rec.ID = body, 0, ""
	return []wire.Record{rec}, kept, max(lines-kept, 0)
}

// wholeLines returns the lines that touch no bad chunk, neither with a byte of theirs nor with the newline before them.
func wholeLines(body []byte, bad []int) (out []byte, n int) {
	for from := 0; from < len(body); {
		end := bytes.IndexByte(body[from:], '\n')
		if end < 0 {
			break
		}
		end += from + 1
		first, last := max(from-1, 0)/sumChunk, (end-1)/sumChunk
		if !slices.ContainsFunc(bad, func(c int) bool { return c >= first && c <= last }) {
			out = append(out, body[from:end]...)
			n++
		}
		from = end
	}
	return out, n
}

// quarantined makes the record that tells people what was damaged, with the bytes that could not be read.
func quarantined(d *Damage, r *stored, mine bool, raw []byte, at int64) wire.Record {
	q := fleet.Quarantined{At: time.Unix(0, at), Reason: ReasonDamaged, Payload: raw,
		Detail: fmt.Sprintf("%s, byte %d: damaged; %d readings of it were saved, %d were not", filepath.Base(d.File), d.Offset, d.LinesSaved, d.LinesLost)}
	out := wire.Record{Stream: wire.Quarantine, Kind: wire.KindQuarantine, Received: q.At}
	if mine {
		q.Topic = string(r.subject)
		_, text := sumsText(r.header)
		if _, sums, ok := chunkSums(text, len(r.body)); ok {
			q.Payload = nil
			for _, c := range badChunks(r.body, sums) {
				q.Payload = append(q.Payload, r.body[c*sumChunk:min((c+1)*sumChunk, len(r.body))]...)
			}
		}
	}
	q.Payload = q.Payload[:min(len(q.Payload), maxAside)]
	out.Body, _ = json.Marshal(q) // cannot fail: strings, bytes and a time
	return out
}

// keep writes a damaged file and what was saved from it aside, before the file is changed.
func (in *inspector) keep(base string, data []byte, saved []wire.Record) error {
	dir := filepath.Join(in.dir, damagedDir)
	if err := errors.Join(os.MkdirAll(dir, 0o700), syncDir(in.dir)); err != nil {
		return err
	}
	copies, err := filepath.Glob(filepath.Join(dir, "*.blk"))
	if err != nil {
		return err
	}
	slices.SortFunc(copies, func(a, b string) int { return strings.Compare(age(a), age(b)) })
	for len(copies) >= keepCopies {
		if err := os.Remove(copies[0]); err != nil {
			return err
		}
		copies = copies[1:]
	}
	if err := writeFile(filepath.Join(dir, base+".blk"), data); err != nil || len(saved) == 0 {
		return err
	}
	text, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, base+savedFile), text)
}

// age is the part of a copy's name that says when it was made.
func age(path string) string { return path[strings.LastIndexByte(path, '-')+1:] }

// mend looks at the files before the server opens them and mends what is damaged. Files that have not changed since are not
// looked at again when a broken journal is reopened.
func (j *Journal) mend(acked map[wire.Stream]uint64) error {
	if j.cfg.URL != "" {
		return nil
	}
	in := inspector{dir: j.cfg.Dir, mend: true, acked: acked, before: j.whole}
	report, err := in.run()
	for i := range report.Damages {
		j.metrics.damaged(&report.Damages[i])
		logDamage(j.log, &report.Damages[i])
	}
	if err != nil {
		return err
	}
	j.whole = in.stamps
	if report.Files > 0 {
		j.log.Info("journal: every record was verified", "files", report.Files, "bytes", report.Bytes, "records", report.Records,
			"damages", len(report.Damages), "took", report.Took)
	}
	return nil
}

func logDamage(log *slog.Logger, d *Damage) {
	args := []any{"outcome", d.Outcome, "stream", d.Stream, "file", d.File, "offset", d.Offset, "bytes", d.Bytes, "sequence", d.Seq,
		"records", d.Records, "readings_saved", d.LinesSaved, "readings_lost", d.LinesLost}
	if d.Stream == wire.Snapshots && d.Outcome == OutcomeLost {
		log.Warn("journal: snapshots are damaged, as a power cut may leave them; more is read again and they are made anew", args...)
		return
	}
	switch d.Outcome {
	case OutcomeTorn:
		log.Warn("journal: an unfinished record at the end of a file was cut off; nobody was told that it is stored", args...)
	case OutcomeRepaired:
		log.Error("journal: DAMAGED FILE, a flipped bit was turned back; look after the disk and the memory of this machine", args...)
	case OutcomePosition:
		log.Error("journal: DAMAGED FILE, a consumer's position is lost: it reads everything that is kept again", args...)
	default:
		log.Error("journal: DAMAGED FILE, records are lost; a copy of the file is in "+damagedDir, args...)
	}
}

// restore stores again what was saved from damaged files. What cannot be stored now is tried at the next opening; readings
// that are stored twice are one point.
func (j *Journal) restore(ctx context.Context) error {
	if j.cfg.URL != "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(j.cfg.Dir, damagedDir, "*"+savedFile))
	if err != nil {
		return err
	}
	var failed error
	for _, path := range files {
		if err := j.restoreFile(ctx, path); err != nil {
			failed = errors.Join(failed, fmt.Errorf("journal: store again what %s holds: %w", path, err))
		}
	}
	return failed
}

func (j *Journal) restoreFile(ctx context.Context, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var records []wire.Record
	if err := json.Unmarshal(text, &records); err != nil {
		return errors.Join(err, os.Rename(path, path+".unreadable"))
	}
	for i := range records {
		if records[i].Stream == wire.Quarantine {
			records[i].ID = fmt.Sprintf("%s.%d", filepath.Base(path), i)
		}
		if records[i].Partition >= j.partitions {
			records[i].Partition = 0
		}
	}
	if err := j.Append(ctx, records); err != nil {
		return err
	}
	return os.Remove(path)
}
