//go:build lab

package faults

import "testing"

// Without a fault everything arrives.
func TestNoFault(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	o := s.send().finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.spread(s.Targets...)
}
