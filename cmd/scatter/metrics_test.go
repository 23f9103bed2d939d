package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/scatter-vm/scatter/scatter"
)

// scrape reads the metrics at an address.
func scrape(t *testing.T, addr string) string {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// freeAddress is one of the loopback interface at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serving gives metrics that are served at an address until the test ends.
func serving(t *testing.T) (m *metrics, addr string) {
	t.Helper()
	m, addr = newMetrics(), freeAddress(t)
	stop, err := m.serve(t.Context(), addr, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return m, addr
}

// TestMetrics: before recv listens there is only the process, then what peers make it hold; names and units are as Prometheus wants them.
func TestMetrics(t *testing.T) {
	m, addr := serving(t)
	if text := scrape(t, addr); !strings.Contains(text, "go_goroutines ") || !strings.Contains(text, "scatter_build_info{") || strings.Contains(text, "scatter_held") {
		t.Errorf("before recv listens:\n%s", text)
	}
	read := func() []scatter.Limit {
		return []scatter.Limit{{Resource: "connections", Held: 7, Peer: 5, Most: 4096, MostPeer: 1024}, {Resource: "tries", Held: 1, Most: 32}}
	}
	m.limits.Store(&read)
	text := scrape(t, addr)
	for _, want := range []string{`scatter_held{resource="connections"} 7`, `scatter_held_limit{resource="connections"} 4096`, `scatter_held_by_peer{resource="connections"} 5`,
		`scatter_held_by_peer_limit{resource="connections"} 1024`, `scatter_held{resource="tries"} 1`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, `by_peer{resource="tries"}`) {
		t.Error("tries are not counted by peer")
	}
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// TestMetricsHoldLittle: connections beyond a few are refused, and make place when they close.
func TestMetricsHoldLittle(t *testing.T) {
	_, addr := serving(t)
	var idle []net.Conn
	for range mostScrapers {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	more, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	more.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := more.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("one more is not refused: %v", err)
	}
	idle[0].Close()
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r, err := (&http.Client{Timeout: time.Second}).Get(fmt.Sprintf("http://%s/metrics", addr))
		if err == nil {
			r.Body.Close()
			return
		}
		if time.Now().After(until) {
			t.Fatalf("a place that has become free: %v", err)
		}
	}
}

// TestMetricsOfRecv: a recv that serves tells who is at its door.
func TestMetricsOfRecv(t *testing.T) {
	dir := t.TempDir()
	tls, authority := filepath.Join(dir, "alpha"), filepath.Join(dir, "ca")
	run := func(ctx context.Context, args ...string) int {
		var out strings.Builder
		code := newApp(&out, &out, func(string) string { return "" }).Main(ctx, args)
		if code != 0 {
			t.Errorf("%v ended with %d: %s", args, code, out.String())
		}
		return code
	}
	run(t.Context(), "pki", "init", "--dir", authority)
	run(t.Context(), "pki", "issue", "--ca", authority, "--name", "alpha", "--ip", "127.0.0.1", "--dir", tls)
	listen, addr := freeAddress(t), freeAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, "recv", "--name", "alpha", "--listen", listen, "--interface", "lo", "--tls-dir", tls, "--run-dir", filepath.Join(dir, "run"), "--metrics", addr)
	}()
	await := func(addr string) net.Conn {
		for {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				return c
			}
			select {
			case code := <-ended:
				t.Fatalf("recv ended with %d", code)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	defer await(listen).Close()
	await(addr).Close()
	for until := time.Now().Add(10 * time.Second); !strings.Contains(scrape(t, addr), `scatter_held{resource="strangers"} 1`); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("the stranger is not told:\n%s", scrape(t, addr))
		}
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("recv ended with %d", code)
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("the metrics are served after recv's end")
	}
}
