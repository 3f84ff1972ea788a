package bridge

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// What configs/bridge/README.md tells people to give Mosquitto works: the bridge gets all it needs, and a device cannot speak for
// another one (SEC-02, as far as the broker is concerned).
func TestReadmeForMosquitto(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "configs", "bridge", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Mosquitto\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "```")
	if len(blocks) != 5 {
		t.Fatalf("%d code blocks, want settings and ACL", len(blocks)/2)
	}
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hash := mosquittoHash("secret")
	passwords := write("passwords", fmt.Sprintf("aftercare:%s\nA1:%s\nB2:%s\n", hash, hash, hash))
	var settings strings.Builder
	for line := range strings.Lines(blocks[1]) {
		if line, _, _ = strings.Cut(line, "#"); !strings.HasPrefix(line, "persistence_location") { // the test has its own folder
			settings.WriteString(strings.TrimSpace(line) + "\n")
		}
	}
	m := newBrokerWith(t, settings.String()+"allow_anonymous false\npassword_file "+passwords+"\nacl_file "+write("acl", blocks[3])+"\n")

	in := newInbox(false)
	r := start(t, m.addr, in, patient, func(c *Config) { c.Username, c.Password = "aftercare", "secret" })
	eventually(t, "all granted", r.subscribed)
	device := func(serial string, got chan<- string) mqtt.Client {
		o := mqtt.NewClientOptions().AddBroker("tcp://" + m.addr).SetClientID(serial).SetUsername(serial).SetPassword("secret").SetAutoReconnect(false)
		o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) })
		c := mqtt.NewClient(o)
		done(t, c.Connect())
		t.Cleanup(func() { c.Disconnect(100) })
		return c
	}
	commands := make(chan string, 10)
	a, b := device("A1", commands), device("B2", nil)
	done(t, a.Subscribe("devices/demo/washer-w7/A1/command", 1, nil))
	done(t, b.Publish("devices/demo/washer-w7/A1/telemetry", 1, false, "forged"))
	done(t, b.Publish("devices/demo/washer-w7/A1/command", 1, false, "forged"))
	want := make([]string, 0, 4)
	for _, class := range []string{"telemetry", "event", "status", "reply"} {
		done(t, a.Publish("devices/demo/washer-w7/A1/"+class, 1, false, class))
		want = append(want, class)
	}
	in.until(t, "all classes", func() bool { return len(in.payloads()) >= len(want) })
	if got := strings.Join(in.payloads(), " "); got != strings.Join(want, " ") {
		t.Errorf("ingest got %q", got)
	}
	acked := make(chan struct{})
	if !r.Publish("devices/demo/washer-w7/A1/command", []byte("from us"), func() { close(acked) }) {
		t.Error("not published")
	}
	if got := <-commands; got != "from us" {
		t.Errorf("the device got %q", got)
	}
	<-acked
}

func done(t *testing.T, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		t.Fatalf("%v", token.Error())
	}
}
