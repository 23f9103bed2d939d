// Package metrics tells Prometheus what peers make recv hold.
package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/scatter-vm/scatter/scatter"
)

// Metrics are what Prometheus can scrape from recv: what peers make it hold beside how much they may, and the process itself. A scrape reads
// counters and asks no VM.
type Metrics struct {
	registry *prometheus.Registry
	limits   atomic.Pointer[func() []scatter.Limit] // nil before recv listens
}

// New makes the metrics of a program of this version.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "scatter_build_info", Help: "1, labelled with the program's version.",
		ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	m.registry.MustRegister(m, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// What peers make recv hold, by resource.
var (
	heldNow  = heldDesc("scatter_held", "What peers make this target hold.")
	heldMost = heldDesc("scatter_held_limit", "What peers may make this target hold; more is refused.")
	peerNow  = heldDesc("scatter_held_by_peer", "What the peer that holds most makes this target hold.")
	peerMost = heldDesc("scatter_held_by_peer_limit", "What one peer may make this target hold; more is refused.")
)

func heldDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, []string{"resource"}, nil)
}

// SetLimits gives what the metrics read at each scrape; before that they are of the process only.
func (m *Metrics) SetLimits(now func() []scatter.Limit) { m.limits.Store(&now) }

// Describe tells what there is.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{heldNow, heldMost, peerNow, peerMost} {
		to <- d
	}
}

// Collect reads it.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	read := m.limits.Load()
	if read == nil {
		return
	}
	for _, l := range (*read)() {
		gauge := func(d *prometheus.Desc, n int) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), l.Resource)
		}
		gauge(heldNow, l.Held)
		gauge(heldMost, l.Most)
		if l.MostPeer > 0 {
			gauge(peerNow, l.Peer)
			gauge(peerMost, l.MostPeer)
		}
	}
}

// Serve answers scrapes at an address, IP:PORT, until the returned function is called. An address at which this host cannot listen is an error.
func (m *Metrics) Serve(ctx context.Context, addr string, log *slog.Logger) (stop func(), err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("metrics at %s: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: scrapeTime}))
	// Nobody is asked for a certificate here: whoever can reach the address may read, and holds no more than a few connections for a few seconds.
	server := &http.Server{Handler: mux, ReadTimeout: scrapeTime, WriteTimeout: 2 * scrapeTime, IdleTimeout: 2 * scrapeTime, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	log.Info("metrics", "address", l.Addr().String())
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(&fewListener{Listener: l, places: make(chan struct{}, mostScrapers)}) })
	return func() { server.Close(); wg.Wait() }, nil
}

const (
	scrapeTime   = 10 * time.Second
	mostScrapers = 16 // connections at one time
)

// fewListener accepts no more connections than it has places.
type fewListener struct {
	net.Listener
	places chan struct{}
}

// Accept refuses what comes when all places are taken.
func (f *fewListener) Accept() (net.Conn, error) {
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case f.places <- struct{}{}:
			return &placedConn{Conn: c, leave: sync.OnceFunc(func() { <-f.places })}, nil
		default:
			c.Close()
		}
	}
}

// placedConn gives its place back.
type placedConn struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (c *placedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
