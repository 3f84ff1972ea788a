// Package embedded runs InfluxDB 1.8.10 inside the process, so that one machine needs no database server. It answers the v2
// write API and InfluxQL over HTTP on loopback, like any other InfluxDB; history talks to it as to any other.
//
// It is put together here from InfluxDB's own packages and not through cmd/influxd/run, which would also open a second port
// that hands out backups to anyone without a password, and would write to the process's standard error when it closes. The
// folder's layout is that of influxd 1.8: the stock tools (influxd, influx_inspect) work on it when the process is down.
//
// It is meant for evaluation and small single-machine use: the code is of 2021. The build tag slim leaves it out.
//
// What is durable when a write was answered: every write is fsynced in the write-ahead log before the answer
// (wal-fsync-delay 0), so it survives a killed process. InfluxDB 1.8 does not fsync the list of series: after a power
// cut, points of a series first seen in the seconds before it may need `influx_inspect buildtsi`, or a replay of the
// journal, to be found again. The index of series that were there before is not touched.
//
// Who may import it: app, cmd, and tests. It imports none of our packages.
package embedded

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Config says where the database lives.
type Config struct {
	// Dir is the folder of the database; it is made when it is not there, readable by its owner only.
	Dir string `mapstructure:"dir" help:"folder of the embedded InfluxDB; empty: influxdb in the data folder"`
	// Listen is the loopback address of its HTTP API. Port 0: any free port, another one after each start.
	Listen string `mapstructure:"listen" help:"loopback host:port of the embedded InfluxDB; port 0: a free one, another after each start"`
	// SnapshotBytes is how much one shard keeps in memory before it writes a file. Larger: fewer, larger files.
	SnapshotBytes int64 `mapstructure:"snapshot_bytes" help:"bytes the embedded InfluxDB keeps in memory before it writes a file"`
	// CacheBytes is how much one shard may keep in memory at most; beyond it writes are refused, and tried again.
	CacheBytes int64 `mapstructure:"cache_bytes" help:"most bytes it may keep in memory; beyond them writes are refused and tried again"`
}

// DefaultConfig keeps at most 32 MiB a shard in memory in ordinary times. Dir must be set.
func DefaultConfig() Config {
	return Config{Listen: "127.0.0.1:0", SnapshotBytes: 32 << 20, CacheBytes: 512 << 20}
}

// Validate names the field and the value of what is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New(`history.embedded.dir "": want a folder`))
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if ip, perr := netip.ParseAddr(host); err != nil || perr != nil || !ip.IsLoopback() {
		errs = append(errs, fmt.Errorf("history.embedded.listen %q: want a loopback address with port, as 127.0.0.1:0", c.Listen))
	}
	if c.SnapshotBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("history.embedded.snapshot_bytes %d: want at least 1048576", c.SnapshotBytes))
	}
	if c.CacheBytes < 2*c.SnapshotBytes {
		errs = append(errs, fmt.Errorf("history.embedded.cache_bytes %d: want at least twice snapshot_bytes (%d)", c.CacheBytes, c.SnapshotBytes))
	}
	return errors.Join(errs...)
}
