package target

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/bounds"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
	"github.com/scatter-vm/scatter/scatter/trial"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// held is what a target says that it holds, by resource.
func (s *site) held() map[string]bounds.Limit {
	all := make(map[string]bounds.Limit)
	for _, l := range s.r.limits() {
		all[l.Resource] = l
	}
	return all
}

// TestLimits: a target counts all that peers make it hold, for each of them and for all, and forgets it when it is gone.
func TestLimits(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	doc, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	var none []string
	for name, l := range s.held() {
		row := fmt.Sprintf("\n| %s | %d | %d |", name, l.MostPeer, l.Most)
		if row = strings.Replace(row, "| 0 |", "| |", 1); !strings.Contains(string(doc), row) {
			t.Errorf("docs/security.md does not say %q", row)
		}
		if l.Most <= 0 || l.MostPeer > l.Most {
			t.Errorf("%s: bounds %+v", name, l)
		}
		if l.Held != 0 || l.Peer != 0 {
			none = append(none, name)
		}
	}
	if len(none) > 0 {
		t.Errorf("held before anybody came: %v", none)
	}
	for range 3 {
		c, err := net.Dial("tcp", s.target.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	l := s.open()
	if err := l.Conn.Send(control.Begin{Key: make([]byte, 32), Source: kit.Loopback, Window: model.WindowBytes}); err != nil {
		t.Fatal(err)
	}
	other := s.dialer()
	other.TLSDir, other.Evacuation = s.ca.Host("another"), "aa112233445566ff"
	l2, err := wire.Open(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	s.guest(0, "web", life.Waiting)
	s.guest(1, "db", life.Waiting)
	want := map[string][2]int{"strangers": {3, 0}, "connections": {2, 1}, "evacuations": {2, 1}, "vms": {2, 2}, "sockets": {1, 1}, "tries": {0, 0}, "window_bytes": {0, 0}, "journal_bytes": {0, 0}, "vm_log_bytes": {0, 0}}
	counts := func() map[string][2]int {
		got := make(map[string][2]int)
		for name, l := range s.held() {
			got[name] = [2]int{l.Held, l.Peer}
		}
		delete(got, "log_bytes") // of the connections
		return got
	}
	ctx, cancel := context.WithTimeout(t.Context(), wire.LostAfter)
	defer cancel()
	for !cmp.Equal(counts(), want) {
		if system.Pause(ctx, 1e6) != nil {
			t.Fatalf("held, wanted: %s", cmp.Diff(counts(), want))
		}
	}
	l2.Close()
	kit.Eventually(t, func() bool { h := s.held(); return h["evacuations"].Held == 1 && h["connections"].Held == 1 })
}

// TestLimitsAreReached: what is refused is refused at the bound that is told.
func TestLimitsAreReached(t *testing.T) {
	log, logged := bounds.LimitLog(slog.New(slog.DiscardHandler))
	r := &receiver{sessions: make(map[sessionKey]*session), door: bounds.NewDoor(log), tries: trial.NewTrials(qemu.LaunchPolicy{}, "", t.TempDir(), log), vmLogs: &bounds.VMLogs{Dir: t.TempDir()}, journal: &journal.Journal{}, logged: logged}
	s := &site{t: t, r: r}
	for i := 0; ; i++ {
		if r.register(&session{key: sessionKey{"greedy", string(rune(i))}}) != nil {
			break
		}
	}
	for {
		if _, err := r.door.Enter(nil, "greedy"); err != nil {
			break
		}
	}
	for _, name := range []string{"evacuations", "connections"} {
		if l := s.held()[name]; l.Peer != l.MostPeer || l.Held != l.Peer {
			t.Errorf("one peer holds all that it may: %+v", l)
		}
	}
	for i := 0; ; i++ {
		if r.register(&session{key: sessionKey{string(rune(i)), "x"}}) != nil {
			break
		}
	}
	for i := 0; ; i++ {
		if _, err := r.door.Enter(nil, string(rune(i))); err != nil {
			break
		}
	}
	for _, name := range []string{"evacuations", "connections"} {
		if l := s.held()[name]; l.Held != l.Most {
			t.Errorf("all hold all that they may: %+v", l)
		}
	}
}

// TestFullJournalTakesNoVM: what must be known of VMs that are here is still written.
func TestFullJournalTakesNoVM(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	g, _ := s.guest(0, "web", life.Waiting)
	// As many VMs that live as no host has.
	long := handover.Record{Kind: handover.RecLoaded, Peer: "source", PID: os.Getpid(), Cause: strings.Repeat("c", 60<<10)}
	for s.r.journal.Size() <= journal.MaxJournal {
		if long.VM++; s.r.journal.Append(long) != nil {
			t.Fatal("no record fits")
		}
	}
	if err := s.r.journalRoom(); err == nil || !strings.Contains(err.Error(), "16 MiB") {
		t.Errorf("room: %v", err)
	}
	if h := s.held()["journal_bytes"]; h.Held <= h.Most {
		t.Errorf("told: %+v", h)
	}
	if err := g.record(handover.RecAbort); err != nil {
		t.Error(err)
	}
}

// TestSourceCannotFillTheLog: what one connected source has refused ends up in the log only so often.
func TestSourceCannotFillTheLog(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	for range 4 * bounds.MaxLogPeer / 100 {
		if err := l.Conn.Send(control.Run{VM: 7}); err != nil {
			t.Fatal(err)
		}
		if _, err := next(t, l.Conn); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(s.log.String(), "no such VM"); n == 0 || n > bounds.MaxLogPeer/bounds.RecordBytes {
		t.Errorf("%d records", n)
	}
	if h := s.held()["log_bytes"]; h.Peer < h.MostPeer*9/10 || h.Peer > h.MostPeer {
		t.Errorf("told: %+v", h)
	}
}
