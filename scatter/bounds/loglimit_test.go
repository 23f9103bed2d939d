package bounds

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

// TestPeersCannotFillTheLog: one peer's records stop at its bound, other peers' do not, and ours never.
func TestPeersCannotFillTheLog(t *testing.T) {
	book := &kit.LogBook{}
	log, ledger := LimitLog(slog.New(slog.NewTextHandler(book, nil)))
	greedy := log.With("vm", "web", "source", "greedy")
	for range 10 * MaxLogPeer / RecordBytes {
		greedy.Warn("failed", "err", strings.Repeat("x", 100))
	}
	if n := len(book.String()); n > 3*MaxLogPeer {
		t.Errorf("one peer has %d bytes logged, of which %d may be", n, MaxLogPeer)
	}
	if l := ledger.Limit(); l.Peer > l.MostPeer || l.Peer < l.MostPeer*9/10 || l.Held < l.MostPeer*9/10 {
		t.Errorf("told: %+v", l)
	}
	log.Warn("connection ended", "peer", "10.0.0.9:4711")
	log.With("source", "modest").Info("loaded")
	for range maxLog / RecordBytes {
		log.Info("ours")
	}
	for _, s := range []string{"10.0.0.9:4711", "source=modest"} {
		if !strings.Contains(book.String(), s) {
			t.Errorf("another peer's record is missing: %s", s)
		}
	}
	if n := strings.Count(book.String(), "msg=ours"); n != maxLog/RecordBytes {
		t.Errorf("%d of %d records of our own", n, maxLog/RecordBytes)
	}
}

// TestLogIsForgiven: what was too much is told, and a peer that is silent for a while is heard again; many peers have one bound together.
func TestLogIsForgiven(t *testing.T) {
	_, l := LimitLog(slog.New(slog.DiscardHandler))
	now := time.Now()
	if ok, left := l.spend("a", MaxLogPeer, now); !ok || left != 0 {
		t.Errorf("at first: %v, %d", ok, left)
	}
	if ok, _ := l.spend("a", 1, now); ok {
		t.Error("more than a peer may")
	}
	now = now.Add(2 * time.Minute)
	if ok, left := l.spend("a", 100*logRatePeer, now); !ok || left != 1 {
		t.Errorf("after two minutes: %v, %d left out", ok, left)
	}
	for i := range 2 * maxLog / MaxLogPeer {
		l.spend(fmt.Sprint(i), MaxLogPeer, now)
	}
	if l.all.spent > maxLog {
		t.Errorf("all have %d bytes logged", l.all.spent)
	}
	for i := range 2 * logPeers {
		l.spend(fmt.Sprint("p", i), 1, now)
	}
	if len(l.peers) > logPeers {
		t.Errorf("%d peers are told apart", len(l.peers))
	}
}
