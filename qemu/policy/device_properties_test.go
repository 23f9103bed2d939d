package policy_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/internal/kit"
	"github.com/scatter-vm/scatter/qemu/policy"
)

// monitorOf is the monitor of a QEMU that is started like a target.
func monitorOf(t *testing.T, args ...string) *qemu.Client {
	t.Helper()
	argv := append([]string{kit.NeedQEMU(t), "-nodefaults"}, args...)
	c, err := policy.Policy{AllowPaths: []string{"/dev/shm", os.TempDir()}}.Command(argv, "vm1", filepath.Join(kit.ShortDir(t), "run"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := qemu.Launch(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p.Client
}

// Each device that the policy lets through has no property, in the QEMU that is installed, that could name something of
// the host and is not judged.
func TestQEMUDeviceProperties(t *testing.T) {
	c := monitorOf(t, "-M", "none", "-m", "16")
	judgedOrHarmless := strings.Fields(`addr audiodev busnr display drive failover_pair_id filter fp_start_macaddr guid
		iothread-vq-mapping lost_tick_policy mac masterbus mode mount_tag netdev nguid nqn port reserved-regions rerror werror
		tag tpmdev tx duplex uuid world bios-chs-trans drive-type fallback fdtypeA fdtypeB granule x-speed x-width
		device_id crash-information pcspk-audiodev instanceid fdp.ruhs guest-stats backend`)
	known := 0
	for _, driver := range slices.Sorted(maps.Keys(policy.DeviceKinds())) {
		var props []struct{ Name, Type string }
		err := c.Do(t.Context(), "device-list-properties", map[string]string{"typename": driver}, &props)
		if _, unknown := errors.AsType[*qemu.QMPError](err); unknown {
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", driver, err)
		}
		known++
		for _, p := range props {
			number := strings.HasPrefix(p.Type, "uint") || strings.HasPrefix(p.Type, "int")
			link := strings.HasPrefix(p.Type, "link<") || strings.HasPrefix(p.Type, "child<")
			if number || link || slices.Contains([]string{"bool", "size", "OnOffAuto", "on/off"}, p.Type) {
				continue
			}
			judged := policy.JudgesDeviceKey(p.Name)
			if !judged && !slices.Contains(judgedOrHarmless, p.Name) && !strings.HasPrefix(p.Name, "chardev") {
				t.Errorf("%s.%s (%s) is not judged", driver, p.Name, p.Type)
			}
		}
	}
	if known < 100 {
		t.Errorf("only %d devices found", known)
	}
}
