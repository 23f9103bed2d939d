//go:build lab

package faults

import (
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
)

// busyWorkload rewrites 8 MiB in half a second: more than the link of these tests carries.
var busyWorkload = lab.Workload{ID: 9, Common: 2, Duplicate: 1, Own: 2, Zero: 1, Hot: 8, Dirty: 4000, Verify: 2000}

const slowLink = "100mbit"

func TestFaultStallKeep(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	busy := s.extraGuest("busy", busyWorkload)
	o := s.sendGuests([]*lab.Guest{busy}, "--rate", slowLink, "--on-stall", "keep").finish()
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
	busy := s.extraGuest("busy", busyWorkload)
	o := s.sendGuests([]*lab.Guest{busy}, "--rate", slowLink, "--on-stall", "pause", "--place", "busy="+s.target(busy).Name).finish()
	o.exits(s, 0)
	if v := o.vm(s, busy); v.State != evacuated || !v.Verified {
		t.Errorf("report: %+v", v)
	}
	s.stand(busy, s.target(busy))
}
