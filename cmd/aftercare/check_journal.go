package main

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"aftercare/internal/journal"
)

// tellDamage prints what was found in the journal's files, and fails when some of it is damage.
func tellDamage(out io.Writer, dir string, r *journal.Report) error {
	fmt.Fprintf(out, "journal %s: %d files, %.1f MB, %d records, verified in %s\n", dir, r.Files, float64(r.Bytes)/1e6, r.Records, r.Took.Round(time.Millisecond))
	damaged := 0
	for i := range r.Damages {
		d := &r.Damages[i]
		if d.Outcome != journal.OutcomeTorn {
			damaged++
		}
		file, err := filepath.Rel(dir, d.File)
		if err != nil {
			file = d.File
		}
		fmt.Fprintf(out, "%s, byte %d: %s\n", file, d.Offset, inWords(d))
	}
	if damaged > 0 {
		return fmt.Errorf("the journal is damaged, places: %d", damaged)
	}
	_, err := fmt.Fprintln(out, "no damage")
	return err
}

// inWords says what a damage is and what the next start makes of it.
func inWords(d *journal.Damage) string {
	which := fmt.Sprintf("%d records", d.Records)
	switch {
	case d.Records <= 1 && d.Seq > 0:
		which = fmt.Sprintf("record %d", d.Seq)
	case d.Records <= 1:
		which = "a record"
	case d.Seq > 0:
		which += fmt.Sprintf(" from %d on", d.Seq)
	}
	switch d.Outcome {
	case journal.OutcomeRepaired:
		return "a flipped bit in " + which + "; the next start turns it back, nothing is lost"
	case journal.OutcomeTorn:
		return fmt.Sprintf("%d bytes of an unfinished record, as a kill or a power cut leaves them; the next start cuts them off", d.Bytes)
	case journal.OutcomeMissing:
		return fmt.Sprintf("MISSING: %s of %s; the file was cut, or another one taken away", which, d.Stream)
	case journal.OutcomePosition:
		return "a consumer's position or description cannot be read; after the next start it reads all that is kept again, nothing is lost"
	}
	if d.LinesSaved+d.LinesLost == 0 {
		return fmt.Sprintf("LOST: %s of %s", which, d.Stream)
	}
	return fmt.Sprintf("LOST: %s of %s; the next start saves %d readings of it, %d are lost", which, d.Stream, d.LinesSaved, d.LinesLost)
}
