package scatter

import (
	"testing"

	"github.com/scatter-vm/scatter/scatter/control"
)

// TestUsage: what a peer tells counts from its first word, and no lie makes less of it than nothing.
func TestUsage(t *testing.T) {
	if u := ownUsage(); u.cpu <= 0 || u.memory < 1<<20 {
		t.Errorf("this process has used %+v", u)
	}
	var peer told
	for _, p := range []control.Ping{{CPU: 10, Memory: 5 << 20}, {CPU: 11, Memory: 6 << 20}, {CPU: 13.5, Memory: 7 << 20}} {
		peer.take(p)
	}
	if u := peer.since(); u.cpu != 3.5 || u.memory != 7<<20 {
		t.Errorf("the peer has used %+v", u)
	}
	peer.take(control.Ping{CPU: -1e300, Memory: -1})
	if u := peer.since(); u.cpu != 0 || u.memory != 0 {
		t.Errorf("after a lie: %+v", u)
	}
}
