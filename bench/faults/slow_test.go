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
	for _, h := range s.Switch.Hosts() {
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
	x := s.send("--rate", "200mbit", "--no-compress")
	x.begins("bulk")
	hung := s.guests[0]
	pid := s.processOf(hung.Name, s.target(hung))
	s.signal(pid, syscall.SIGSTOP)
	x.reaches("a standstill", func(ev scatter.Event) bool {
		still := ev.Type == "progress" && ev.VM == "" && ev.WireSent > 4<<20 && ev.WireRate < 64<<10 // marks and pings go on
		if still && ev.Bytes > ev.Total/2 {
			t.Errorf("%d of %d bytes have arrived at a QEMU that does not read", ev.Bytes, ev.Total)
		}
		return still
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

// tenthRate is the rate of a link, in bit/s, that is ten times as slow as the others.
const tenthRate = 50e6

// began is when a VM entered a stage, in seconds since the start; -1: it never did.
func began(v scatter.VMReport, stage string) float64 {
	for _, st := range v.Stages {
		if st.Stage == stage {
			return st.AtS
		}
	}
	return -1
}

// A target with a tenth of the others' rate leaves the group, so that the other one has all long before it. What it lacks goes on
// by unicast, once for all its VMs, and not over the control path.
func TestFaultSlowTarget(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	fast, slow := s.Targets[0], s.Targets[1]
	s.must(slow.SetRate(t.Context(), tenthRate))
	o := s.send().finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	o.warns(s, slow.Name, "unicast", "too fast")
	o.spares(s, fast.Name)
	for _, h := range o.report.Hosts {
		if left := h.Unicast > 0; left != (h.Name == slow.Name) {
			t.Errorf("%s went on by unicast in %d channels", h.Name, h.Unicast)
		}
	}
	first, last := o.vm(s, s.guests[0]), o.vm(s, s.guests[1])
	if began(first, evacuated) > began(last, "converge") {
		t.Errorf("%s arrived only when %s had all its pages: %+v, %+v", first.Name, last.Name, first.Stages, last.Stages)
	}
	if r := o.report; last.Bytes > r.UnicastBytes/4 {
		t.Errorf("%d bytes by unicast, %d of %s over the control path", r.UnicastBytes, last.Bytes, last.Name)
	}
	s.spread(s.Targets...)
}
