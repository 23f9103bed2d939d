//go:build lab

package faults

import (
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/scatter"
)

// gigabit is the rate at which a receiver's memory is measured, in bit/s.
const gigabit = 1e9

// receiverMemory is what a receiver may have resident at most, in bytes.
const receiverMemory = 64 << 20

// fast gives all links a gigabit per second.
func (s *scene) fast() {
	s.t.Helper()
	for _, h := range s.Hosts() {
		s.must(h.SetRate(s.t.Context(), gigabit))
	}
}

// slim checks that no receiver has had more memory than it may.
func (s *scene) slim() {
	s.t.Helper()
	for _, r := range s.receivers {
		peak, err := r.PeakMemory()
		s.must(err)
		s.t.Logf("recv on %s: %d KiB at most", r.Host.Name, peak>>10)
		if peak > receiverMemory {
			s.t.Errorf("recv on %s has had %d MiB resident", r.Host.Name, peak>>20)
		}
	}
}

// At a gigabit per second, with all VMs on one target, a receiver stays small.
func TestReceiverMemory(t *testing.T) {
	s := newScene(t)
	s.fast()
	s.receiveAll()
	var flags []string
	for _, g := range s.guests {
		flags = append(flags, "--place", g.Name+"="+s.Targets[0].Name)
	}
	o := s.sendGuests(s.guests, append(flags, "--rate", "1gbit", "--no-compress")...).finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.slim()
	s.spread(s.Targets[0], s.Targets[0])
}

// A target whose QEMU does not take its pages says so before its buffers overflow: the source waits, nothing is dropped, the
// receiver does not grow, and all goes on when the QEMU does.
func TestQEMUThatDoesNotRead(t *testing.T) {
	s := newScene(t)
	s.fast()
	s.receiveAll("--no-direct")
	x := s.send("--rate", "1gbit", "--no-compress")
	x.begins("bulk")
	hung := s.guests[0]
	pid := s.processOf(hung.Name, s.target(hung))
	s.signal(pid, syscall.SIGSTOP)
	x.reaches("a standstill", func(ev scatter.Event) bool {
		return ev.Type == "progress" && ev.WireSent > 4<<20 && ev.WireRate < 64<<10 // marks and pings go on
	})
	s.slim()
	s.signal(pid, syscall.SIGCONT)
	o := x.finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	for _, h := range o.report.Hosts {
		if h.Dropped != 0 {
			t.Errorf("%s: its kernel has dropped %d datagrams", h.Name, h.Dropped)
		}
	}
	s.spread(s.Targets...)
	for _, r := range s.receivers {
		s.says(r, "overrun=0 dropped=0")
	}
}
