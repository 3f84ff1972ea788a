package email

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
)

// maxAnswer is how many bytes a mail server may say in one session: an endless line must not fill the memory.
const maxAnswer = 256 << 10

var errEndless = errors.New("the mail server does not stop talking")

// guarded is a connection that ends with the context and reads no more than maxAnswer.
type guarded struct {
	net.Conn
	stop func() bool
	left atomic.Int64
}

func guard(ctx context.Context, c net.Conn) net.Conn {
	g := &guarded{Conn: c}
	g.left.Store(maxAnswer)
	g.stop = context.AfterFunc(ctx, func() { _ = c.Close() })
	return g
}

func (g *guarded) Read(p []byte) (int, error) {
	if g.left.Load() <= 0 {
		return 0, errEndless
	}
	n, err := g.Conn.Read(p)
	g.left.Add(-int64(n))
	return n, err
}

func (g *guarded) Close() error {
	g.stop()
	return g.Conn.Close()
}
