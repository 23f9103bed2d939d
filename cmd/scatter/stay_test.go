package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/kit"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/render"
	"github.com/scatter-vm/scatter/scatter"
)

// TestPlanNamesVMsThatStay: tables, page, JSON and the exit status say which VMs cannot move, and why.
func TestPlanNamesVMsThatStay(t *testing.T) {
	p := kit.Plan()
	p.Stays = []scatter.Blocker{{VM: "fixed", Problem: "QEMU refuses to migrate it: <vfio>"}, {VM: "fixed", Problem: "its image is nowhere", Remedy: "copy it"}, {VM: "old", Problem: "no target takes it"}}
	var table, page, out, talk strings.Builder
	if err := errors.Join(render.Plan(&table, p), render.Page(&page, p)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CANNOT MOVE, STAY HERE", "vm fixed: QEMU refuses to migrate it: <vfio>", "vm fixed: its image is nowhere (copy it)", "vm old: no target takes it"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, table.String())
		}
	}
	for _, want := range []string{"2 of 5 VMs leave", "&lt;vfio&gt;", "no target takes it"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	a := newApp(&out, &talk, func(string) string { return "" })
	a.json = true
	err := a.showPlan(p, nil)
	o := newExitObject(err)
	if o.Code != exitSomeStay || !slices.Equal(o.Stayed, []string{"fixed", "old"}) || len(o.Blockers) != 3 || !strings.Contains(out.String(), `"stays":[{"vm":"fixed"`) {
		t.Errorf("exit object %+v, plan %s", o, out.String())
	}
	p.Blockers = []scatter.Blocker{{Problem: "no room"}}
	if code := exitCode(a.showPlan(p, nil)); code != exitNothing {
		t.Errorf("with a blocker of all: status %d", code)
	}
}
