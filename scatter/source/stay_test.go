package source

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/refusals"
)

// leaving is an evacuation of VMs a, b, c to hosts h0 and h1, with its journal, before anything was done.
func leaving(t *testing.T) (*Planned, *kit.Tells) {
	t.Helper()
	e := standing(t)
	told := &kit.Tells{}
	e.Cfg.Events = told.Add
	e.Journal, _ = enginekit.NewJournal(t, filepath.Join(t.TempDir(), "send-0011223344556677.journal"))
	e.Refused.Ask(allQuestions(2, 3), true)
	return e, told
}

// TestLeaveRenumbers: those that go on keep what is known of them, under new numbers; the journal follows them by name.
func TestLeaveRenumbers(t *testing.T) {
	e, told := leaving(t)
	for _, v := range e.VMs {
		if err := e.Party.record(v, handover.RecSettings); err != nil {
			t.Fatal(err)
		}
	}
	full := errors.New("h1: is full")
	for host := range 2 {
		for vm := range 3 {
			var err error
			if host == 1 && vm == 2 {
				err = full
			}
			e.Refused.Answer(refusals.Question{Host: host, VM: vm}, err)
		}
	}
	if err := e.leave([][]model.Blocker{{{VM: "a", Problem: "is broken"}, {VM: "a", Problem: "is old", Remedy: "renew it"}}, nil, nil}); err != nil {
		t.Fatal(err)
	}
	if names := model.NamesOf(e.VMs, (*VM).Name); !slices.Equal(names, []string{"b", "c"}) || e.VMs[1].Index != 1 || e.Refused.Of(refusals.Question{Host: 1, VM: e.VMs[1].Number}) != full || e.Refused.Of(refusals.Question{Host: 1, VM: e.VMs[0].Number}) != nil {
		t.Errorf("left are %v, refusals %v", names, e.Refused.Of(refusals.Question{Host: 1, VM: e.VMs[1].Number}))
	}
	if got := told.Of("blocker", "a"); !slices.Equal(got, []string{"is broken", "is old (renew it)"}) {
		t.Errorf("told %q", got)
	}
	if s := e.stayer("a"); s == nil || s.Cause() != "is broken; is old (renew it)" || e.stayer("b") != nil {
		t.Errorf("stayers %+v", e.Stays)
	}
	if err := e.Party.record(e.VMs[0], handover.RecPrepare); err != nil {
		t.Fatal(err)
	}
	records, _, err := journal.Peek(e.Journal.Path)
	if err != nil {
		t.Fatal(err)
	}
	vms, _ := handover.Histories(records)
	if len(vms) != 3 || vms[0].Open() || vms[1].Last.Kind != handover.RecPrepare || vms[1].Last.VM != 0 || vms[1].Settings.Name != "b" || vms[2].Begun() {
		t.Errorf("histories %+v", vms)
	}
}

// TestLeaveAllOrNone: one that cannot move hinders all, if the operator wants that; and all hinder all.
func TestLeaveAllOrNone(t *testing.T) {
	why := model.Blocker{VM: "b", Problem: "is broken"}
	e, told := leaving(t)
	e.Cfg.AllOrNone = true
	if blocked, ok := errors.AsType[*model.BlockedError](e.leave([][]model.Blocker{nil, {why}, nil})); !ok || !slices.Equal(blocked.Blockers, []model.Blocker{why}) || len(told.Of("blocker", "b")) > 0 {
		t.Errorf("got %v", blocked)
	}
	e, _ = leaving(t)
	if err := e.leave([][]model.Blocker{nil, {why}, nil}); err != nil {
		t.Fatal(err)
	}
	if blocked, ok := errors.AsType[*model.BlockedError](e.leave([][]model.Blocker{{why}, {why}})); !ok || len(blocked.Blockers) != 3 {
		t.Errorf("got %v", blocked)
	}
}

// TestExclude: names and patterns, and a word about those that match nothing.
func TestExclude(t *testing.T) {
	e, told := leaving(t)
	e.Cfg.Exclude = []string{"a", "[cd]", "z*"}
	if out := e.exclude(); !slices.Equal(out, []string{"a", "c"}) || len(e.VMs) != 1 || e.VMs[0].Index != 0 {
		t.Errorf("excluded %v, left %v", out, e.VMs)
	}
	if w := told.Of("warning", ""); !slices.Equal(w, []string{"exclude z*: no VM is called so"}) {
		t.Errorf("told %q", w)
	}
	if checkPatterns([]string{"a", "b-?"}) != nil || checkPatterns([]string{"["}) == nil || checkPatterns([]string{""}) == nil {
		t.Error("patterns")
	}
}
