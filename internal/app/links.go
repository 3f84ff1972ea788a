package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"aftercare/internal/config"
	"aftercare/internal/seal"
)

const (
	linksFile = "links.key"
	linksKey  = 32 // bytes
)

// openLinks reads the key with which links in messages are signed, and makes it at the first start. Whoever has it can make any
// link; without it no link that is out there works any more. Back it up with the database.
func (s *server) openLinks(context.Context) error {
	key, err := linksOf(s.cfg)
	if err != nil {
		return err
	}
	s.linkKey, s.seal = key, seal.New(key)
	return nil
}

func linksOf(cfg config.Config) ([]byte, error) {
	key, err := readLinks(cfg)
	if errors.Is(err, os.ErrNotExist) {
		key = make([]byte, linksKey)
		_, _ = rand.Read(key) // never fails: crypto/rand ends the program instead
		err = writeSecret(filepath.Join(cfg.Data, linksFile), key)
	}
	return key, err
}

func readLinks(cfg config.Config) ([]byte, error) {
	path := filepath.Join(cfg.Data, linksFile)
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of links: %w", err)
	}
	if len(key) != linksKey {
		return nil, fmt.Errorf("the key of links in %q has %d bytes, want %d: bring back the file from a backup, or delete it; then no link in a message that was sent works any more", path, len(key), linksKey)
	}
	return key, nil
}
