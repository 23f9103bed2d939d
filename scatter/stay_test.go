package scatter

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
)

// leaving is an evacuation of VMs a, b, c to hosts h0 and h1, with its journal, before anything was done.
func leaving(t *testing.T) (*evacuation, *tells) {
	t.Helper()
	e := standing(t)
	told := &tells{}
	e.cfg.Events = told.add
	e.journal, _ = newJournal(t, filepath.Join(t.TempDir(), "send-0011223344556677.journal"))
	e.refused.ask(allQuestions(2, 3), true)
	return e, told
}

// TestLeaveRenumbers: those that go on keep what is known of them, under new numbers; the journal follows them by name.
func TestLeaveRenumbers(t *testing.T) {
	e, told := leaving(t)
	for _, v := range e.vms {
		if err := e.party.record(v, handover.RecSettings); err != nil {
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
			e.refused.answer(question{host, vm}, err)
		}
	}
	if err := e.leave([][]model.Blocker{{{VM: "a", Problem: "is broken"}, {VM: "a", Problem: "is old", Remedy: "renew it"}}, nil, nil}); err != nil {
		t.Fatal(err)
	}
	if names := model.NamesOf(e.vms, (*sourceVM).name); !slices.Equal(names, []string{"b", "c"}) || e.vms[1].index != 1 || e.refused.of(question{1, e.vms[1].number}) != full || e.refused.of(question{1, e.vms[0].number}) != nil {
		t.Errorf("left are %v, refusals %v", names, e.refused.why)
	}
	if got := told.of("blocker", "a"); !slices.Equal(got, []string{"is broken", "is old (renew it)"}) {
		t.Errorf("told %q", got)
	}
	if s := e.stayer("a"); s == nil || s.cause() != "is broken; is old (renew it)" || e.stayer("b") != nil {
		t.Errorf("stayers %+v", e.stays)
	}
	if err := e.party.record(e.vms[0], handover.RecPrepare); err != nil {
		t.Fatal(err)
	}
	records, _, err := journal.Peek(e.journal.Path)
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
	e.cfg.AllOrNone = true
	if blocked, ok := errors.AsType[*model.BlockedError](e.leave([][]model.Blocker{nil, {why}, nil})); !ok || !slices.Equal(blocked.Blockers, []model.Blocker{why}) || len(told.of("blocker", "b")) > 0 {
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
	e.cfg.Exclude = []string{"a", "[cd]", "z*"}
	if out := e.exclude(); !slices.Equal(out, []string{"a", "c"}) || len(e.vms) != 1 || e.vms[0].index != 0 {
		t.Errorf("excluded %v, left %v", out, e.vms)
	}
	if w := told.of("warning", ""); !slices.Equal(w, []string{"exclude z*: no VM is called so"}) {
		t.Errorf("told %q", w)
	}
	if checkPatterns([]string{"a", "b-?"}) != nil || checkPatterns([]string{"["}) == nil || checkPatterns([]string{""}) == nil {
		t.Error("patterns")
	}
}
