package lab

import (
	"fmt"
	"time"
)

// Workload is what the guest's program does with its memory; package guest describes it.
type Workload struct {
	ID        int // makes the guest's own pages differ from those of other guests
	Common    int
	Duplicate int
	Own       int
	Zero      int
	Repeated  int
	Similar   int
	Text      int
	Hot       int           // at least 1
	Stamp     bool          // only a word of each hot page is rewritten
	Busy      bool          // it computes between its pages, and is never idle; the heart beats beside that
	Random    bool          // pages are verified in an order without pattern
	Beside    bool          // the heart beats beside the work
	Dirty     int           // pages rewritten per second
	Verify    int           // pages verified per second
	Beat      time.Duration // between heartbeats

	Disk bool // its pages are those of a disk, instead of memory; its system must be one with a disk

	Address int  // of a guest on the network: the last number of its IPv4 address, 230 to 254; 0 = it is not on the network
	Peer    int  // that of who it sends to and receives from, by TCP; package guest says at which ports
	Send    int  // bytes per second
	Receive bool // what the peer sends
}

// DefaultBeat is the time between heartbeats of a guest that asks for none.
const DefaultBeat = 20 * time.Millisecond

// Pages returns how many pages the workload lays out and verifies.
func (w Workload) Pages() int {
	return (w.Common + w.Duplicate + w.Own + w.Zero + w.Repeated + w.Similar + w.Text + w.Hot) * 256
}

// parameters returns the workload as words on the kernel's command line.
func (w Workload) parameters() string {
	s := fmt.Sprintf("scatter.id=%d scatter.mib_common=%d scatter.mib_dup=%d scatter.mib_own=%d scatter.mib_zero=%d"+
		" scatter.mib_hot=%d scatter.dirty=%d scatter.verify=%d scatter.beat_ms=%d",
		w.ID, w.Common, w.Duplicate, w.Own, w.Zero, w.Hot, w.Dirty, w.Verify, w.Beat.Milliseconds())
	if w.Busy {
		s += " scatter.busy=1"
	}
	if w.Disk {
		s += " scatter.disk=1"
	}
	if w.Random {
		s += " scatter.random=1"
	}
	if w.Beside {
		s += " scatter.beside=1"
	}
	if w.Stamp {
		s += " scatter.stamp=1"
	}
	if w.Repeated > 0 || w.Similar > 0 || w.Text > 0 { // a tiny guest knows none of these
		s += fmt.Sprintf(" scatter.mib_repeated=%d scatter.mib_similar=%d scatter.mib_text=%d", w.Repeated, w.Similar, w.Text)
	}
	if w.Address > 0 {
		s += fmt.Sprintf(" scatter.net_address=%d scatter.net_peer=%d scatter.net_send=%d", w.Address, w.Peer, w.Send)
	}
	if w.Receive {
		s += " scatter.net_recv=1"
	}
	return s
}

// SmallWorkload fits a guest of 160 MiB and is quick to start; n is the guest's number.
func SmallWorkload(n int) Workload {
	return Workload{ID: n, Common: 24, Duplicate: 8, Own: 12, Zero: 4, Hot: 2, Dirty: 50, Verify: 4000}
}

// TinyWorkload fits a tiny guest of 8 MiB, and is little work even where its program is interpreted; n is the guest's number.
func TinyWorkload(n int) Workload {
	return Workload{ID: n, Common: 2, Duplicate: 1, Own: 1, Zero: 1, Hot: 1, Dirty: 20, Verify: 200, Beat: 50 * time.Millisecond}
}

// HostWorkload is that of a guest of 512 MiB as a host to be emptied has many: of its pages that are not zero, about half are
// common to all guests, a fifth are duplicates within the guest, and the rest are its own.
func HostWorkload(n int) Workload {
	return Workload{ID: n, Common: 196, Duplicate: 82, Own: 104, Zero: 24, Hot: 4, Dirty: 200, Verify: 2000}
}

// DebianWorkload is what the Redis of a Debian of 512 MiB holds and does. Half of what only this one holds is text, the other half is
// compressed already.
func DebianWorkload(n int) Workload {
	return Workload{ID: n, Common: 64, Own: 32, Text: 32, Hot: 1, Dirty: 50, Verify: 250}
}
