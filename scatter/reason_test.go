package scatter

import (
	"errors"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/internal/sitekit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/move"
)

// TestVMsThatLiveElsewhere: named by hand, their sockets hinder all.
func TestVMsThatLiveElsewhere(t *testing.T) {
	s := sitekit.OpenHost(t, nil, "target", nil)
	cfg := evacuationTo(t, []*sitekit.Outpost{s}, kit.RealVM(t, "vm", "-m", "16"), kit.RealVM(t, "coming", "-m", "16", "-incoming", "defer"))
	_, err := move.MakePlan(t.Context(), cfg)
	if blocked, ok := errors.AsType[*model.BlockedError](err); !ok || len(blocked.Blockers) != 1 || blocked.Blockers[0].VM != "coming" {
		t.Errorf("got %v", err)
	}
}

// TestVMsOfAnyName: names that cannot be used in the names of files, and VMs without a name whose sockets are called alike.
func TestVMsOfAnyName(t *testing.T) {
	s := sitekit.OpenHost(t, nil, "target", nil)
	own := []string{"two words", "a,b/c", "ÄÖ", strings.Repeat("x", 70)}
	var vms []string
	for _, name := range own {
		vms = append(vms, kit.RealVM(t, "vm", "-m", "16", "-name", "guest="+strings.ReplaceAll(name, ",", ",,")))
	}
	cfg := evacuationTo(t, []*sitekit.Outpost{s}, append(vms, kit.RealVM(t, "", "-m", "16"), kit.RealVM(t, "", "-m", "16"))...)
	plan, err := move.MakePlan(t.Context(), cfg)
	if err != nil || len(plan.Placement) != 6 {
		t.Errorf("%v, %+v", err, plan)
	}
	for _, name := range own {
		if plan.Placement[qemu.Alias(name)] != "target" {
			t.Errorf("%s is not in %v", name, plan.Placement)
		}
	}
}

// TestHeldVMsStay: a VM that is known to be there and out of reach stays, and counts.
func TestHeldVMsStay(t *testing.T) {
	s := sitekit.OpenHost(t, nil, "target", nil)
	cfg := evacuationTo(t, []*sitekit.Outpost{s}, kit.RealVM(t, "vm", "-m", "16"))
	cfg.Held = []model.Blocker{{VM: "/run/held.qmp", Problem: "another client holds its monitor"}}
	plan, err := move.MakePlan(t.Context(), cfg)
	if err != nil || len(plan.Stays) != 1 || plan.Placement["vm"] != "target" {
		t.Errorf("%v, %+v", err, plan)
	}
	cfg.AllOrNone = true
	if _, err := move.MakePlan(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "held.qmp") {
		t.Errorf("got %v", err)
	}
}
