package scatter

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/scatter/control"
)

// held is what a target says that it holds, by resource.
func (s *site) held() map[string]Limit {
	all := make(map[string]Limit)
	for _, l := range s.r.limits() {
		all[l.Resource] = l
	}
	return all
}

// TestLimits: a target counts all that peers make it hold, for each of them and for all, and forgets it when it is gone.
func TestLimits(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	doc, err := os.ReadFile("../docs/security.md")
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
	if err := l.conn.Send(control.Begin{Key: make([]byte, 32), Source: loopback, Window: windowBytes}); err != nil {
		t.Fatal(err)
	}
	other := s.dialer()
	other.tlsDir, other.evacuation = s.ca.host("another"), "aa112233445566ff"
	l2, err := openLink(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	s.guest(0, "web", guestWaiting)
	s.guest(1, "db", guestWaiting)
	want := map[string][2]int{"strangers": {3, 0}, "connections": {2, 1}, "evacuations": {2, 1}, "vms": {2, 2}, "sockets": {1, 1}, "tries": {0, 0}, "window_bytes": {0, 0}, "journal_bytes": {0, 0}, "vm_log_bytes": {0, 0}}
	counts := func() map[string][2]int {
		got := make(map[string][2]int)
		for name, l := range s.held() {
			got[name] = [2]int{l.Held, l.Peer}
		}
		delete(got, "log_bytes") // of the connections
		return got
	}
	ctx, cancel := context.WithTimeout(t.Context(), lostAfter)
	defer cancel()
	for !cmp.Equal(counts(), want) {
		if pause(ctx, 1e6) != nil {
			t.Fatalf("held, wanted: %s", cmp.Diff(counts(), want))
		}
	}
	l2.close()
	eventually(t, func() bool { h := s.held(); return h["evacuations"].Held == 1 && h["connections"].Held == 1 })
}

// TestLimitsAreReached: what is refused is refused at the bound that is told.
func TestLimitsAreReached(t *testing.T) {
	log, logged := limitLog(slog.New(slog.DiscardHandler))
	r := &receiver{sessions: make(map[sessionKey]*session), door: newDoor(log), tries: newTrials(t.TempDir()), journal: &journal{}, logged: logged}
	s := &site{t: t, r: r}
	for i := 0; ; i++ {
		if r.register(&session{key: sessionKey{"greedy", string(rune(i))}}) != nil {
			break
		}
	}
	for {
		if _, err := r.door.enter(nil, "greedy"); err != nil {
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
		if _, err := r.door.enter(nil, string(rune(i))); err != nil {
			break
		}
	}
	for _, name := range []string{"evacuations", "connections"} {
		if l := s.held()[name]; l.Held != l.Most {
			t.Errorf("all hold all that they may: %+v", l)
		}
	}
}
