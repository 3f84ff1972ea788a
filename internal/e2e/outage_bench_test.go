package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"aftercare/internal/history/embedded"
)

// BenchmarkOutage is the outage that the product is built for: InfluxDB away for 3 minutes (or AFTERCARE_OUTAGE) at 10,000 readings a
// second over 50 connections, which go on while history catches up. The database runs in this process. (REL-04, REL-12)
//
//	p99-…-ms          time to the acknowledgement, before, during and after (while history catches up); from when the message was due
//	rss-…-MB          the server's resident memory at its highest
//	backlog-records   the most that history had not committed; records, each of some readings
//	waiting-lines     the most that history held in memory
//	journal-B/reading bytes on disk a reading
//	caught-up-s       from the database's return until history was less than 2 s behind
//	catch-up/s        readings a second written to the database meanwhile, the live ones among them
//	rules-behind      the most readings that were stored and not yet seen by the rules, after the return
//	message-ms        from the acknowledgement of a fault, in the outage, to the message in the owner's inbox
//	page-ms           the owner's page, in the outage
//	load-average      of the machine at the end: everything shares its cores
func BenchmarkOutage(b *testing.B) {
	if !embedded.Available {
		b.Skip("SKIPPED: a slim build has no database to take away")
	}
	outage := 3 * time.Minute
	if s := os.Getenv("AFTERCARE_OUTAGE"); s != "" {
		var err error
		if outage, err = time.ParseDuration(s); err != nil {
			b.Fatalf("AFTERCARE_OUTAGE: %v", err)
		}
	}
	for _, a := range ways {
		b.Run(a.name, func(b *testing.B) {
			a.connections, a.rate, a.before, a.outage, a.after = 50, 10_000, 20*time.Second, outage, 20*time.Second
			for range b.N {
				figures(b, suffer(b, a))
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func figures(b *testing.B, r outcome) {
	b.Helper()
	for name, p := range map[string]phase{"before": r.before, "during": r.during, "after": r.after} {
		b.ReportMetric(float64(p.load.P99.Microseconds())/1000, "p99-"+name+"-ms")
		b.ReportMetric(p.rss, "rss-"+name+"-MB")
		b.ReportMetric(p.load.PerSecond, "acked-"+name+"/s")
	}
	b.ReportMetric(r.during.backlog, "backlog-records")
	b.ReportMetric(r.during.waiting, "waiting-lines")
	b.ReportMetric(r.bytes, "journal-B/reading")
	b.ReportMetric(r.caughtUp.Seconds(), "caught-up-s")
	b.ReportMetric(r.written, "catch-up/s")
	b.ReportMetric(r.after.rulesLag, "rules-behind")
	b.ReportMetric(float64(r.message.Microseconds())/1000, "message-ms")
	b.ReportMetric(float64(r.page.Microseconds())/1000, "page-ms")
	load, _ := os.ReadFile("/proc/loadavg")
	b.Logf("%s, load average %s", b.Name(), strings.TrimSpace(string(load)))
}
