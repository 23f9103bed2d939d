//go:build lab

package deploy_test

import (
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/image"
	"github.com/scatter-vm/scatter/bench/lab/wait"
	"github.com/scatter-vm/scatter/bench/peer"
)

// A guest goes on to send to a peer, and to receive from it, over the same connections on whatever host it is.
func TestLabGuestOnTheNetwork(t *testing.T) {
	const rate = 1e6 // bytes per second
	ctx := t.Context()
	l := newLab(t, lab.Config{Targets: 1, Rate: 500e6, Bridged: true})
	h, err := l.Switch.AddHost(ctx, "peer")
	if err != nil {
		t.Fatal(err)
	}
	p, err := peer.Open(h, rate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	w := lab.SmallWorkload(1)
	w.Address, w.Peer, w.Send, w.Receive = 231, int(h.Addr.As4()[3]), rate, true
	d, guests := install(t, l, lab.GuestConfig{Name: "vm1", System: image.Networked, Memory: 160, Workload: w})
	talks(t, p, rate)
	if _, err := d.ReceiveAll(ctx, l.Targets); err != nil {
		t.Fatal(err)
	}
	r, err := d.Send(ctx, deploy.Job{Args: []string{"--verify"}})
	if err != nil || r.Exit != 0 {
		t.Fatalf("%v, exit %d: %s", err, r.Exit, r.Output)
	}
	arrived(t, d, guests)
	talks(t, p, rate)
	if err := guests[0].MoveHome(ctx); err != nil {
		t.Fatal(err)
	}
	talks(t, p, rate)
}

// talks waits until in a second most of rate has arrived, in both directions.
func talks(t *testing.T, p *peer.Peer, rate int64) {
	t.Helper()
	var c peer.Count
	for range 30 {
		from := time.Now()
		if err := wait.For(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
		c = p.Between(from, time.Now())
		if min(c.FromGuests, c.ToGuests) >= rate*3/4 {
			return
		}
	}
	t.Errorf("of %d bytes a second, these arrived in the last one: %+v", rate, c)
}
