package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// cli runs a command of aftercare beside the running server, with its settings, and returns what it printed. The error is what it
// said when it ended with another code than 0.
func (p *process) cli(t testing.TB, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	args = append(args, "--data", p.dir, "--owner.listen", "127.0.0.1:0", "--web.listen", strings.TrimPrefix(p.web, "http://"))
	cmd := exec.CommandContext(ctx, program(t, "aftercare"), args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("aftercare %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	return out.String(), nil
}

// must is cli for what has to work.
func (p *process) must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := p.cli(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// post sends a request with a body to the API and reads the answer; in may be nil, a []byte is sent as CSV.
func (p *process) post(t testing.TB, path string, in, out any) (code int, text string) {
	t.Helper()
	kind := "application/json"
	body, isCSV := in.([]byte)
	if isCSV {
		kind = "text/csv"
	} else if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.web+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if out != nil && resp.StatusCode < 300 {
		if err := json.Unmarshal(answer, out); err != nil {
			t.Fatalf("%s: %v in %.200s", path, err, answer)
		}
	}
	return resp.StatusCode, string(answer)
}

// order is a command as a device gets it.
type order struct {
	ID         string
	Name       string
	Args       map[string]any
	ExpiresMS  int64 `json:"expires_ms"`
	Disruptive bool
}

// listener is a device that waits for commands.
type listener struct {
	t      testing.TB
	c      mqtt.Client
	topic  string // without the last level
	orders chan order
}

// listen connects a device and subscribes to its commands.
func listen(t testing.TB, p *process, model, serial, secret string) *listener {
	t.Helper()
	return hears(t, connect(t, p, serial, secret), "devices/"+tenant+"/"+model+"/"+serial+"/")
}

// hears subscribes a connection to the commands of the device whose topics begin so.
func hears(t testing.TB, c mqtt.Client, topic string) *listener {
	t.Helper()
	l := &listener{t: t, c: c, topic: topic, orders: make(chan order, 100)}
	tok := l.c.Subscribe(l.topic+"command", 1, func(_ mqtt.Client, m mqtt.Message) {
		var o order
		if err := json.Unmarshal(m.Payload(), &o); err != nil {
			o.Name = "not JSON: " + string(m.Payload())
		}
		l.orders <- o
	})
	if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatalf("subscribe to %scommand: %v", topic, tok.Error())
	}
	return l
}

// next waits for a command.
func (l *listener) next(within time.Duration) order {
	l.t.Helper()
	select {
	case o := <-l.orders:
		return o
	case <-time.After(within):
		l.t.Fatalf("no command on %s within %v", l.topic, within)
		return order{}
	}
}

// answer publishes an answer to a command, without its braces.
func (l *listener) answer(id, rest string) {
	l.t.Helper()
	tok := l.c.Publish(l.topic+"reply", 1, false, fmt.Sprintf(`{"id":%q,%s}`, id, rest))
	if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		l.t.Fatalf("answer to %s: %v", id, tok.Error())
	}
}

// influx is the server's database, as its owner asks it.
type influx struct {
	t     testing.TB
	base  string
	token string
}

// database is where a server's embedded InfluxDB answers; it was started with --history.embedded.listen.
func database(t testing.TB, dir, addr string) influx {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(dir, "influxdb", "token"))
	if err != nil {
		t.Fatal(err)
	}
	return influx{t, "http://" + addr, strings.TrimSpace(string(token))}
}

// ask runs one statement and returns the rows: a point's time in nanoseconds, tags and fields by name. What is not set is absent.
func (db influx) ask(q string) (rows []map[string]any) {
	db.t.Helper()
	target := db.base + "/query?" + url.Values{"db": {"aftercare"}, "epoch": {"ns"}, "q": {q}}.Encode()
	req, err := http.NewRequestWithContext(db.t.Context(), http.MethodGet, target, nil)
	if err != nil {
		db.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Token "+db.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		db.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Error   string
		Results []struct {
			Error  string
			Series []struct {
				Name    string
				Columns []string
				Values  [][]any
			}
		}
	}
	dec := json.NewDecoder(resp.Body)
	dec.UseNumber()
	if err := dec.Decode(&answer); err != nil || answer.Error != "" {
		db.t.Fatalf("%s: %v %s", q, err, answer.Error)
	}
	for _, r := range answer.Results {
		if strings.HasPrefix(r.Error, "database not found") {
			return nil // nothing was written yet
		}
		if r.Error != "" {
			db.t.Fatalf("%s: %s", q, r.Error)
		}
		for _, s := range r.Series {
			for _, v := range s.Values {
				row := map[string]any{"measurement": s.Name}
				for i, name := range s.Columns {
					if v[i] != nil {
						row[name] = v[i]
					}
				}
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// types returns the type of each field of a measurement.
func (db influx) types(measurement string) map[string]string {
	db.t.Helper()
	out := map[string]string{}
	for _, row := range db.ask(fmt.Sprintf("SHOW FIELD KEYS FROM %q", measurement)) {
		out[fmt.Sprint(row["fieldKey"])] = fmt.Sprint(row["fieldType"])
	}
	return out
}

// of returns all rows of a device in a measurement, oldest first.
func (db influx) of(measurement, serial string) []map[string]any {
	db.t.Helper()
	return db.ask(fmt.Sprintf(`SELECT * FROM %q WHERE "serial" = '%s'`, measurement, serial))
}

// dump is everything that is stored, as sorted lines.
func (db influx) dump() (lines []string) {
	db.t.Helper()
	for _, m := range db.ask("SHOW MEASUREMENTS") {
		for _, row := range db.ask(fmt.Sprintf("SELECT * FROM %q", m["name"])) {
			var b strings.Builder
			for _, k := range slices.Sorted(maps.Keys(row)) {
				fmt.Fprintf(&b, "%s=%v ", k, row[k])
			}
			lines = append(lines, b.String())
		}
	}
	slices.Sort(lines)
	return lines
}
