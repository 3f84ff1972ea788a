package app

import (
	"errors"
	"fmt"
	"os"

	"aftercare/internal/config"
	"aftercare/internal/journal"
)

// InspectJournal verifies every record in the journal's files and changes none of them. It fails while a server runs on the data
// folder, and when there is no journal.
func InspectJournal(cfg config.Config) (report journal.Report, err error) {
	if cfg.Journal.URL != "" {
		return report, errors.New("the journal is on another server (journal.url): its files cannot be looked at from here")
	}
	if _, err := os.Stat(cfg.Journal.Dir); err != nil {
		return report, fmt.Errorf("there is no journal to look at: %w", err)
	}
	unlock, err := lockFolder(cfg.Data)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return journal.Inspect(cfg.Journal.Dir)
}
