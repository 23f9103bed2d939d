package metrics

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter"
)

// serving gives metrics that are served at an address until the test ends.
func serving(t *testing.T) (m *Metrics, addr string) {
	t.Helper()
	m, addr = New("1.2.3"), kit.FreeAddress(t)
	stop, err := m.Serve(t.Context(), addr, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return m, addr
}

// TestMetrics: before recv listens there is only the process, then what peers make it hold; names and units are as Prometheus wants them.
func TestMetrics(t *testing.T) {
	m, addr := serving(t)
	if text := kit.Scrape(t, addr); !strings.Contains(text, "go_goroutines ") || !strings.Contains(text, "scatter_build_info{") || strings.Contains(text, "scatter_held") {
		t.Errorf("before recv listens:\n%s", text)
	}
	read := func() []scatter.Limit {
		return []scatter.Limit{{Resource: "connections", Held: 7, Peer: 5, Most: 4096, MostPeer: 1024}, {Resource: "tries", Held: 1, Most: 32}}
	}
	m.limits.Store(&read)
	text := kit.Scrape(t, addr)
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
