//go:build lab

package faults

import (
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/scatter"
)

// bereft kills the receiver of the guest that the sender is busy with, lets the sender go on to its end, and checks that only
// that guest stayed.
func bereft(s *scene, x *sender, g *lab.Guest) {
	s.t.Helper()
	s.kill(s.receiverOf(g))
	x.misses(s.target(g))
	o := x.finish()
	o.exits(s, 3, g.Name)
	o.reports(s, s.allBut(g, onSource)...)
	o.warns(s, s.target(g).Name)
}

// The QEMU on the target sees its stream break off and ends.
func TestFaultKillRecvInBulk(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send("--rate", "100mbit")
	x.sends(4 << 20)
	g := s.guests[0]
	bereft(s, x, g)
	s.standBut(g)
	s.recover(s.target(g)).nothing()
}

func TestFaultKillRecvInConverge(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send()
	g := x.begins("converge")
	bereft(s, x, g)
	s.relieve(g)
	s.standBut(g)
}

func TestFaultKillRecvInSwitchOver(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send()
	g := x.meets("stopped")
	bereft(s, x, g)
	s.relieve(g)
	s.standBut(g)
}

// The source was told to commit when its target is lost, so the target may hold the VM complete. The source takes it back, and the
// target is told once it can be reached.
func TestFaultKillRecvAfterCommit(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send()
	g := x.beginsLast("release")
	x.knows(g, "completed")
	bereft(s, x, g)
	s.relieve(g)
	s.standBut(g)
}

// relieve starts a receiver again after its host was lost, and lets the source tell it what it has missed.
func (s *scene) relieve(g *lab.Guest) {
	s.t.Helper()
	s.receive(s.target(g))
	s.recover(s.Source).exits(0)
	s.recover(s.Source).nothing()
}

// Run is on its way when the target is lost, and nobody is there to ask: the VM is in doubt, so it runs nowhere. With the receiver
// back, recover decides.
func TestFaultKillRecvForEverAfterRun(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send()
	g := x.beginsLast("logrun")
	r := s.receiverOf(g)
	s.signal(r.PID, syscall.SIGSTOP)
	x.begins("run")
	s.kill(r)
	o := x.finish()
	o.exits(s, 5, g.Name, "scatter recover")
	o.reports(s, s.allBut(g, inDoubt)...)
	s.recover(s.Source).exits(5).finds(g, scatter.InDoubt, "reach the target")
	s.receive(r.Host)
	s.recover(s.Source).exits(0).finds(g, scatter.OnTarget, "was complete on the target")
	s.spread(s.Targets...)
	s.recover(s.Source).nothing()
}

// Run is on its way when the target is lost. Once a receiver is back, the sender learns from it that the VM is complete and
// was not run, and says Run again.
func TestFaultKillRecvAfterRun(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send()
	g := x.beginsLast("logrun")
	r := s.receiverOf(g)
	s.signal(r.PID, syscall.SIGSTOP) // Run arrives and is not read
	x.begins("run")
	s.kill(r)
	x.begins("resolve")
	s.says(s.receive(r.Host), "taken over")
	o := x.finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.spread(s.Targets...)
}
