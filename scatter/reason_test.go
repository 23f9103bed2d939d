package scatter

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// TestPreflightOfAnotherRoot: a QEMU gets its end of the stream as a descriptor, so it may see other files than we.
func TestPreflightOfAnotherRoot(t *testing.T) {
	v, err := discoverVM(t.Context(), 0, kit.RealVM(t, "vm", "-m", "16", "-run-with", "chroot="+kit.ShortDir(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	if err := v.captureHeader(t.Context()); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestWhyClosed: where QEMU has closed its migration, its own words count, and never a bare end of file.
func TestWhyClosed(t *testing.T) {
	v, err := discoverVM(t.Context(), 0, kit.RealVM(t, "vm", "-m", "16"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	if err := v.client.Do(t.Context(), "migrate", map[string]string{"uri": "exec:exit 7"}, nil); err != nil {
		t.Fatal(err)
	}
	got := v.whyClosed(t.Context(), io.EOF)
	if got == nil || !strings.Contains(got.Error(), "QEMU gave its migration up: ") || strings.Contains(got.Error(), "EOF") {
		t.Errorf("got %v", got)
	}
	exec.Command("kill", "-9", strconv.Itoa(v.vm.PID)).Run()
	<-v.client.Done()
	if got := v.whyClosed(context.WithoutCancel(t.Context()), io.ErrUnexpectedEOF); got == nil || !strings.Contains(got.Error(), "its QEMU has ended") {
		t.Errorf("got %v", got)
	}
	if err := system.NoEOF(io.ErrUnexpectedEOF); strings.Contains(err.Error(), "EOF") || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

// TestVMsThatLiveElsewhere: named by hand, their sockets hinder all.
func TestVMsThatLiveElsewhere(t *testing.T) {
	s := openHost(t, nil, "target", nil)
	cfg := evacuationTo(t, []*site{s}, kit.RealVM(t, "vm", "-m", "16"), kit.RealVM(t, "coming", "-m", "16", "-incoming", "defer"))
	_, err := MakePlan(t.Context(), cfg)
	if blocked, ok := errors.AsType[*model.BlockedError](err); !ok || len(blocked.Blockers) != 1 || blocked.Blockers[0].VM != "coming" {
		t.Errorf("got %v", err)
	}
}

// TestVMsOfAnyName: names that cannot be used in the names of files, and VMs without a name whose sockets are called alike.
func TestVMsOfAnyName(t *testing.T) {
	s := openHost(t, nil, "target", nil)
	own := []string{"two words", "a,b/c", "ÄÖ", strings.Repeat("x", 70)}
	var vms []string
	for _, name := range own {
		vms = append(vms, kit.RealVM(t, "vm", "-m", "16", "-name", "guest="+strings.ReplaceAll(name, ",", ",,")))
	}
	cfg := evacuationTo(t, []*site{s}, append(vms, kit.RealVM(t, "", "-m", "16"), kit.RealVM(t, "", "-m", "16"))...)
	plan, err := MakePlan(t.Context(), cfg)
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
	s := openHost(t, nil, "target", nil)
	cfg := evacuationTo(t, []*site{s}, kit.RealVM(t, "vm", "-m", "16"))
	cfg.Held = []model.Blocker{{VM: "/run/held.qmp", Problem: "another client holds its monitor"}}
	plan, err := MakePlan(t.Context(), cfg)
	if err != nil || len(plan.Stays) != 1 || plan.Placement["vm"] != "target" {
		t.Errorf("%v, %+v", err, plan)
	}
	cfg.AllOrNone = true
	if _, err := MakePlan(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "held.qmp") {
		t.Errorf("got %v", err)
	}
}
