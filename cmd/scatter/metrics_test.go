package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/kit"
)

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
	listen, addr := kit.FreeAddress(t), kit.FreeAddress(t)
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
	for until := time.Now().Add(10 * time.Second); !strings.Contains(kit.Scrape(t, addr), `scatter_held{resource="strangers"} 1`); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("the stranger is not told:\n%s", kit.Scrape(t, addr))
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
