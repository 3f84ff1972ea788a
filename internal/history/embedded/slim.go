//go:build slim

package embedded

import (
	"context"
	"errors"
	"log/slog"
)

// Available says whether this build contains the embedded database.
const Available = false

// ErrSlim is what Start returns in a build without the embedded database.
var ErrSlim = errors.New("this build (tag slim) contains no embedded InfluxDB: set history.url to an InfluxDB server")

// Server is a running database; a slim build never has one.
type Server struct{}

// Start returns ErrSlim.
func Start(context.Context, Config, *slog.Logger) (*Server, error) { return nil, ErrSlim }

// URL returns nothing.
func (*Server) URL() string { return "" }

// Token returns nothing.
func (*Server) Token() string { return "" }

// Close does nothing.
func (*Server) Close() error { return nil }
