package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/registry"
	"aftercare/internal/rules/engine"
	"aftercare/internal/web"
	"aftercare/internal/wire"
)

func (s *server) openRegistry(ctx context.Context) (err error) {
	s.registry, err = registry.New(ctx, s.cfg.Registry, registry.Deps{Store: s.store, Models: s.files.Models, Warranty: s.files.Warranty, Log: s.log,
		Registerer: s.metrics})
	return err
}

// openRules comes before the engine, which begins with what is in force, not with what the folder holds now.
func (s *server) openRules(ctx context.Context) (err error) {
	if s.rules, err = openRules(ctx, s.cfg, s.files, s.store, s.log); err != nil {
		return err
	}
	s.registry.UseRules(s.rules.component)
	s.rules.sender, s.rules.append, s.rules.parts = s.has("rules"), s.journal.Append, s.journal.Partitions()
	return nil
}

func (s *server) buildEngine(context.Context) error {
	var before engine.Past
	if s.history != nil {
		before = past{s.history, s}
	}
	s.engine = engine.New(s.cfg.Rules.Engine, s.rules.Set(), engine.Deps{
		Past:       before,
		Partitions: s.journal.Partitions(),
		Log:        readings{s.journal},
		Findings:   findings{s.journal.Append, s.log},
		Snapshots:  ruleState{s.journal},
		Summaries:  readings{s.journal},
		Alone:      s.cfg.Journal.URL == "", // the lock on the data folder: no other process has this journal
		Logger:     s.log,
		Registerer: s.metrics,
	})
	if !s.has("rules") {
		return nil
	}
	s.health.Add("rules", s.engine.Check)
	s.journal.Protect(s.snapshotted)
	return s.metrics.Register(rulesLag{s.engine, prometheus.NewDesc("aftercare_rules_lag_seconds",
		"How old the last record is that the rules stepped; an idle partition gets one every few seconds.", []string{"partition"}, nil),
		prometheus.NewDesc("aftercare_rules_summary_age_seconds",
			"How old the last summary of the fleet is that rules compare devices with; one that would say the same is made once a day.", []string{"partition"}, nil)})
}

// rulesLag says how far the rules are behind. They keep their position in their own snapshots, so the journal cannot tell.
type rulesLag struct {
	engine *engine.Engine
	desc   *prometheus.Desc
	age    *prometheus.Desc
}

func (r rulesLag) Describe(ch chan<- *prometheus.Desc) { ch <- r.desc; ch <- r.age }

func (r rulesLag) Collect(ch chan<- prometheus.Metric) {
	for _, st := range r.engine.Stats() {
		if !st.Received.IsZero() {
			ch <- prometheus.MustNewConstMetric(r.desc, prometheus.GaugeValue, time.Since(st.Received).Seconds(), strconv.Itoa(st.Partition))
		}
		if !st.Summary.IsZero() {
			ch <- prometheus.MustNewConstMetric(r.age, prometheus.GaugeValue, time.Since(st.Summary).Seconds(), strconv.Itoa(st.Partition))
		}
	}
}

// snapshotted says, by partition, up to where the rules need no reading any more.
func (s *server) snapshotted() map[int]uint64 {
	out := make(map[int]uint64, s.journal.Partitions())
	for p := range s.journal.Partitions() {
		out[p] = s.engine.Position(p)
	}
	return out
}

func (s *server) buildPages(context.Context) error {
	token, err := s.linkToken()
	if err != nil {
		return err
	}
	s.cfg.Web.Token = fleet.Secret(token)
	s.hub = web.NewHub(s.metrics)
	s.pages, err = newPages(s)
	return err
}

// linkToken returns the token of the start-up link: the configured one, or one that is made at the first start and kept, so that the
// link goes on working after a restart.
func (s *server) linkToken() (string, error) {
	token, err := LinkToken(s.cfg)
	if !errors.Is(err, os.ErrNotExist) {
		return token, err
	}
	token = rand.Text()
	return token, writeSecret(filepath.Join(s.cfg.Data, linkFile), []byte(token+"\n"))
}

const linkFile = "link.token"

// LinkToken returns the token with which the pages and the API of a server with this configuration are opened. The error is
// os.ErrNotExist when no server has run on its data folder yet.
func LinkToken(cfg config.Config) (string, error) {
	if cfg.Web.Token != "" {
		return string(cfg.Web.Token), nil
	}
	text, err := os.ReadFile(filepath.Join(cfg.Data, linkFile))
	if err != nil {
		return "", fmt.Errorf("read the link's token: %w", err)
	}
	if token := strings.TrimSpace(string(text)); len(token) >= web.MinToken {
		return token, nil
	}
	return "", fmt.Errorf("the link's token is damaged: %w", os.ErrNotExist)
}

// rejectLine puts a line that the database refuses into quarantine, with the database's reason.
func (s *server) rejectLine(ctx context.Context, line []byte, reason string) error {
	q := fleet.Quarantined{At: time.Now(), Reason: reasonDatabase, Detail: reason, Payload: line}
	var r fleet.Reading
	if _, err := wire.NextLine(line, &r); err == nil {
		q.Device, q.Model = fleet.DeviceKey{Tenant: strings.Clone(r.Device.Tenant), Serial: strings.Clone(r.Device.Serial)}, strings.Clone(r.Model)
	}
	body, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("encode a refused line: %w", err)
	}
	return s.journal.Append(ctx, []wire.Record{{Stream: wire.Quarantine, Partition: s.journal.PartitionOf(q.Device), Kind: wire.KindQuarantine,
		Received: q.At, ID: fleet.ID("rej", string(line)), Body: body}})
}
