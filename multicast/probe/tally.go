package probe

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"
)

// Slot is what datagrams are counted by.
type Slot struct {
	Path   Path
	Packet int  // bytes of the IP packet
	Seen   bool // passed the target's interface; otherwise one of its sockets has heard it
}

// Count is how many rounds have come to a slot.
type Count struct {
	Slot
	Rounds int
}

// maxSlots bounds a tally: both kinds of each path and size.
const maxSlots = 2 * int(Paths) * 16

// tally counts. Its methods are safe for concurrent use.
type tally struct {
	mu    sync.Mutex // guards what follows
	slots map[Slot]uint64
}

// add notes a datagram, once.
func (t *tally) add(d datagram, seen bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Slot{d.path, d.packet, seen}
	if t.slots[s] == 0 && len(t.slots) == maxSlots {
		return
	}
	if t.slots == nil {
		t.slots = make(map[Slot]uint64)
	}
	t.slots[s] |= 1 << d.round
}

// counts are in order.
func (t *tally) counts() (all []Count) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s, rounds := range t.slots {
		all = append(all, Count{s, bits.OnesCount64(rounds)})
	}
	slices.SortFunc(all, func(a, b Count) int {
		if a.Seen != b.Seen {
			return cmp.Compare(b2i(a.Seen), b2i(b.Seen))
		}
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Packet, b.Packet))
	})
	return all
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
