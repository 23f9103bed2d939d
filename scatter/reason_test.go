package scatter

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestPreflightSaysWhyQEMUDoesNotConnect: a QEMU that cannot reach our socket says so by its migration's state alone.
func TestPreflightSaysWhyQEMUDoesNotConnect(t *testing.T) {
	v, err := discoverVM(t.Context(), 0, realVM(t, "vm", "-m", "16", "-run-with", "chroot="+shortDir(t)), shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	if err := v.preflight(t.Context(), func() error { return nil }); err == nil || !strings.Contains(err.Error(), "Failed to connect to") {
		t.Errorf("got %v", err)
	}
}

// TestWhyClosed: where QEMU has closed its migration, its own words count, and never a bare end of file.
func TestWhyClosed(t *testing.T) {
	v, err := discoverVM(t.Context(), 0, realVM(t, "vm", "-m", "16"), shortDir(t))
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
	if err := noEOF(io.ErrUnexpectedEOF); strings.Contains(err.Error(), "EOF") || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

// TestVMsThatLiveElsewhere: named by hand, their sockets hinder all.
func TestVMsThatLiveElsewhere(t *testing.T) {
	s := openHost(t, nil, "target", nil)
	cfg := evacuationTo(t, []*site{s}, realVM(t, "vm", "-m", "16"), realVM(t, "coming", "-m", "16", "-incoming", "defer"))
	_, err := MakePlan(t.Context(), cfg)
	if blocked, ok := errors.AsType[*BlockedError](err); !ok || len(blocked.Blockers) != 1 || blocked.Blockers[0].VM != "coming" {
		t.Errorf("got %v", err)
	}
}

// TestVMsWithoutAUsableNameStay: a VM that scatter cannot handle hinders itself and no other.
func TestVMsWithoutAUsableNameStay(t *testing.T) {
	s := openHost(t, nil, "target", nil)
	bad := realVM(t, "vm", "-m", "16", "-name", "guest=two words")
	cfg := evacuationTo(t, []*site{s}, realVM(t, "vm", "-m", "16"), bad)
	plan, err := MakePlan(t.Context(), cfg)
	if err != nil || len(plan.Stays) != 1 || plan.Stays[0].VM != bad || plan.Placement["vm"] != "target" {
		t.Errorf("%v, %+v", err, plan)
	}
	cfg.VMs = []string{bad}
	if _, err := MakePlan(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "two words") {
		t.Errorf("alone: %v", err)
	}
}

// TestHeldVMsStay: a VM that is known to be there and out of reach stays, and counts.
func TestHeldVMsStay(t *testing.T) {
	s := openHost(t, nil, "target", nil)
	cfg := evacuationTo(t, []*site{s}, realVM(t, "vm", "-m", "16"))
	cfg.Held = []Blocker{{VM: "/run/held.qmp", Problem: "another client holds its monitor"}}
	plan, err := MakePlan(t.Context(), cfg)
	if err != nil || len(plan.Stays) != 1 || plan.Placement["vm"] != "target" {
		t.Errorf("%v, %+v", err, plan)
	}
	cfg.AllOrNone = true
	if _, err := MakePlan(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "held.qmp") {
		t.Errorf("got %v", err)
	}
}
