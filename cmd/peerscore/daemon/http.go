package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"peerscore/assess/probe/resolver"
	"peerscore/cmd/peerscore/reader"
)

// startHTTP serves /metrics, /healthz and the pages where http.listen says so; nil where it is off.
func (d *Daemon) startHTTP() (*http.Server, error) {
	if !d.config.HTTP.On() {
		return nil, nil
	}
	listener, err := net.Listen("tcp", d.config.HTTP.Listen)
	if err != nil {
		return nil, fmt.Errorf("http.listen: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{d})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	a := d.assessor
	(&pages{Reader: reader.New(d.Store, a.Profile, a.Rules, a.Window)}).register(mux)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	d.log.Info("http listening", "address", listener.Addr().String())
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("http ended", "error", err)
		}
	}()
	return server, nil
}

// collector turns the counters of the daemon's parts into metrics. No metric carries a domain.
type collector struct{ *Daemon }

var (
	milterSessions = prometheus.NewDesc("peerscore_milter_sessions_total", "MTA sessions by outcome.", []string{"outcome"}, nil)
	milterOpen     = prometheus.NewDesc("peerscore_milter_sessions_open", "MTA sessions at this moment.", nil, nil)
	milterMessages = prometheus.NewDesc("peerscore_milter_messages_total", "Messages by row of the attribution table.", []string{"row"}, nil)
	milterProblems = prometheus.NewDesc("peerscore_milter_problems_total", "Incomplete messages; not_recorded ones were answered before their observation was known to be on disk.", []string{"kind"}, nil)
	milterLimits   = prometheus.NewDesc("peerscore_milter_limits_total", "Messages of which something was not evaluated, by the limit that it ran into.", []string{"limit"}, nil)
	milterFrozen   = prometheus.NewDesc("peerscore_milter_frozen", "1 while everybody fails the test at once, which is not held against anybody.", []string{"test"}, nil)
	storeObserved  = prometheus.NewDesc("peerscore_store_observations_total", "Observations by what became of them: committed is on disk, lost will never be.", []string{"outcome"}, nil)
	storeFiles     = prometheus.NewDesc("peerscore_store_files_total", "Database files that were left: set_aside is corrupt, displaced was moved, deleted, cut or overwritten.", []string{"reason"}, nil)
	storeLog       = prometheus.NewDesc("peerscore_store_log_octets", "Size of the database's -wal file.", nil, nil)
	storePending   = prometheus.NewDesc("peerscore_store_pending", "Writes that wait in memory for the database.", nil, nil)
	queueRuns      = prometheus.NewDesc("peerscore_assess_runs_total", "Probe runs by outcome.", []string{"outcome"}, nil)
	queueLength    = prometheus.NewDesc("peerscore_assess_queue", "Domains in the queue by state.", []string{"state"}, nil)
	assessFrozen   = prometheus.NewDesc("peerscore_assess_frozen", "Parts of probe results that everybody loses at once, so that older ones stand.", nil, nil)
	outage         = prometheus.NewDesc("peerscore_assess_outage", "1 while no mail host answers of many that did before: port 25 may be blocked, or the network down.", nil, nil)
	validating     = prometheus.NewDesc("peerscore_resolver_validates", "1 if the resolver validates DNSSEC, 0 if not or unknown.", nil, nil)
)

// Describe is part of prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect is part of prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	to := metrics(ch)
	m := c.milter.Stats()
	to.gauge(milterOpen, m.Open)
	to.counter(milterSessions, m.Sessions, "accepted")
	to.counter(milterSessions, m.Refused, "refused")
	to.counter(milterSessions, m.TimedOut, "timed_out")
	to.counter(milterSessions, m.Malformed, "malformed")
	for row, n := range m.Messages {
		to.counter(milterMessages, n, row)
	}
	to.counter(milterProblems, m.Aborted, "aborted")
	to.counter(milterProblems, m.NotEvaluated, "not_evaluated")
	to.counter(milterProblems, m.Undressed, "undressed")
	to.counter(milterProblems, m.Exhausted, "too_many_lookups")
	to.counter(milterProblems, m.NotRecorded, "not_recorded")
	to.counter(milterProblems, m.Panics, "panic")
	to.counter(milterProblems, m.Held, "held_back")
	kept := c.Store.Counters()
	to.counter(storeObserved, kept.Committed, "committed")
	to.counter(storeObserved, kept.Lost, "lost")
	to.gauge(storePending, kept.Pending)
	to.counter(storeFiles, kept.SetAside, "set_aside")
	to.counter(storeFiles, kept.Displaced, "displaced")
	to.gauge(storeLog, int(kept.Log))
	for name, n := range m.Limits {
		to.counter(milterLimits, n, name)
	}
	q := c.queue.Stats()
	to.counter(queueRuns, int64(q.Runs-q.Failed), "measured")
	to.counter(queueRuns, int64(q.Failed), "failed")
	to.counter(queueRuns, int64(q.OverBudget), "over_budget")
	to.counter(queueRuns, int64(q.Dropped), "dropped")
	to.gauge(queueLength, q.Waiting, "waiting")
	to.gauge(queueLength, q.Running, "running")
	to.flag(outage, q.Frozen())
	to.gauge(assessFrozen, len(c.assessor.Frozen()))
	for _, test := range []string{"StartTLS", "DKIM"} {
		to.flag(milterFrozen, slices.Contains(m.Frozen, test), test)
	}
	to.flag(validating, c.resolver.Validation().Validates == resolver.ValidatesYes)
}

// metrics takes what is collected.
type metrics chan<- prometheus.Metric

func (m metrics) counter(desc *prometheus.Desc, n int64, labels ...string) {
	m <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
}

func (m metrics) gauge(desc *prometheus.Desc, n int, labels ...string) {
	m <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), labels...)
}

func (m metrics) flag(desc *prometheus.Desc, on bool, labels ...string) {
	n := 0
	if on {
		n = 1
	}
	m.gauge(desc, n, labels...)
}
