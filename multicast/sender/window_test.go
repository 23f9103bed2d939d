package sender

import (
	"testing"

	"github.com/scatter-vm/scatter/multicast/coding"
)

// TestRoomIsForFootprints: a block takes what a receiver needs to put it together, which is more than its bytes.
func TestRoomIsForFootprints(t *testing.T) {
	const length = 100_000
	footprint := coding.Footprint(length)
	for window, want := range map[int]bool{footprint - 1: false, footprint: true} {
		w := newWorld(t, 1, window)
		w.addHost("t0", plain(), simWindow)
		ch := w.open(Channel{ID: 1, Members: names(1)}, nil)
		if got := w.sender.Room(ch, length); got != want {
			t.Errorf("a block of %d bytes has room in %d: %v", length, window, got)
		}
	}
}
