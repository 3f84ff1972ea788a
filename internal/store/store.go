// Package store keeps what the registry, cases and outreach must remember, in SQL: SQLite in the process. The statements keep
// to what PostgreSQL understands too. It decides nothing: what a case becomes is decided in package cases, whether a message
// is sent in package outreach; here it is written in one transaction or not at all. It holds no telemetry.
//
// One value, Store, satisfies the interfaces that its callers own; the methods are grouped by caller. All of them are safe
// for concurrent use. What a method has written is durable when it returns nil. Times are kept to the millisecond.
//
// Only app may import it. It imports fleet and obs.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"
	sqlitecode "modernc.org/sqlite/lib"

	"aftercare/internal/fleet"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config says where the relations are kept.
type Config struct {
	Driver      string        `mapstructure:"driver" help:"kind of the SQL database: sqlite"`
	Path        string        `mapstructure:"path" help:"file of the SQL database; empty: aftercare.db in the data folder"`
	Readers     int           `mapstructure:"readers" help:"statements that may read at once"`
	BusyTimeout time.Duration `mapstructure:"busy_timeout" help:"how long to wait for another process that writes"`
	KeepDone    time.Duration `mapstructure:"keep_done" help:"how long outbox rows are kept after they were done; what became of messages is kept on"`
	// NoSync does without syncing the disk: for a database that is thrown away, as of a replay. No setting turns it on.
	NoSync bool `mapstructure:"-"`
}

// DefaultConfig is SQLite in ./data.
func DefaultConfig() Config {
	return Config{Driver: "sqlite", Path: "data/aftercare.db", Readers: 4, BusyTimeout: 10 * time.Second, KeepDone: 7 * 24 * time.Hour}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.Driver != "sqlite" {
		errs = append(errs, fmt.Errorf("store.driver %q: want sqlite", c.Driver))
	}
	if c.Path == "" || strings.HasPrefix(c.Path, ":memory:") || strings.HasPrefix(c.Path, "file:") {
		errs = append(errs, fmt.Errorf("store.path %q: want the path of a file", c.Path))
	}
	if c.Readers < 1 || c.Readers > 64 {
		errs = append(errs, fmt.Errorf("store.readers %d: want 1 to 64", c.Readers))
	}
	if c.BusyTimeout < time.Millisecond || c.BusyTimeout > 5*time.Minute {
		errs = append(errs, fmt.Errorf("store.busy_timeout %v: want 1ms to 5m", c.BusyTimeout))
	}
	if c.KeepDone < time.Hour {
		errs = append(errs, fmt.Errorf("store.keep_done %v: want at least 1h", c.KeepDone))
	}
	return errors.Join(errs...)
}

// cacheKiB bounds the pages that each connection keeps in memory.
const cacheKiB = 16 << 10

// Store is the open database. SQLite has one writer at a time: a single connection writes, so that callers queue in the
// process instead of meeting SQLITE_BUSY; a pool of others reads, each statement from a consistent snapshot.
type Store struct {
	w, r   *bun.DB
	writes *group
	log    *slog.Logger
}

// Open opens or makes the database and brings its tables up to date. The caller closes it.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	path, err := prepareFile(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", cfg.Path, err)
	}
	s := &Store{writes: newGroup(), log: log}
	if s.w, err = openSQLite(path, cfg, "_txlock=immediate", 1); err != nil {
		return nil, fmt.Errorf("open store %q: %w", cfg.Path, err)
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %q: %w", cfg.Path, err), s.w.Close())
	}
	if s.r, err = openSQLite(path, cfg, "_pragma=query_only(1)", cfg.Readers); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %q: %w", cfg.Path, err), s.w.Close())
	}
	return s, nil
}

// prepareFile makes the folder and an empty file that only its owner reads: SQLite gives its side files the same mode.
func prepareFile(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	return path, f.Close()
}

func openSQLite(path string, cfg Config, extra string, conns int) (*bun.DB, error) {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path)}
	sync := "FULL"
	if cfg.NoSync {
		sync = "OFF"
	}
	// What a part of a transaction needs to take itself back is kept in memory, not in a file: temp_store. The cache is in KiB.
	dsn := fmt.Sprintf("%s?_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(%s)&_pragma=foreign_keys(1)&_pragma=temp_store(MEMORY)"+
		"&_pragma=cache_size(-%d)&%s", u.String(), cfg.BusyTimeout.Milliseconds(), sync, cacheKiB, extra)
	base, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector{Connector: base, steady: conns == 1})
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return bun.NewDB(db, sqlitedialect.New()), nil
}

// migrate brings the tables up to date. Two processes that start on a new file at once both try; the loser's transaction
// fails on a table that is there by then, and its next try finds nothing left to do.
func (s *Store) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	for try := 1; ; try++ {
		var p *goose.Provider
		p, err = goose.NewProvider(goose.DialectSQLite3, s.w.DB, dir, goose.WithSlog(s.log))
		if err == nil {
			_, err = p.Up(ctx)
		}
		if err == nil || try == 5 || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// Close releases the database. Transactions that are running fail.
func (s *Store) Close() error { return errors.Join(s.r.Close(), s.w.Close()) }

// Ready reports whether the database answers; it is the health check of this part.
func (s *Store) Ready(ctx context.Context) error {
	var one int
	if err := s.r.NewSelect().ColumnExpr("1").Scan(ctx, &one); err != nil {
		return fmt.Errorf("store does not answer: %w", err)
	}
	return nil
}

// write runs fn, all of it or nothing, and names the operation in its error. Those who write at the same time share one
// transaction and one wait for the disk. fn may run in another goroutine than the caller's. A uniqueness that another writer got
// first is CodeConflict.
func (s *Store) write(ctx context.Context, op string, fn func(tx bun.Tx) error) error {
	return describe(op, s.writes.run(ctx, s.w, fn))
}

func describe(op string, err error) error {
	if err == nil {
		return nil
	}
	var se *sqlite.Error
	if errors.As(err, &se) {
		switch se.Code() {
		case sqlitecode.SQLITE_CONSTRAINT_UNIQUE, sqlitecode.SQLITE_CONSTRAINT_PRIMARYKEY:
			return fleet.Errorf(fleet.CodeConflict, "%s: somebody else was first: %w", op, err)
		case sqlitecode.SQLITE_BUSY, sqlitecode.SQLITE_BUSY_SNAPSHOT:
			return fleet.Errorf(fleet.CodeBusy, "%s: another process is writing: %w", op, err)
		}
	}
	return fmt.Errorf("%s: %w", op, err)
}

func toMS(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMS(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func limitOr(n int) int64 {
	if n <= 0 {
		return 100
	}
	return int64(n)
}
