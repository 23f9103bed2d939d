package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/bench/guest/content"
)

// Workload is what the kernel's command line asks of the guest. Sizes are in MiB, rates in pages per second.
type Workload struct {
	ID        uint64 // scatter.id: makes this guest's own pages differ from those of the others
	Common    uint64 // scatter.mib_common: pages that all guests hold
	Duplicate uint64 // scatter.mib_dup: few different pages, repeated
	Own       uint64 // scatter.mib_own: incompressible pages that only this guest holds
	Zero      uint64 // scatter.mib_zero: pages that were touched and hold zeros
	Repeated  uint64 // scatter.mib_repeated: pages that are all the same one, in all guests
	Similar   uint64 // scatter.mib_similar: pages that differ in 8 bytes from one that all guests know
	Text      uint64 // scatter.mib_text: pages that only this guest holds, about 2:1 compressible
	Hot       uint64 // scatter.mib_hot: pages that are rewritten one after the other
	Stamp     uint64 // scatter.stamp: 1 = only a word of each hot page is rewritten
	Busy      uint64 // scatter.busy: 1 = it computes between its pages, and is never idle; the heart beats beside that
	Random    uint64 // scatter.random: 1 = pages are verified in an order without any pattern, each once before any is verified again
	Beside    uint64 // scatter.beside: 1 = the heart beats beside the work, which holds it up as little as the processor does
	Dirty     uint64 // scatter.dirty: how many hot pages are rewritten per second
	Verify    uint64 // scatter.verify: how many pages are verified per second
	Beat      uint64 // scatter.beat_ms: milliseconds between heartbeats
	Disk      uint64 // scatter.disk: 1 = pages are those of the first disk, instead of memory of the workload's own
	Redis     uint64 // scatter.redis: 1 = pages are values that a Redis holds, instead of memory of the workload's own

	Address uint64 // scatter.net_address: the last number of its IPv4 address in the lab's network; 0 = it is not on the network
	Peer    uint64 // scatter.net_peer: that of who it sends to and receives from
	Send    uint64 // scatter.net_send: bytes per second that it sends by TCP
	Receive uint64 // scatter.net_recv: 1 = it receives by TCP what the peer sends
}

// ParseWorkload reads the parameters out of a kernel command line. What is not there keeps its default.
func ParseWorkload(line string) (Workload, error) {
	w := Workload{Common: 8, Duplicate: 4, Own: 4, Zero: 4, Hot: 2, Dirty: 50, Verify: 2000, Beat: 20}
	fields := map[string]*uint64{
		"id": &w.ID, "mib_common": &w.Common, "mib_dup": &w.Duplicate, "mib_own": &w.Own, "mib_zero": &w.Zero,
		"mib_repeated": &w.Repeated, "mib_similar": &w.Similar, "mib_text": &w.Text, "mib_hot": &w.Hot,
		"stamp": &w.Stamp, "busy": &w.Busy, "random": &w.Random, "beside": &w.Beside, "dirty": &w.Dirty, "verify": &w.Verify, "beat_ms": &w.Beat, "redis": &w.Redis, "disk": &w.Disk,
		"net_address": &w.Address, "net_peer": &w.Peer, "net_send": &w.Send, "net_recv": &w.Receive,
	}
	for _, word := range strings.Fields(line) {
		name, ours := strings.CutPrefix(word, "scatter.")
		if !ours {
			continue
		}
		name, value, _ := strings.Cut(name, "=")
		field := fields[name]
		if field == nil {
			return w, fmt.Errorf("unknown parameter %q", word)
		}
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return w, fmt.Errorf("parameter %q: %w", word, err)
		}
		*field = n
	}
	if w.Hot == 0 || w.Beat == 0 {
		return w, fmt.Errorf("mib_hot %d and beat_ms %d: must be > 0", w.Hot, w.Beat)
	}
	if max(w.Address, w.Peer) > 254 || w.Address == 0 && (w.Send > 0 || w.Receive > 0) {
		return w, fmt.Errorf("net_address %d and net_peer %d: must be at most 254, and who sends or receives needs them", w.Address, w.Peer)
	}
	return w, nil
}

// aside tells whether the heart beats beside the work.
func (w Workload) aside() bool { return w.Redis > 0 || w.Disk > 0 || w.Busy > 0 || w.Beside > 0 }

// part is how much of the workload's pages is of a kind.
type part struct {
	kind content.Kind
	mib  uint64
}

// parts returns what there is of each kind; the hot pages come last.
func (w Workload) parts() []part {
	hot := content.Hot
	if w.Stamp > 0 {
		hot = content.Stamped
	}
	return []part{
		{content.Common, w.Common}, {content.Duplicate, w.Duplicate}, {content.Own, w.Own}, {content.Zero, w.Zero},
		{content.Repeated, w.Repeated}, {content.Similar, w.Similar}, {content.Text, w.Text}, {hot, w.Hot},
	}
}
