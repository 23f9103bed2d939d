package target

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/tried"
	"github.com/scatter-vm/scatter/scatter/bounds"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

// TestStrangersKeepNobodyOut: connections that show no certificate do not keep a genuine source out, however many they are, and it is told.
func TestStrangersKeepNobodyOut(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	const strangers = bounds.MaxStrangers + 300
	tried.Inputs(t, "connection without certificate", strangers)
	for range strangers {
		c, err := net.Dial("tcp", s.target.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	s.open()
	if err := idle[0].SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(idle[0]); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("the first that came has still its place")
	}
	kit.Eventually(t, func() bool { return strings.Contains(s.log.String(), "had to make way") })
}

// TestOneSourceKeepsNobodyOut: a source has its share of evacuations and connections.
func TestOneSourceKeepsNobodyOut(t *testing.T) {
	d := bounds.NewDoor(slog.New(slog.DiscardHandler))
	var leaves []func()
	for range bounds.MaxOfPeer {
		leave, err := d.Enter(nil, "greedy")
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	if _, err := d.Enter(nil, "greedy"); err == nil || !strings.Contains(err.Error(), "greedy has 1024 connections") {
		t.Errorf("got %v", err)
	}
	if _, err := d.Enter(nil, "other"); err != nil {
		t.Errorf("another: %v", err)
	}
	leaves[0]()
	if _, err := d.Enter(nil, "greedy"); err != nil {
		t.Errorf("after one has left: %v", err)
	}
	r := &receiver{sessions: make(map[sessionKey]*session)}
	for i := range bounds.MaxOfSource + 1 {
		err := r.register(&session{key: sessionKey{"greedy", strings.Repeat("x", i+1)}})
		if (err == nil) != (i < bounds.MaxOfSource) {
			t.Errorf("evacuation %d: %v", i, err)
		}
	}
	if err := r.register(&session{key: sessionKey{"other", "x"}}); err != nil {
		t.Errorf("another: %v", err)
	}
}
