package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/cases"
	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/incidents"
	"aftercare/internal/ingest"
	"aftercare/internal/obs"
	"aftercare/internal/outreach"
	"aftercare/internal/presence"
	"aftercare/internal/registry"
	"aftercare/internal/seal"
	"aftercare/internal/store"
	"aftercare/internal/wire"
	"aftercare/internal/words"
)

// ReplayOptions is what Replay is given.
type ReplayOptions struct {
	Config   config.Config // its data folder is made new; one with a database in it is an error
	Files    *Files
	Tenant   string
	Messages io.Reader // what devices sent, see Replay; compressed with gzip or not
	Devices  io.Reader // the list of devices, as Registry.ImportCSV takes it
	People   io.Reader // who lives together and how they want to hear of their things, see readPeople; nil: owners are made up
	Facts    io.Reader // what people entered about them: services and storage, one a line; nil: nothing
	Findings io.Writer // one finding a line as JSON, at the end a ReplayReport; nil: nobody wants them
	Sent     io.Writer // one message to an owner a line as JSON; nil: nobody wants them
	Log      io.Writer // warnings and errors of the parts
}

// replayStep is how often, in simulated time, partitions get a tick and silence is looked for.
const replayStep = 30 * time.Second

// Replay runs what devices sent through the server's own parts (ingest, presence, rules, cases, outreach) on simulated time, and
// returns when all of it is worked through. There is no broker, no database server and no clock: each line of o.Messages,
//
//	<unix milliseconds of sending> <topic> <payload>
//
// in order of sending, sets the time at which it is received; in between partitions get their ticks. The journal is memory and
// keeps nothing, SQL is real. The same input gives the same findings and messages, byte for byte.
//
// A line that cannot be read is counted and named in the report, what ingest puts aside or refuses is counted by reason; that
// nothing else is missing is checked at the end.
func Replay(ctx context.Context, o ReplayOptions) (report ReplayReport, err error) {
	r := &replay{options: o, cfg: o.Config, metrics: prometheus.NewRegistry()}
	defer func() { err = errors.Join(err, r.close()) }()
	src := openReplayFile(o.Messages)
	defer src.stop()
	first, ok := src.next()
	if !ok {
		return r.report, errors.Join(src.err, errors.New("there is no line to replay"))
	}
	r.now = first.at
	if err := r.build(ctx); err != nil {
		return r.report, err
	}
	if err := r.begin(ctx); err != nil {
		return r.report, err
	}
	for l := first; ok; l, ok = src.next() {
		if err := r.line(ctx, l); err != nil {
			return r.report, fmt.Errorf("line %d: %w", l.number, err)
		}
	}
	r.report.Broken, r.report.BrokenLines = src.broken, src.named
	if src.err != nil {
		return r.report, src.err
	}
	return r.finish(ctx)
}

// replay is the parts that run, and the time they run in. One goroutine uses it: what is called from the parts is called
// from there.
type replay struct {
	options ReplayOptions
	cfg     config.Config
	metrics *prometheus.Registry
	now     time.Time // the simulated time; it does not go back
	next    time.Time // of the next tick

	store    *store.Store
	registry *registry.Registry
	presence *presence.Tracker
	ingest   *ingest.Ingest
	hand     *ingest.Hand
	tape     *tape
	cases    *cases.Cases
	outreach *outreach.Outreach
	outbox   *replayOutbox
	life     *replayLife
	incident *incidents.Incidents
	passed   time.Time    // when incidents were looked for last
	facts    []replayFact // to come
	changed  bool         // something about a device did that is not in the journal yet

	report ReplayReport
}

func (r *replay) clock() time.Time { return r.now }

// build makes the parts in the order of the data path, each with the time as an argument.
func (r *replay) build(ctx context.Context) (err error) {
	log := obs.Logger(obs.Config{Level: "warn", Format: "text"}, r.options.Log)
	if err := os.MkdirAll(r.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make the data folder %q (data): %w", r.cfg.Data, err)
	}
	r.cfg.Store.Path, r.cfg.Registry.KeyFile = filepath.Join(r.cfg.Data, "aftercare.db"), filepath.Join(r.cfg.Data, "registry.key")
	if _, err := os.Stat(r.cfg.Store.Path); err == nil {
		return fmt.Errorf("there is a database in %q already: a replay begins with nothing, name a new folder", r.cfg.Data)
	}
	r.cfg.Store.NoSync, r.cfg.Presence.Every, r.cfg.Presence.SnapshotEvery = true, replayStep, time.Hour
	if r.store, err = store.Open(ctx, r.cfg.Store, log); err != nil {
		return err
	}
	files := r.options.Files
	if r.registry, err = registry.New(ctx, r.cfg.Registry, registry.Deps{Store: r.store, Models: files.Models, Warranty: files.Warranty, Log: log, Registerer: r.metrics, Now: r.clock}); err != nil {
		return err
	}
	r.registry.UseRules(componentOf(files.Rules))
	if err := importPeople(ctx, r.registry, r.options.Tenant, r.options.People); err != nil {
		return fmt.Errorf("the list of people: %w", err)
	}
	if r.report.Devices, err = importReplayed(ctx, r.registry, r.options.Tenant, r.options.Devices); err != nil {
		return fmt.Errorf("the list of devices: %w", err)
	}
	if r.facts, err = readReplayFacts(r.options.Facts); err != nil {
		return fmt.Errorf("the facts: %w", err)
	}
	r.tape = newTape(r.cfg.Journal.Partitions, files.Rules)
	r.presence = presence.New(r.cfg.Presence, presence.Deps{Devices: r.registry, Models: r.registry, Log: log, Metrics: r.metrics, Now: r.clock,
		Record: func(ctx context.Context, rs []fleet.Reading) error { return r.ingest.Record(ctx, rs) }})
	r.ingest = ingest.New(r.cfg.Ingest, ingest.Deps{Journal: r.tape, Devices: r.registry, Models: files.Models, Log: log, Metrics: r.metrics, Now: r.clock,
		Firmware: r, Presence: r.presence, Quality: r.store})
	r.hand = r.ingest.ByHand()
	r.buildCare(log)
	return nil
}

// buildCare makes the parts that look after people.
func (r *replay) buildCare(log *slog.Logger) {
	files := r.options.Files
	r.life = newReplayLife(r)
	r.outbox = &replayOutbox{Store: r.store, to: r.options.Sent, report: &r.report, registry: r.registry, tenant: r.options.Tenant, now: r.clock,
		told: r.life.told, asked: map[string]fleet.OutboxRow{}, ended: map[string]bool{}}
	r.incident = incidents.New(r.cfg.Incidents, incidents.Deps{Store: r.outbox, Evidence: r.store, Children: r.outbox, Devices: r.registry, Cases: replayCases{r},
		Log: log, Registerer: r.metrics})
	r.cases = cases.New(r.cfg.Cases, cases.Deps{Store: r.outbox, Timers: r.outbox, Devices: r.registry, Links: r.presence, Incidents: r.incident,
		Maintenance: windows{r.registry}, Wishes: wishes{r.registry, r.store}, Usage: replayUsage{r}, Parts: replayParts{r.registry, componentOf(files.Rules)},
		Deliveries: r.store, Log: log, Registerer: r.metrics})
	cfg := r.cfg.Outreach
	cfg.URL = "https://aftercare.invalid" // so that messages can be opened and answered
	r.outreach = outreach.New(cfg, outreach.Deps{Outbox: r.outbox, Company: r.outbox, Contacts: r.store, Cases: r.store, Registry: r.registry,
		Households: r.registry, Entitlements: r.registry, Incidents: r.store, People: r.registry, Receipts: r.store, Seal: seal.New(make([]byte, linksKey)),
		Words: words.New(files.Models, files.Rules.Texts).With(files.Templates), Channels: []outreach.Channel{replayPhone("ntfy"), replayPhone("email")},
		Log: log, Registerer: r.metrics, Now: r.clock})
}

func (r *replay) close() error {
	if r.store == nil {
		return nil
	}
	return r.store.Close()
}

// Observed is what ingest calls when a device names a firmware that the registry does not know of.
func (r *replay) Observed(key fleet.DeviceKey, firmware string) {
	r.registry.Observed(key, firmware)
	r.changed = true
}

// begin says that we receive from now on, and what is known of the devices.
func (r *replay) begin(ctx context.Context) error {
	r.next, r.report.From = r.now.Add(replayStep), r.now
	if err := r.hand.Begin(ctx); err != nil {
		return err
	}
	r.changed = true
	if err := r.enter(ctx); err != nil {
		return err
	}
	if err := r.know(ctx); err != nil {
		return err
	}
	r.presence.Look(ctx, r.now)
	return r.settle(ctx)
}

// line lets time go on to that of the line, and takes its message in.
func (r *replay) line(ctx context.Context, l replayLine) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.until(ctx, l.at); err != nil {
		return err
	}
	r.report.Messages++
	r.report.To = r.now
	return r.ingest.Submit(ctx, wire.Inbound{Door: replayDoor, Trusted: true, Topic: l.topic, Payload: l.payload})
}

// until lets time go on. What was queued is committed at the time it came, before a later one begins.
func (r *replay) until(ctx context.Context, at time.Time) error {
	if !at.After(r.now) {
		return nil
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	for ; !r.next.After(at); r.next = r.next.Add(replayStep) {
		r.now = r.next
		r.presence.Look(ctx, r.now)
		if err := r.commit(ctx); err != nil {
			return err
		}
		if err := r.hand.Tick(ctx); err != nil {
			return err
		}
		if err := r.enter(ctx); err != nil {
			return err
		}
		if err := r.know(ctx); err != nil {
			return err
		}
		if every := r.cfg.Rules.Engine.FleetEvery; every > 0 && r.now.Truncate(every).Equal(r.now.Truncate(replayStep)) {
			if err := r.tape.summarise(ctx, r.now); err != nil {
				return err
			}
		}
		if err := r.settle(ctx); err != nil {
			return err
		}
		if err := r.lookForIncidents(ctx); err != nil {
			return err
		}
	}
	r.now = at
	return nil
}

// commit makes what is queued a record and brings what follows from it to its end.
func (r *replay) commit(ctx context.Context) error {
	if err := r.hand.Commit(ctx); err != nil {
		return err
	}
	if err := r.know(ctx); err != nil {
		return err
	}
	return r.settle(ctx)
}

// settle applies what the rules found to cases and handles the messages that are due.
func (r *replay) settle(ctx context.Context) error {
	for _, found := range r.tape.take() {
		record, err := wire.EncodeFinding(found.partition, found.finding)
		if err != nil {
			return err
		}
		f, err := wire.DecodeFinding(record) // as cases read it
		if err != nil {
			return err
		}
		if err := r.cases.Apply(ctx, f, r.now); err != nil {
			return err
		}
		r.report.count(&f)
		if r.options.Findings != nil {
			if _, err := fmt.Fprintf(r.options.Findings, "%s\n", record.Body); err != nil {
				return fmt.Errorf("write findings: %w", err)
			}
		}
	}
	if err := r.life.live(ctx); err != nil {
		return err
	}
	if r.outbox.timers.due(r.now) {
		if err := r.cases.TimersPass(ctx, r.now); err != nil {
			return err
		}
	}
	if !r.outbox.times.due(r.now) {
		return nil
	}
	if err := r.outreach.Pass(ctx, r.now); err != nil {
		return err
	}
	return r.outbox.err
}

// finish ends everything at the time of the last line: a file that ends is no silence.
func (r *replay) finish(ctx context.Context) (ReplayReport, error) {
	if err := r.commit(ctx); err != nil {
		return r.report, err
	}
	if err := r.hand.End(ctx); err != nil {
		return r.report, err
	}
	if err := r.settle(ctx); err != nil {
		return r.report, err
	}
	if err := r.outbox.left(ctx, r.now); err != nil {
		return r.report, err
	}
	r.report.Rules = r.options.Files.Rules.Hash()
	if err := r.report.conserved(r.metrics, r.tape.states); err != nil {
		return r.report, err
	}
	return r.report, r.report.write(r.options.Findings)
}
