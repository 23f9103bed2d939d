package source

import (
	"errors"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// TestLostWritesAreNamed: RAM of an emulated guest that QEMU does not track is a risk, which only the operator may take.
func TestLostWritesAreNamed(t *testing.T) {
	two := []string{"-m", "64", "-object", "memory-backend-ram,id=m0,size=32M", "-object", "memory-backend-ram,id=m1,size=32M", "-numa", "node,memdev=m0", "-numa", "node,memdev=m1"}
	plugged := []string{"-m", "64,slots=2,maxmem=1G", "-object", "memory-backend-ram,id=d1,size=128M", "-device", "pc-dimm,memdev=d1"}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"one block":          {[]string{"-m", "64", "-device", "VGA"}, ""},
		"one backend":        {[]string{"-m", "64", "-M", "pc,memory-backend=m0", "-object", "memory-backend-ram,id=m0,size=64M"}, ""},
		"two nodes":          {two, "but the first block: m1"},
		"a module before it": {plugged, "but the first block: pc.ram"},
		"two nodes with KVM": {append(two, "-accel", "kvm"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "KVM") && !system.Exists("/dev/kvm") {
				t.Skip("no /dev/kvm")
			}
			v := found(t, c.args...)
			err := v.Preflight(t.Context(), func() error { return nil })
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !onlyRisks(err) || len(v.Header) == 0 {
				t.Fatalf("got %v", err)
			}
			e := &Party{run: run{Cfg: Config{Force: true}}}
			if left := e.forced(v, blockersOf("vm", err)); left != nil || len(v.remarks) != 1 {
				t.Errorf("forced: %v, %q", left, v.remarks)
			}
			e.Cfg.Force = false
			if left := e.forced(v, blockersOf("vm", err)); len(left) != 1 {
				t.Errorf("not forced: %v", left)
			}
		})
	}
	if onlyRisks(errors.New("x")) || onlyRisks(&model.BlockedError{Blockers: []model.Blocker{{Risk: true}, {}}}) {
		t.Error("what is no risk cannot be forced")
	}
}
