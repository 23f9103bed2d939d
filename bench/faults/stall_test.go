//go:build lab

package faults

import (
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
)

// busyWorkload rewrites 4 MiB again and again, as fast as an emulated processor can.
var busyWorkload = lab.Workload{ID: 9, Common: 1, Duplicate: 1, Own: 1, Zero: 1, Hot: 4, Dirty: 10000, Verify: 2000}

// strictly is a link that carries it in half a second, and a pause of which it takes a fraction to be too long.
var strictly = []string{"--rate", "60mbit", "--downtime", "100ms"}

func TestFaultStallKeep(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	busy := s.extraGuest("busy1", busyWorkload)
	o := s.sendGuests([]*lab.Guest{busy}, append(strictly, "--on-stall", "keep")...).finish()
	o.exits(s, 3, busy.Name)
	if v := o.vm(s, busy); v.State != onSource {
		t.Errorf("report: %+v", v)
	}
	o.blames(s, busy, "dirties memory faster than the link")
	s.stand(busy, s.Source)
}

func TestFaultStallPause(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	busy := s.extraGuest("busy2", busyWorkload)
	o := s.sendGuests([]*lab.Guest{busy}, append(strictly, "--on-stall", "pause", "--place", busy.Name+"="+s.target(busy).Name)...).finish()
	o.exits(s, 0)
	if v := o.vm(s, busy); v.State != evacuated || !v.Verified {
		t.Errorf("report: %+v", v)
	}
	s.stand(busy, s.target(busy))
}
