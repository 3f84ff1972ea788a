package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"aftercare/internal/wire"
)

// maxPayload leaves room for a snapshot chunk of 1 MiB and for a batch of one cycle.
const maxPayload = 4 << 20

// noStoreLimit: the streams' own limits and the free share of the disk bound what is kept. A limit of the server as well would
// refuse smaller streams while larger ones are still reserved.
const noStoreLimit = 1 << 50

// link is one life of the connection, with the server behind it when that is embedded. It is replaced, never repaired.
type link struct {
	srv  *server.Server // nil for an external server
	nc   *nats.Conn
	js   jetstream.JetStream
	down chan struct{} // closed when this link is given up

	folders *folders // nil for an external server, and when nothing is synced

	rewound map[wire.Stream]uint64 // the ends of streams that lost their newest records before this link; see verify
}

// dial starts the embedded server, or connects to the external one, and makes sure of the streams. It returns the number of
// partitions that the streams have.
func dial(ctx context.Context, cfg Config, log *slog.Logger) (*link, int, error) {
	l := &link{down: make(chan struct{})}
	if err := l.connect(cfg, log); err != nil {
		l.close()
		return nil, 0, err
	}
	var err error
	l.js, err = jetstream.New(l.nc)
	if err != nil {
		l.close()
		return nil, 0, fmt.Errorf("journal: JetStream client: %w", err)
	}
	partitions, err := ensureStreams(ctx, l.js, cfg, log)
	if err != nil {
		l.close()
		return nil, 0, err
	}
	if cfg.URL == "" && cfg.Sync == syncAlways {
		l.folders = &folders{dir: cfg.Dir, synced: map[string]time.Time{}}
		if err := l.folders.all(); err != nil {
			l.close()
			return nil, 0, err
		}
	}
	return l, partitions, nil
}

func (l *link) connect(cfg Config, log *slog.Logger) error {
	opts := []nats.Option{
		nats.Name("aftercare"),
		nats.ReconnectBufSize(-1), // a publish without a connection must fail, not wait in memory
		nats.MaxReconnects(-1),
	}
	url := cfg.URL
	if url == "" {
		if err := l.serve(cfg, log); err != nil {
			return err
		}
		opts = append(opts, nats.InProcessServer(l.srv), nats.NoReconnect())
	} else if cfg.Creds != "" {
		opts = append(opts, nats.UserCredentials(cfg.Creds))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return fmt.Errorf("journal: connect to %q: %w", url, err)
	}
	l.nc = nc
	return nil
}

// serve starts the embedded server: no listener, no signal handler, no system account traffic.
func (l *link) serve(cfg Config, log *slog.Logger) error {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("journal: make directory: %w", err)
	}
	if cfg.Sync == syncAlways {
		if err := syncFiles(cfg.Dir); err != nil {
			return err
		}
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "aftercare", DontListen: true, NoSigs: true, MaxPayload: maxPayload,
		JetStream: true, StoreDir: cfg.Dir, JetStreamMaxStore: noStoreLimit, JetStreamMaxMemory: 64 << 20,
		SyncAlways: cfg.Sync == syncAlways, DisableJetStreamBanner: true, NoFastProducerStall: true,
	})
	if err != nil {
		return fmt.Errorf("journal: embedded server in %q: %w", cfg.Dir, err)
	}
	srv.SetLoggerV2(&serverLog{log: log}, false, false, false)
	l.srv = srv
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return fmt.Errorf("journal: embedded server in %q is not ready after 10s", cfg.Dir)
	}
	if !srv.JetStreamEnabled() {
		return fmt.Errorf("journal: JetStream did not start in %q", cfg.Dir)
	}
	return nil
}

// close waits until the server has written its state and released its files.
func (l *link) close() {
	if l.nc != nil {
		l.nc.Close()
	}
	if l.srv != nil {
		l.srv.Shutdown()
		l.srv.WaitForShutdown()
	}
}

// syncFiles makes what a killed process left in the page cache as durable as what was acknowledged. Without it the server
// would recognise a resend by its ID and acknowledge it although the first copy may be in memory only.
func syncFiles(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || !strings.HasSuffix(path, ".blk") {
			return nil
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
	if err != nil {
		return fmt.Errorf("journal: sync the files in %q: %w", dir, err)
	}
	return nil
}

// serverLog passes the server's warnings and errors on; its notices are of interest when debugging only.
type serverLog struct{ log *slog.Logger }

func (s *serverLog) Noticef(f string, v ...any) { s.log.Debug("nats: " + fmt.Sprintf(f, v...)) }
func (s *serverLog) Debugf(string, ...any)      {}
func (s *serverLog) Tracef(string, ...any)      {}
func (s *serverLog) Warnf(f string, v ...any)   { s.log.Warn("nats: " + fmt.Sprintf(f, v...)) }
func (s *serverLog) Fatalf(f string, v ...any)  { s.Errorf(f, v...) }
func (s *serverLog) Errorf(f string, v ...any)  { s.log.Error("nats: " + fmt.Sprintf(f, v...)) }
