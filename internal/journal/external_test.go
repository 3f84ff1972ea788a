package journal

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"aftercare/internal/wire"
)

// natsServer is an external server on loopback; port -1 lets it choose.
func natsServer(t *testing.T, dir string, port int) (*server.Server, func()) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, SyncAlways: true, MaxPayload: maxPayload})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the external server does not start")
	}
	stop := func() { srv.Shutdown(); srv.WaitForShutdown() }
	t.Cleanup(stop)
	return srv, stop
}

// The same code on a server outside the process, with a restart of that server in the middle.
func TestExternalServer(t *testing.T) {
	dir := t.TempDir()
	srv, stop := natsServer(t, dir, -1)
	cfg := DefaultConfig()
	cfg.URL = srv.ClientURL()
	cfg.AckTimeout = time.Second
	j := open(t, cfg)
	appendAll(t, j, reading(0, "a"), reading(1, "b"))
	s := openSource(t, j, -1, "history", 0)
	r := fetch(t, s, 2)
	expect(t, "before", bodies(r), "a b")
	commit(t, s, r[0].Seq)

	addr, ok := srv.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("address %v", srv.Addr())
	}
	stop()
	failed := 0
	if err := j.Append(t.Context(), []wire.Record{reading(2, "lost")}); err == nil {
		t.Fatal("acknowledged without a server")
	}
	natsServer(t, dir, addr.Port)
	for j.Append(t.Context(), []wire.Record{reading(3, "c")}) != nil { // each try waits for the connection
		if failed++; failed == 20 {
			t.Fatal("did not come back")
		}
	}
	expect(t, "after", bodies(fetch(t, s, 1)), "c")
	commit(t, s, 3)
}
