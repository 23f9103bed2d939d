package source

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// on lists the capabilities that are on.
func (v *VM) on(t *testing.T) (names []string) {
	t.Helper()
	caps, err := v.Client.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, on := range caps {
		if on {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestSettingsOfAnotherManager: what another manager has set is switched off while the VM moves where that does not hurt, and put back.
func TestSettingsOfAnotherManager(t *testing.T) {
	v := found(t, "-m", "16")
	theirs := map[string]bool{"pause-before-switchover": true, "auto-converge": true, "late-block-activate": true, "validate-uuid": true}
	if err := v.Client.SetCapabilities(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	if err := v.CheckMigration(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := v.SetCapabilities(t.Context()); err != nil {
		t.Fatal(err)
	}
	if on := v.on(t); !slices.Equal(on, []string{"events", "late-block-activate", "return-path"}) {
		t.Errorf("while it moves: %v", on)
	}
	if err := v.RestoreSettings(t.Context()); err != nil {
		t.Fatal(err)
	}
	if on := v.on(t); !slices.Equal(on, slices.Sorted(maps.Keys(theirs))) {
		t.Errorf("afterwards: %v", on)
	}
	if err := v.Preflight(t.Context(), func() error { return nil }); err != nil {
		t.Error(err)
	}
	if on := v.on(t); !slices.Equal(on, slices.Sorted(maps.Keys(theirs))) {
		t.Errorf("after preflight: %v", on)
	}
}

// TestEverySettingIsKnown: of each capability and parameter that this QEMU has it is known what it does.
func TestEverySettingIsKnown(t *testing.T) {
	v := found(t, "-m", "16")
	caps, err := v.Client.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for c := range caps {
		_, set := setCapability[c]
		_, fit := fitCapabilities[c]
		refused := slices.Contains(refusedCapabilities, c)
		if !set && !fit && !refused {
			t.Errorf("capability %s is in no table", c)
		}
		if why := unfitCapabilities(map[string]bool{c: true}); refused != (len(why) == 1) {
			t.Errorf("capability %s: %v", c, why)
		}
	}
	var all map[string]any
	if err := v.Client.Do(t.Context(), "query-migrate-parameters", nil, &all); err != nil {
		t.Fatal(err)
	}
	for p := range all {
		if _, fit := fitParameters[p]; !fit && p != "tls-creds" && p != "mode" {
			t.Errorf("parameter %s is in no table", p)
		}
	}
	if why := unfitCapabilities(map[string]bool{"x-time-travel": true, "events": true}); len(why) != 1 || !strings.Contains(why[0].Error(), "x-time-travel is on, of which") {
		t.Errorf("got %v", why)
	}
}

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
