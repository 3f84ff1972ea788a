package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/journal"
	"aftercare/internal/obs"
)

var bin string // the folder of the built programs

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "aftercare-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var build = sync.OnceValue(func() error {
	for program, pkg := range map[string]string{"aftercare": "./cmd/aftercare", "firmware-sim": "./firmware-sim"} {
		cmd := exec.CommandContext(context.Background(), "go", "build", "-o", filepath.Join(bin, program), pkg)
		cmd.Dir = filepath.Join("..", "..")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
})

// program returns the path of one of our programs, built from the tree at hand.
func program(t testing.TB, name string) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(bin, name)
}

// process is a running server.
type process struct {
	cmd   *exec.Cmd
	dir   string
	web   string // http://127.0.0.1:port
	token string
	mqtt  string // host:port
	log   *syncBuffer
	done  chan struct{}
	err   error
}

// start runs `aftercare serve` on free ports with its data in dir, and waits until it says that it is ready. before is put in front
// of the command (strace); it may be nil.
func start(t testing.TB, dir string, before []string, args ...string) *process {
	t.Helper()
	line := append([]string{program(t, "aftercare"), "serve", "--data", dir, "--owner.listen", "127.0.0.1:0", "--web.listen", "127.0.0.1:0", "--gateway.listen", "127.0.0.1:0"}, args...)
	return launch(t, dir, append(before, line...))
}

func launch(t testing.TB, dir string, line []string) *process {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), line[0], line[1:]...)
	p := &process{cmd: cmd, dir: dir, log: &syncBuffer{}, done: make(chan struct{})}
	cmd.Stderr = p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with strace in front there are two processes to signal
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if strings.Contains(p.log.String(), "WARNING: DATA RACE") { // built with GOFLAGS=-race
			t.Errorf("a data race in the server\n%s", p.log)
		}
	})
	ready := make(chan struct{})
	go func() {
		p.read(stdout, ready)
		p.err = cmd.Wait()
		close(p.done)
	}()
	select {
	case <-ready:
	case <-p.done:
		t.Fatalf("the server ended before it was ready: %v\n%s", p.err, p.log)
	case <-time.After(60 * time.Second):
		t.Fatalf("the server is not ready after 60 s\n%s", p.log)
	}
	return p
}

// read finds the addresses that the server prints.
func (p *process) read(r io.Reader, ready chan struct{}) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		for _, word := range strings.Fields(lines.Text()) {
			u, err := url.Parse(word)
			switch {
			case err != nil || u.Host == "":
			case u.Query().Get("token") != "" && p.web == "":
				p.web, p.token = "http://"+u.Host, u.Query().Get("token")
			case u.Scheme == "mqtt" && p.mqtt == "":
				p.mqtt = u.Host
				close(ready)
			}
		}
		_, _ = fmt.Fprintln(p.log, lines.Text())
	}
}

// kill ends the server without a chance to tidy up.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// stop asks the server to end and returns how long it took.
func (p *process) stop(t testing.TB) time.Duration {
	t.Helper()
	begin := time.Now()
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("the server does not end\n%s", p.log)
	}
	if p.err != nil {
		t.Errorf("the server ended with %v\n%s", p.err, p.log)
	}
	return time.Since(begin)
}

// get asks the server as a person with the link does.
func (p *process) get(t testing.TB, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.web+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// api reads JSON from the API.
func (p *process) api(t testing.TB, path string, into any) {
	t.Helper()
	code, body := p.get(t, "/api/v1"+path)
	if code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, code, body)
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		t.Fatalf("%s: %v in %.200s", path, err, body)
	}
}

// metric sums all series of a name whose labels hold the given text.
func (p *process) metric(t testing.TB, name, labels string) float64 {
	t.Helper()
	values, err := p.scrape(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	return values(name, labels)
}

// scrape reads the metrics once; the function it returns answers as metric does.
func (p *process) scrape(ctx context.Context) (func(name, labels string) float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.web+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return func(name, labels string) (sum float64) {
		for line := range bytes.Lines(body) {
			rest, ok := strings.CutPrefix(string(line), name)
			if !ok || rest[0] != ' ' && rest[0] != '{' || !strings.Contains(rest, labels) {
				continue
			}
			words := strings.Fields(rest)
			v, err := strconv.ParseFloat(words[len(words)-1], 64)
			if err != nil {
				return math.NaN() // equal to nothing
			}
			sum += v
		}
		return sum
	}, err
}

// conserved asserts that what came in is stored, put aside or refused by reason (REL-12). What is under way, such as our own readings
// of who came and went, gets a moment; what is lost never comes.
func (p *process) conserved(t testing.TB) {
	t.Helper()
	eventually(t, 5*time.Second, func() error {
		in := p.metric(t, "aftercare_readings_in_total", "")
		out := p.metric(t, "aftercare_readings_stored_total", "") + p.metric(t, "aftercare_readings_quarantined_total", "") + p.metric(t, "aftercare_readings_refused_total", "")
		if in != out {
			return fmt.Errorf("in %v, stored + quarantined + refused %v", in, out)
		}
		return nil
	})
}

// opened opens a stopped server's journal; the function it returns closes it.
func opened(t testing.TB, dir string) (*journal.Journal, func()) {
	t.Helper()
	cfg := journal.DefaultConfig()
	cfg.Dir = dir
	j, err := journal.Open(t.Context(), cfg, obs.Discard(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return j, func() {
		t.Helper()
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}

// eventually asks until ok answers nil, for a bounded time: for what another process does in its own time.
func eventually(t testing.TB, within time.Duration, ok func() error) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("not within %v: %v", within, err)
		case <-every.C:
		}
	}
}

// tool returns the path of a program of the system; the test is skipped, loudly, when it is not there.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/bin") {
		if p := filepath.Join(dir, name); executable(p) {
			return p
		}
	}
	t.Skipf("SKIPPED: %s is not installed, so what this test proves is not proven here", name)
	return ""
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var errNotYet = errors.New("not yet")
