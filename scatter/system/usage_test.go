package system

import (
	"testing"

	"github.com/scatter-vm/scatter/scatter/control"
)

// TestUsage: what a peer tells counts from its first word, and no lie makes less of it than nothing.
func TestUsage(t *testing.T) {
	if u := OwnUsage(); u.CPU <= 0 || u.Memory < 1<<20 {
		t.Errorf("this process has used %+v", u)
	}
	var peer Told
	for _, p := range []control.Ping{{CPU: 10, Memory: 5 << 20}, {CPU: 11, Memory: 6 << 20}, {CPU: 13.5, Memory: 7 << 20}} {
		peer.Take(p)
	}
	if u := peer.Since(); u.CPU != 3.5 || u.Memory != 7<<20 {
		t.Errorf("the peer has used %+v", u)
	}
	peer.Take(control.Ping{CPU: -1e300, Memory: -1})
	if u := peer.Since(); u.CPU != 0 || u.Memory != 0 {
		t.Errorf("after a lie: %+v", u)
	}
}
