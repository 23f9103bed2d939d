//go:build lab

package faults

import (
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/scatter"
)

// lose kills the receiver of the guest that the sender is busy with, lets the sender go on to its end, and checks that only that
// guest stayed. It returns the guest.
func lose(s *scene, receivers []*receiver, x *sender, ev scatter.Event) {
	s.t.Helper()
	victim := s.guest(ev.VM)
	s.kill(s.receiverOf(receivers, victim))
	o := x.finish()
	o.exits(s, 3, victim.Name)
	var states []string
	for _, g := range s.guests {
		if g == victim {
			states = append(states, onSource)
		} else {
			states = append(states, evacuated)
			s.stand(g, s.target(g))
		}
	}
	o.reports(s, states...)
}

func TestFaultKillRecvInBulk(t *testing.T) {
	s := newScene(t)
	receivers := s.receiveAll()
	x := s.send("--rate", "100mbit")
	x.untilSent(4 << 20)
	lose(s, receivers, x, scatter.Event{VM: s.guests[0].Name})
	// The QEMU that waits in vain belongs to the journal: recover ends it, so would the next receiver.
	host := s.target(s.guests[0])
	s.recover(host).exits(0).finds(s.guests[0].Name, scatter.OnSource, "its QEMU was ended")
	s.stand(s.guests[0], s.Source)
	s.recover(host).nothing()
}

func TestFaultKillRecvInConverge(t *testing.T) {
	s := newScene(t)
	receivers := s.receiveAll()
	x := s.send()
	ev := x.untilVM("converge")
	lose(s, receivers, x, ev)
	s.receive(s.target(s.guest(ev.VM))) // ends the QEMU that waits in vain
	s.stand(s.guest(ev.VM), s.Source)
}

func TestFaultKillRecvInSwitchOver(t *testing.T) {
	s := newScene(t)
	receivers := s.receiveAll()
	x := s.send()
	ev := x.untilVM("switch-over")
	lose(s, receivers, x, ev)
	s.receive(s.target(s.guest(ev.VM)))
	s.stand(s.guest(ev.VM), s.Source)
}

// The commit record is being written when the target is lost: the VM was not given away yet, or can be taken back.
func TestFaultKillRecvInCommit(t *testing.T) {
	s := newScene(t)
	receivers := s.receiveAll()
	x := s.send()
	ev := x.untilLast("commit")
	lose(s, receivers, x, ev)
	s.receive(s.target(s.guest(ev.VM)))
	s.stand(s.guest(ev.VM), s.Source)
}

// Run is on its way when the target is lost. Once a receiver is back, the sender learns from it that the VM is complete and
// was not run, and says Run again.
func TestFaultKillRecvAfterRun(t *testing.T) {
	s := newScene(t)
	receivers := s.receiveAll()
	x := s.send()
	ev := x.untilLast("starting")
	r := s.receiverOf(receivers, s.guest(ev.VM))
	s.signal(r.PID, syscall.SIGSTOP) // so that Run arrives and is not read
	x.untilLast("run")
	s.kill(r)
	x.untilVM("resolving")
	s.says(s.receive(r.Host), "taken over")
	o := x.finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.spread(s.Targets...)
}
