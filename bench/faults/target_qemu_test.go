//go:build lab

package faults

import (
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
)

// struck kills the target QEMU of a guest that the sender is busy with, and checks that only this guest stayed.
func struck(s *scene, x *sender, g *lab.Guest) {
	s.t.Helper()
	s.signal(s.processOf(g.Name, s.target(g)), syscall.SIGKILL)
	o := x.finish()
	o.exits(s, 3, g.Name)
	o.reports(s, s.allBut(g, onSource)...)
	s.standBut(g)
}

func TestFaultTargetQEMUDiesInBulk(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send("--rate", "100mbit")
	x.sends(4 << 20)
	struck(s, x, s.guests[0])
}

func TestFaultTargetQEMUDiesInConverge(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send()
	struck(s, x, x.begins("converge"))
}

func TestFaultTargetQEMUDiesInSwitchOver(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send()
	struck(s, x, x.meets("stopped"))
}

// The source has given the VM away and the target can no longer run it. It was never told to, so the source takes the VM back.
func TestFaultTargetQEMUDiesAfterCommit(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send()
	g := x.beginsLast("release")
	x.knows(g, "completed")
	struck(s, x, g)
}
