// Command firmware-sim plays devices for aftercare: a demo fleet with a past, a present and faults (demo), as many small messages
// as a server acknowledges (load), or months of a fleet in a file with the truth about its faults beside it (simulate). MQTT and
// that file are its only ways in; it shares no code with the server.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"aftercare/firmware-sim/internal/demo"
	"aftercare/firmware-sim/internal/fleetfile"
	"aftercare/firmware-sim/internal/mqttload"
)

const usage = `firmware-sim plays devices for aftercare.

  firmware-sim demo --fleet FILE --state DIR [flags]   a fleet with 14 days of past, live reports and faults
  firmware-sim load --fleet FILE [flags]               many small QoS 1 messages, and how fast they are acknowledged
  firmware-sim simulate --out FILE [flags]             what a fleet would have sent over months, and the truth about it
  firmware-sim kinds                                   what can be the matter with a simulated device

FILE is the fleet file that "aftercare demo" writes: tenant, broker, and each device's model, serial and secret.
"firmware-sim demo --help" and "firmware-sim load --help" list the flags.
`

// stopWithin is how long an orderly stop may take before the program ends all the same.
const stopWithin = 1800 * time.Millisecond

func main() { os.Exit(process()) }

// process runs the program until it is done or told to stop.
func process() int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- run(ctx, os.Args[1:], os.Stdout, os.Stderr) }()
	select {
	case code := <-done:
		return code
	case <-ctx.Done():
	}
	cancel() // a second signal ends it at once
	select {
	case code := <-done:
		return code
	case <-time.After(stopWithin):
		return 0
	}
}

// run is the program without its process: exit code 0 for done, 1 for failed, 2 for a wrong call.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(errOut, usage)
		return 2
	}
	var err error
	switch args[0] {
	case "simulate":
		err = runSimulate(ctx, args[1:], out)
	case "demo":
		err = runDemo(ctx, args[1:], out)
	case "load":
		err = runLoad(ctx, args[1:], out, errOut)
	case "kinds":
		err = runKinds(args[1:], out)
	case "help", "-h", "--help":
		fmt.Fprint(out, usage)
	default:
		if strings.HasPrefix(args[0], "-") {
			args = append([]string{"simulate"}, args...)
			err = runSimulate(ctx, args[1:], out)
			break
		}
		fmt.Fprintf(errOut, "firmware-sim: no command %q.\n\n%s", args[0], usage)
		return 2
	}
	var wrong *usageError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(errOut, "firmware-sim %s: %v (--help lists the flags)\n", args[0], err)
		return 2
	default:
		fmt.Fprintf(errOut, "firmware-sim %s: %v\n", args[0], err)
		return 1
	}
}

// usageError is a mistake in the call.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// parse reads flags; what is left over is a mistake.
func parse(fs *flag.FlagSet, args []string, out io.Writer, what string) error {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(out, "%s\n\nFlags:\n", what)
		fs.SetOutput(out)
		fs.PrintDefaults()
		return err
	}
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected %q", fs.Arg(0))
	}
	if err != nil {
		return &usageError{err}
	}
	return nil
}

// readFleet loads the fleet file; a broker given by flag wins over the file's.
func readFleet(path, broker string) (*fleetfile.Fleet, string, error) {
	if path == "" {
		return nil, "", &usageError{errors.New("--fleet is missing")}
	}
	fleet, err := fleetfile.Read(path)
	if err != nil {
		return nil, "", err
	}
	if broker == "" {
		broker = fleet.Broker
	}
	if !strings.Contains(broker, "://") {
		return nil, "", &usageError{fmt.Errorf("broker %q: want tcp://host:port", broker)}
	}
	return fleet, broker, nil
}

func runDemo(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	path := fs.String("fleet", "", "fleet `file`, as aftercare demo writes it")
	broker := fs.String("broker", "", "`address` of the server, tcp://host:port (default: the fleet file's)")
	state := fs.String("state", "", "`directory` in which the devices remember what they have sent")
	interval := fs.Duration("interval", 10*time.Second, "time between two live reports of a device")
	speed := fs.Float64("speed", 1, "how fast live faults follow one another; 2 is twice as fast")
	seed := fs.Uint64("seed", 1, "what the devices' values are drawn from")
	err := parse(fs, args, out, "firmware-sim demo plays a fleet: 14 days of past once, then live reports and faults, until it is stopped.")
	if err != nil {
		return err
	}
	switch {
	case *state == "":
		return &usageError{errors.New("--state is missing")}
	case *interval < time.Second:
		return &usageError{fmt.Errorf("interval %v: want at least 1s", *interval)}
	case *speed <= 0 || *speed > 100:
		return &usageError{fmt.Errorf("speed %v: want more than 0, at most 100", *speed)}
	}
	fleet, address, err := readFleet(*path, *broker)
	if err != nil {
		return err
	}
	return demo.Run(ctx, demo.Config{Broker: address, StateDir: *state, Interval: *interval, Pace: *speed, Seed: *seed, Out: out}, fleet)
}

func runLoad(ctx context.Context, args []string, out, errOut io.Writer) error {
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	var c mqttload.Config
	path := fs.String("fleet", "", "fleet `file`, as aftercare demo writes it")
	broker := fs.String("broker", "", "`address` of the server, tcp://host:port (default: the fleet file's)")
	fs.IntVar(&c.Connections, "connections", 50, "devices that connect, the first ones of the fleet")
	fs.Float64Var(&c.Rate, "rate", 0, "messages a second over all connections; 0 is as fast as acknowledged")
	fs.IntVar(&c.InFlight, "inflight", 20, "unacknowledged messages of one connection")
	fs.DurationVar(&c.Duration, "duration", 30*time.Second, "how long to send; 0 with --messages")
	fs.Int64Var(&c.Messages, "messages", 0, "messages of each connection; 0 is no limit")
	fs.Int64Var(&c.FirstSeq, "first-seq", 1, "running number of each device's first message")
	fs.Int64Var(&c.Boot, "boot", 1, "boot counter the messages carry")
	fs.BoolVar(&c.Reconnect, "reconnect", false, "connect again and repeat what is open when a connection breaks")
	fs.StringVar(&c.AckedPath, "acked", "", "append what was acknowledged to this `file`, a range a line: serial boot first last")
	asJSON := fs.Bool("json", false, "print the result as one line of JSON, progress on standard error")
	err := parse(fs, args, out, "firmware-sim load sends small QoS 1 messages and measures the time to their acknowledgement.\n"+
		"With a rate, time counts from when a message was due. A server that goes away ends it in good order.")
	if err != nil {
		return err
	}
	fleet, address, err := readFleet(*path, *broker)
	if err != nil {
		return err
	}
	c.Broker, c.Out = address, out
	if *asJSON {
		c.Out = errOut
	}
	if err := c.Validate(); err != nil {
		return &usageError{err}
	}
	res, err := mqttload.Run(ctx, c, fleet)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(out).Encode(res)
	}
	_, err = fmt.Fprintln(out, res)
	return err
}
