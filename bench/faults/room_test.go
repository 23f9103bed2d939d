//go:build lab

package faults

import "testing"

// Nothing moves when the VMs do not fit.
func TestFaultTargetTooLittleMemory(t *testing.T) {
	s := newScene(t)
	s.receiveAll("--memory", "100M")
	o := s.sendGuests(s.guests).finish()
	o.exits(s, 4, s.guests[0].Name, s.Targets[0].Name, "recv --memory")
	s.everybody(s.Source)
}

// The other target takes what does not fit.
func TestFaultTargetTooLittleMemoryOtherTakesIt(t *testing.T) {
	s := newScene(t)
	s.receive(s.Targets[0], "--memory", "100M")
	s.receive(s.Targets[1], "--memory", "400M")
	o := s.sendGuests(s.guests).finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.everybody(s.Targets[1])
}
