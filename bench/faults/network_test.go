//go:build lab

package faults

import (
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// A link that is cut for a few seconds delays an evacuation and does no harm.
func TestFaultLinkCut3s(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send("--rate", "100mbit")
	x.sends(4 << 20)
	cut := s.Targets[0]
	s.must(cut.Cut(t.Context()))
	restored := make(chan error, 1)
	time.AfterFunc(3*time.Second, func() { restored <- cut.Restore(t.Context()) })
	o := x.finish()
	s.must(<-restored)
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.spread(s.Targets...)
}

// The same while a VM is paused between both hosts: it is paused longer, and arrives.
func TestFaultLinkCut3sInSwitchOver(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send()
	cut := s.target(x.meets("stopped"))
	s.must(cut.Cut(t.Context()))
	restored := make(chan error, 1)
	time.AfterFunc(3*time.Second, func() { restored <- cut.Restore(t.Context()) })
	o := x.finish()
	s.must(<-restored)
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.spread(s.Targets...)
}

// Run is said into a link that is dead. The sender does not know whether it was heard, and runs the VM nowhere until it can ask.
func TestFaultLinkCutAtRun(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send()
	g := x.beginsLast("logrun")
	x.knows(g, "logged")
	s.must(s.target(g).Cut(t.Context()))
	x.begins("run")
	x.begins("resolve")
	s.must(s.target(g).Restore(t.Context()))
	o := x.finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.spread(s.Targets...)
}

// A target that is cut off for ever costs its own VMs' moves; the others arrive.
func TestFaultLinkCutForEver(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send("--rate", "100mbit")
	x.sends(4 << 20)
	s.must(s.Targets[0].Cut(t.Context()))
	o := x.finish()
	victim := s.guests[0]
	o.exits(s, 3, victim.Name)
	o.reports(s, s.allBut(victim, onSource)...)
	o.warns(s, s.Targets[0].Name)
	s.says(s.receivers[0], "given up") // the target has noticed too
	s.standBut(victim)
}

// lossy evacuates while both targets lose datagrams.
func lossy(t *testing.T, fraction float64) {
	s := newScene(t)
	s.receiveAll()
	for _, h := range s.Targets {
		s.must(h.SetLoss(t.Context(), lan.Loss{Fraction: fraction, UDPOnly: true}))
	}
	o := s.send().finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	if r := o.report; r.RepairBytes == 0 || r.MulticastBytes == 0 {
		t.Errorf("%d bytes of multicast and %d of repair", r.MulticastBytes, r.RepairBytes)
	}
	s.spread(s.Targets...)
}

func TestFaultLoss1Percent(t *testing.T) { lossy(t, 0.01) }
func TestFaultLoss5Percent(t *testing.T) { lossy(t, 0.05) }

// A target that multicast does not reach gets its share by unicast, and the operator is told.
func TestFaultMulticastBlackholed(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	s.must(s.Targets[0].BlackholeMulticast(t.Context(), true))
	o := s.send().finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	o.warns(s, s.Targets[0].Name, "unicast")
	if r := o.report; r.UnicastBytes == 0 || r.MulticastBytes == 0 {
		t.Errorf("%d bytes of multicast and %d of unicast", r.MulticastBytes, r.UnicastBytes)
	}
	s.spread(s.Targets...)
}

// Without any multicast the evacuation is as good, only dearer.
func TestFaultMulticastBlackholedEverywhere(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	for _, h := range s.Targets {
		s.must(h.BlackholeMulticast(t.Context(), true))
	}
	o := s.send().finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	for _, h := range s.Targets {
		o.warns(s, h.Name, "unicast")
	}
	s.spread(s.Targets...)
}
