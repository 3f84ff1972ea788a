//go:build !slim

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/influxdata/influxdb/coordinator"
	"github.com/influxdata/influxdb/models"
	"github.com/influxdata/influxdb/monitor"
	"github.com/influxdata/influxdb/query"
	"github.com/influxdata/influxdb/services/httpd"
	"github.com/influxdata/influxdb/services/meta"
	"github.com/influxdata/influxdb/services/retention"
	"github.com/influxdata/influxdb/services/storage"
	"github.com/influxdata/influxdb/toml"
	"github.com/influxdata/influxdb/tsdb"
	"go.uber.org/zap"

	// The storage engine and the index register themselves.
	_ "github.com/influxdata/influxdb/tsdb/engine"
	_ "github.com/influxdata/influxdb/tsdb/index"
)

// Available says whether this build contains the embedded database.
const Available = true

const version = "1.8.10"

// Server is a running database. Its methods may be called concurrently.
type Server struct {
	url   string
	token string

	meta      *meta.Client
	store     *tsdb.Store
	points    *coordinator.PointsWriter
	executor  *query.Executor
	retention *retention.Service
	httpd     *httpd.Service

	done      chan struct{}
	waiting   sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

// Start opens the database in c.Dir and returns when it answers. ctx is looked at before the start only: opening cannot be
// interrupted. What InfluxDB has to say from warnings upwards goes to log.
func Start(ctx context.Context, c Config, log *slog.Logger) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the embedded InfluxDB: %w", err)
	}
	s, err := assemble(c, zap.New(slogCore{log}))
	if err != nil {
		return nil, fmt.Errorf("open the embedded InfluxDB in %q: %w", c.Dir, err)
	}
	if err := s.open(c); err != nil {
		return nil, errors.Join(fmt.Errorf("open the embedded InfluxDB in %q: %w", c.Dir, err), s.Close())
	}
	s.waiting.Go(func() {
		select {
		case err := <-s.httpd.Err():
			log.Error("the embedded InfluxDB stopped answering", "err", err)
		case <-s.done:
		}
	})
	return s, nil
}

// URL is where the database answers, "http://127.0.0.1:port".
func (s *Server) URL() string { return s.url }

// Token is the credential of its only user, "name:password": what influxdb-client-go takes as the token of a 1.8 server. It
// stays the same over restarts and is kept in the file "token" of the folder, which its owner alone can read.
func (s *Server) Token() string { return s.token }

// Close waits for requests under way (at most 10 s), writes and closes everything. Calling it again returns the same error.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		close(s.done)
		s.waiting.Wait()
		herr := s.httpd.Close()
		if errors.Is(herr, net.ErrClosed) { // it closes its listener twice
			herr = nil
		}
		s.closeErr = errors.Join(
			herr,
			s.retention.Close(),
			s.points.Close(),
			s.executor.Close(),
			s.store.Close(),
			s.meta.Close(),
		)
	})
	return s.closeErr
}

// assemble wires InfluxDB's parts as cmd/influxd/run does, without those that listen or report elsewhere: no snapshot port,
// no subscriptions, no continuous queries, no self-monitoring, no usage reports, no other protocols.
func assemble(c Config, log *zap.Logger) (*Server, error) {
	s := &Server{done: make(chan struct{})}
	mc := meta.NewConfig()
	mc.Dir = filepath.Join(c.Dir, "meta")
	mc.LoggingEnabled = false
	if err := os.MkdirAll(mc.Dir, 0o700); err != nil {
		return nil, err
	}
	s.meta = meta.NewClient(mc)
	if err := s.meta.Open(); err != nil {
		return nil, err
	}

	data := dataConfig(c)
	s.store = tsdb.NewStore(data.Dir)
	s.store.EngineOptions.Config = data
	s.store.EngineOptions.EngineVersion = data.Engine
	s.store.EngineOptions.IndexVersion = data.Index
	s.store.WithLogger(log)

	cc := coordinator.NewConfig()
	s.points = coordinator.NewPointsWriter()
	s.points.WriteTimeout = time.Duration(cc.WriteTimeout)
	s.points.TSDBStore = s.store
	s.points.MetaClient = s.meta
	s.points.WithLogger(log)

	mon := monitor.New(noStatistics{}, monitor.Config{}) // never opened: it only answers SHOW STATS
	s.executor = query.NewExecutor()
	s.executor.StatementExecutor = &coordinator.StatementExecutor{
		MetaClient:  s.meta,
		TaskManager: s.executor.TaskManager,
		TSDBStore:   s.store,
		ShardMapper: &coordinator.LocalShardMapper{MetaClient: s.meta, TSDBStore: coordinator.LocalTSDBStore{Store: s.store}},
		Monitor:     mon, PointsWriter: s.points,
	}

	rc := retention.NewConfig()
	s.retention = retention.NewService(rc)
	s.retention.MetaClient = s.meta
	s.retention.TSDBStore = s.store
	s.retention.WithLogger(log)

	s.httpd = s.assembleHTTP(c, mon, log)
	return s, nil
}

func dataConfig(c Config) tsdb.Config {
	d := tsdb.NewConfig()
	d.Dir = filepath.Join(c.Dir, "data")
	d.WALDir = filepath.Join(c.Dir, "wal")
	d.Index = tsdb.TSI1IndexName
	d.QueryLogEnabled = false
	d.ValidateKeys = true
	d.MaxSeriesPerDatabase = 0
	d.MaxValuesPerTag = 0
	d.WALFsyncDelay = 0 // an answered write is on disk: history tells the journal so
	d.CacheSnapshotMemorySize = toml.Size(c.SnapshotBytes)
	d.CacheMaxMemorySize = toml.Size(c.CacheBytes)
	return d
}

func (s *Server) assembleHTTP(c Config, mon *monitor.Monitor, log *zap.Logger) *httpd.Service {
	hc := httpd.NewConfig()
	hc.BindAddress = c.Listen
	hc.LogEnabled = false
	hc.AuthEnabled = true
	hc.PingAuthEnabled = true
	hc.PprofEnabled, hc.PprofAuthEnabled = true, true // both: only then is /debug/vars behind the password too
	srv := httpd.NewService(hc)
	srv.Handler.MetaClient = s.meta
	srv.Handler.QueryAuthorizer = meta.NewQueryAuthorizer(s.meta)
	srv.Handler.WriteAuthorizer = meta.NewWriteAuthorizer(s.meta)
	srv.Handler.QueryExecutor = s.executor
	srv.Handler.Monitor = mon
	srv.Handler.PointsWriter = s.points
	srv.Handler.Store = storage.NewStore(s.store, s.meta)
	srv.Handler.Version = version
	srv.Handler.BuildType = "OSS"
	srv.WithLogger(log)
	return srv
}

// open starts the parts, the listener last: nobody can ask before the user exists.
func (s *Server) open(c Config) error {
	var err error
	if s.token, err = ensureUser(s.meta, filepath.Join(c.Dir, "token")); err != nil {
		return err
	}
	if err := s.store.Open(); err != nil {
		return err
	}
	if err := s.points.Open(); err != nil {
		return err
	}
	if err := s.retention.Open(); err != nil {
		return err
	}
	if err := s.httpd.Open(); err != nil {
		return err
	}
	s.url = "http://" + s.httpd.BoundHTTPAddr()
	return nil
}

type noStatistics struct{}

func (noStatistics) Statistics(map[string]string) []models.Statistic { return nil }
