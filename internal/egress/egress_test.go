package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// SEC-15: the table of addresses.
func TestCheck(t *testing.T) {
	c := DefaultConfig()
	c.Allow = []string{"127.0.0.1:9000", "ntfy.lan:8080", "[::1]:9000"}
	allowed := []string{
		"https://hooks.example.com/x", "https://hooks.example.com:443/x?y=z#w", "https://hooks.example.com:8443/",
		"https://EXAMPLE.com./a", "https://xn--bcher-kva.example/", "https://93.184.216.34/", "https://[2606:2800:220:1::1]/",
		"http://127.0.0.1:9000/in", "https://127.0.0.1:9000/in", "http://ntfy.lan:8080/t", "http://NTFY.lan:8080/t",
		"http://[::1]:9000/", "https://1.example.com/", "https://a-b_c.example.com/", "https://[64:ff9b::5db8:d822]/",
	}
	for _, u := range allowed {
		if err := c.Check(u); err != nil {
			t.Errorf("Check(%q) = %v, want allowed", u, err)
		}
	}
	refused := []string{
		"", "hooks.example.com", "//hooks.example.com/", "https://", "https:///x", "://x", "https://exa mple.com/",
		"http://hooks.example.com/", "ftp://hooks.example.com/", "file:///etc/passwd", "gopher://example.com:443/", "HTTP://example.com/",
		"https://user@example.com/", "https://user:pw@example.com/", "https://example.com@127.0.0.1/", "http://u@127.0.0.1:9000/",
		"https://example.com:80/", "https://example.com:22/", "https://example.com:6379/", "https://example.com:0/", "https://example.com:99999/",
		"http://127.0.0.1:9001/", "http://localhost:9000/", "https://localhost/", "https://foo.localhost/", "https://localhost./",
		"https://127.0.0.1/", "https://127.1.2.3/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/",
		"https://0177.0.0.1/", "https://127.0.0.1./", "https://0.0.0.0/", "https://0/",
		"https://10.0.0.1/", "https://172.16.0.1/", "https://172.31.255.255/", "https://192.168.1.1/", "https://100.64.0.1/",
		"https://169.254.169.254/latest/meta-data/", "https://100.100.100.200/", "https://192.0.0.192/", "https://198.18.0.1/",
		"https://192.0.2.1/", "https://198.51.100.1/", "https://203.0.113.1/", "https://192.88.99.1/",
		"https://224.0.0.1/", "https://240.0.0.1/", "https://255.255.255.255/",
		"https://[::1]/", "https://[::]/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[fc00::1]/", "https://[fd00:ec2::254]/",
		"https://[ff02::1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:93.184.216.34]/", "https://[::127.0.0.1]/",
		"https://[2002:7f00:1::]/", "https://[2001:0:1::1]/", "https://[2001:db8::1]/", "https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::a00:1]/",
		"https://metadata.google.internal/", "https://metadata/", "https://printer.local/", "https://router.lan/", "https://x.home.arpa/",
		"https://１２７.０.０.１/", "https://ⓔxample.com/", "https://exam%0d%0aple.com/", "https://" + strings.Repeat("a", 2050) + ".com/",
	}
	for _, u := range refused {
		var r *Refused
		if err := c.Check(u); !errors.As(err, &r) {
			t.Errorf("Check(%q) = %v, want refused", u, err)
		}
	}
}

// nameserver answers every A question with the next of the addresses, and returns a resolver that asks it.
func nameserver(t *testing.T, addrs ...string) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		asked := 0
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			q := m.Questions[0]
			m.Response = true
			m.Additionals = nil
			a := netip.MustParseAddr(addrs[asked%len(addrs)])
			var body dnsmessage.ResourceBody
			switch {
			case q.Type == dnsmessage.TypeA && a.Is4():
				body = &dnsmessage.AResource{A: a.As4()}
			case q.Type == dnsmessage.TypeAAAA && a.Is6():
				body = &dnsmessage.AAAAResource{AAAA: a.As16()}
			}
			if body != nil {
				asked++
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 0}, Body: body}}
			}
			out, err := m.Pack()
			if err == nil {
				_, _ = pc.WriteTo(out, from)
			}
		}
	}()
	t.Cleanup(func() { _ = pc.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

// SEC-15: a name that resolves differently the second time (DNS rebinding) gains nothing.
func TestNameThatResolvesToOurselvesIsRefusedWhenConnecting(t *testing.T) {
	var hits atomic.Int32
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer srv.Close()
	port := srv.Listener.Addr().(*net.TCPAddr).Port
	c := DefaultConfig()
	c.Ports = []int{port}
	// The name alternates: a documentation address first, then loopback, then the metadata address.
	client := newClient(c, nameserver(t, "203.0.113.7", "127.0.0.1", "169.254.169.254"))
	defer client.CloseIdleConnections()
	for i, want := range []string{"documentation", "loopback", "link-local"} {
		resp, err := client.Post(fmt.Sprintf("https://rebind.example:%d/", port), "text/plain", strings.NewReader("x"))
		if err == nil {
			_ = resp.Body.Close()
		}
		var r *Refused
		if !errors.As(err, &r) || !strings.Contains(r.Reason, want) {
			t.Errorf("call %d: %v, want refused as %s", i, err, want)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the server on loopback was reached %d times", n)
	}
}

// SEC-15: whatever a good name resolves to, no connection is begun to an address of the list.
func TestNameThatResolvesIntoOurNetworkIsRefused(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.254", "192.168.0.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "0.0.0.0",
		"192.0.0.192", "198.18.0.1", "224.0.0.251", "255.255.255.255", "::1", "::", "fc00::1", "fd00:ec2::254", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
		"::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001::1", "fec0::1"} {
		client := newClient(DefaultConfig(), nameserver(t, a))
		resp, err := client.Get("https://good.example/")
		if err == nil {
			_ = resp.Body.Close()
		}
		var r *Refused
		if !errors.As(err, &r) {
			t.Errorf("%s: %v, want refused", a, err)
		}
		client.CloseIdleConnections()
	}
}

// A receiver that hangs holds no more than its share of connections, and who waits for one waits within his deadline.
func TestConnectionsToOneHostAreBounded(t *testing.T) {
	var now, most atomic.Int32
	stop := make(chan struct{})
	client, u := local(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for range 3 * perHost {
		wg.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := client.Do(r); err == nil {
				_ = resp.Body.Close()
				t.Error("a receiver that hangs answered")
			}
		})
	}
	wg.Wait()
	close(stop)
	if n := most.Load(); n == 0 || n > perHost {
		t.Errorf("%d connections at once, want at most %d", n, perHost)
	}
}

func TestAllowedNameMayBeOnLoopbackButNeverLinkLocal(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer srv.Close()
	port := srv.Listener.Addr().(*net.TCPAddr).Port
	c := DefaultConfig()
	c.Allow = []string{fmt.Sprintf("dev.example:%d", port)}
	client := newClient(c, nameserver(t, "127.0.0.1", "169.254.169.254"))
	u := fmt.Sprintf("http://dev.example:%d/", port)
	resp, err := client.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	client.CloseIdleConnections()
	var r *Refused
	if resp, err = client.Get(u); err == nil {
		_ = resp.Body.Close()
	}
	if !errors.As(err, &r) {
		t.Errorf("link-local: %v, want refused", err)
	}
}

// SEC-15 for SMTP: the same check of names, ports and resolved addresses.
func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	port := l.Addr().(*net.TCPAddr).Port
	c := DefaultConfig()
	for _, address := range []string{l.Addr().String(), fmt.Sprintf("localhost:%d", port), fmt.Sprintf("0x7f.1:%d", port), "93.184.216.34:443", "[::1]:25", "169.254.169.254:587",
		"mail.lan:587", "nohostport", "", "a b:25"} {
		conn, err := Dial(c, 25, 465, 587, port)(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		var r *Refused
		if !errors.As(err, &r) {
			t.Errorf("%q: %v, want refused", address, err)
		}
	}
	c.Allow = []string{l.Addr().String()}
	conn, err := Dial(c)(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestRoots(t *testing.T) {
	c := DefaultConfig()
	for _, file := range []string{filepath.Join(t.TempDir(), "none.pem"), "egress.go"} {
		c.CAFile = file
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "egress.ca_file") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// local serves h and returns a client that may call it.
func local(t *testing.T, change func(*Config), h http.HandlerFunc) (*http.Client, string) {
	t.Helper()
	srv := httptest.NewServer(h)
	c := DefaultConfig()
	c.Allow = []string{srv.Listener.Addr().String()}
	if change != nil {
		change(&c)
	}
	client := New(c)
	t.Cleanup(func() { client.CloseIdleConnections(); srv.Close() })
	return client, srv.URL
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var hits atomic.Int32
	client, u := local(t, nil, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "/again", http.StatusMovedPermanently)
	})
	resp, err := client.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusMovedPermanently || hits.Load() != 1 {
		t.Errorf("status %d after %d calls, want 301 after 1", resp.StatusCode, hits.Load())
	}
}

func TestAnswerIsBounded(t *testing.T) {
	client, u := local(t, func(c *Config) { c.MaxResponse = 1000 }, func(w http.ResponseWriter, _ *http.Request) {
		for range 1000 {
			_, _ = w.Write(make([]byte, 4096))
		}
	})
	resp, err := client.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if len(b) != 1000 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %d bytes, %v; want 1000 and an unexpected end", len(b), err)
	}
}

func TestSilentReceiverTimesOut(t *testing.T) {
	stop := make(chan struct{})
	client, u := local(t, func(c *Config) { c.Timeout = 50 * time.Millisecond }, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	})
	defer close(stop)
	resp, err := client.Get(u)
	if err == nil {
		_ = resp.Body.Close()
	}
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("%v, want a timeout", err)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	bad := Config{Allow: []string{"nohost"}, Ports: []int{0}, Timeout: time.Hour, MaxResponse: 0}
	err := bad.Validate()
	for _, want := range []string{`egress.allow[0] "nohost"`, "egress.ports[0] 0", "egress.timeout 1h0m0s", "egress.max_response 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want it to name %s", err, want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("https://example.com/x")
	f.Add("https://[::ffff:127.0.0.1]:443/")
	c := DefaultConfig()
	f.Fuzz(func(t *testing.T, raw string) {
		if c.Check(raw) == nil && !strings.HasPrefix(strings.ToLower(raw), "https://") {
			t.Errorf("%q passed", raw)
		}
	})
}
