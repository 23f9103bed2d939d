//go:build lab

package faults

import (
	"slices"
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
)

// cancelled interrupts a sender in a stage and returns how it ended.
func cancelled(s *scene, stage func(*sender), flags ...string) *outcome {
	s.t.Helper()
	s.receiveAll()
	x := s.send(flags...)
	stage(x)
	x.interrupt()
	return x.finish()
}

// nobody checks that nothing has moved.
func nobody(s *scene, o *outcome) {
	s.t.Helper()
	o.exits(s, 130)
	if o.report != nil {
		o.reports(s, slices.Repeat([]string{onSource}, len(s.guests))...)
	}
	s.everybody(s.Source)
	s.recover(s.Source).nothing()
}

func TestFaultCtrlCInScan(t *testing.T) {
	s := newScene(t)
	nobody(s, cancelled(s, func(x *sender) { x.reachesStage("scan") }))
}

func TestFaultCtrlCInPrepare(t *testing.T) {
	s := newScene(t)
	nobody(s, cancelled(s, func(x *sender) { x.begins("prepare") }))
}

func TestFaultCtrlCInBulk(t *testing.T) {
	s := newScene(t)
	nobody(s, cancelled(s, func(x *sender) { x.sends(4 << 20) }, "--rate", "60mbit"))
}

func TestFaultCtrlCInConverge(t *testing.T) {
	s := newScene(t)
	nobody(s, cancelled(s, func(x *sender) { x.begins("converge") }))
}

// The VM is paused for its switch-over and not committed: it goes on here. The one before it has arrived and stays there.
func TestFaultCtrlCInSwitchOver(t *testing.T) {
	s := newScene(t)
	var last *lab.Guest
	o := cancelled(s, func(x *sender) { last = x.meetsLast("stopped") })
	o.exits(s, 130, last.Name)
	o.reports(s, s.allBut(last, onSource)...)
	s.standBut(last)
}

// A VM that is committed arrives. It is the last one, so the cancelled evacuation is complete.
func TestFaultCtrlCInCommit(t *testing.T) {
	s := newScene(t)
	o := cancelled(s, func(x *sender) { x.beginsLast("logcommit") })
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.spread(s.Targets...)
}

// A VM that is committed arrives, the one behind it stays.
func TestFaultCtrlCAfterCommit(t *testing.T) {
	s := newScene(t)
	var first *lab.Guest
	o := cancelled(s, func(x *sender) { first = x.begins("release") })
	last := s.other(first)
	o.exits(s, 130, last.Name)
	o.reports(s, s.allBut(last, onSource)...)
	s.standBut(last)
}
