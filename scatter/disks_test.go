package scatter

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/internal/sitekit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/move"
	"github.com/scatter-vm/scatter/scatter/source"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target"
)

// diskVM is a QEMU with a disk, and a monitor of its own for the test.
type diskVM struct {
	*qemu.Client
	t   *testing.T
	dir string // has base.qcow2, and the sockets vm.qmp and test.qmp
}

func startVM(t *testing.T, options ...string) *diskVM {
	t.Helper()
	dir, err := os.MkdirTemp("", "disks")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", dir+"/base.qcow2", "16M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s (apt-get install qemu-utils)", err, out)
	}
	argv := append([]string{"-nodefaults", "-display", "none", "-M", "pc", "-m", "16", "-name", "guest=web", "-qmp", "unix:" + dir + "/vm.qmp,server=on,wait=off",
		"-qmp", "unix:" + dir + "/test.qmp,server=on,wait=off", "-drive", "file=" + dir + "/base.qcow2,if=virtio,id=d0"}, options...)
	cmd := exec.Command(kit.RealQEMU, argv...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	v := &diskVM{t: t, dir: dir}
	kit.Eventually(t, func() bool { v.Client, err = qemu.Dial(t.Context(), dir+"/test.qmp"); return err == nil })
	t.Cleanup(func() { v.Close() })
	return v
}

func (v *diskVM) do(command string, arguments map[string]any) {
	v.t.Helper()
	if err := v.Do(v.t.Context(), command, arguments, nil); err != nil {
		v.t.Error(err)
	}
}

func (v *diskVM) snapshot() {
	v.t.Helper()
	v.do("blockdev-snapshot-sync", map[string]any{"device": "d0", "snapshot-file": v.dir + "/overlay.qcow2"})
}

// evacuate moves the VM to a receiver on this host.
func (v *diskVM) evacuate(policy qemu.LaunchPolicy, change func(*source.Config)) (*model.Report, *sitekit.Outpost, error) {
	v.t.Helper()
	policy.QEMU = kit.RealQEMU
	s := sitekit.OpenOutpost(v.t, nil, "target", func(c *target.Config) { c.RunDir, c.Policy = v.dir+"/run", policy })
	cfg := source.Config{VMs: []string{v.dir + "/vm.qmp"}, Targets: []model.TargetAddr{s.Target}, Interface: "lo", TLSDir: s.TLSDir, RunDir: v.dir + "/send", Unicast: true}
	if change != nil {
		change(&cfg)
	}
	report, err := move.Evacuate(v.t.Context(), cfg)
	return report, s, err
}

// onTarget is the monitor of the VM on its target; it ends with the test.
func (v *diskVM) onTarget() *qemu.Client {
	v.t.Helper()
	c, err := qemu.Dial(v.t.Context(), v.dir+"/run/web.qmp")
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.Quit(ctx); err != nil {
			v.t.Error(err)
		}
		<-c.Done()
		c.Close()
		for system.Exists(v.dir + "/run/web.pid") { // the receiver notices
			if err := system.Pause(ctx, 10*time.Millisecond); err != nil {
				v.t.Error(err)
				return
			}
		}
	})
	return c
}

func opened(t *testing.T, c *qemu.Client) string {
	t.Helper()
	o, err := inventory.ReadOutline(t.Context(), c)
	if err != nil || len(o.Disks) != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	return o.Disks[0].String()
}

// TestTargetOpensSnapshot: what a VM writes into by now is what its target opens, not what its command line says, also where it
// has another name there.
func TestTargetOpensSnapshot(t *testing.T) {
	v := startVM(t)
	v.snapshot()
	other := v.dir + "-there"
	if err := os.Symlink(v.dir, other); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(other) })
	report, _, err := v.evacuate(qemu.LaunchPolicy{AllowPaths: []string{v.dir}, Rewrites: []qemu.Rewrite{{From: v.dir, To: other}}}, nil)
	if err != nil || report.Outcome() != model.AllEvacuated {
		t.Fatalf("%+v, %v", report, err)
	}
	if got := opened(t, v.onTarget()); !strings.HasPrefix(got, "qcow2 "+other+"/overlay.qcow2 of 16777216 bytes on qcow2 "+v.dir+"/base.qcow2") {
		t.Errorf("the target has %s", got)
	}
}

// TestTargetHasLimits: limits of a disk that no command line can say are set on the target all the same.
func TestTargetHasLimits(t *testing.T) {
	v := startVM(t, "-blockdev", "null-co,node-name=n,read-zeroes=on,size=1048576", "-device", "virtio-blk-pci,drive=n,id=vd")
	limits := map[string]any{"id": "/machine/peripheral/vd/virtio-backend", "bps": 0, "bps_rd": 0, "bps_wr": 1 << 20, "iops": 70, "iops_rd": 0, "iops_wr": 0}
	v.do("block_set_io_throttle", limits)
	report, _, err := v.evacuate(qemu.LaunchPolicy{AllowPaths: []string{v.dir}}, nil)
	if err != nil || report.Outcome() != model.AllEvacuated {
		t.Fatalf("%+v, %v", report, err)
	}
	inv, err := inventory.Read(t.Context(), v.onTarget(), "/")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(inv.Drives, func(d inventory.Drive) bool { return d.Name == "" })
	if got := inv.Drives[i].Limits; got["iops"] != 70 || got["bps_wr"] != 1<<20 {
		t.Errorf("the target has %v", got)
	}
}

// TestDisksAreComparedBeforeCommit: a disk that changes on the way keeps the VM where it is, running, and both sides are named.
func TestDisksAreComparedBeforeCommit(t *testing.T) {
	v := startVM(t)
	v.staysAfter(v.snapshot, "disk d0 differs", "the source has qcow2 "+v.dir+"/overlay.qcow2", "the target has qcow2 "+v.dir+"/base.qcow2")
}

// TestDevicesAreComparedBeforeCommit: QEMU loads a VM that has lost a device without a word.
func TestDevicesAreComparedBeforeCommit(t *testing.T) {
	v := startVM(t, "-device", "piix3-usb-uhci", "-device", "usb-tablet,id=tab")
	v.staysAfter(func() { v.do("device_del", map[string]any{"id": "tab"}) }, "only the target has tab usb-tablet")
}

// staysAfter evacuates the VM, with something that happens to it during bulk, and checks that it stays for a cause with
// these words.
func (v *diskVM) staysAfter(happen func(), words ...string) {
	v.t.Helper()
	happened := false
	report, _, err := v.evacuate(qemu.LaunchPolicy{AllowPaths: []string{v.dir}}, func(c *source.Config) {
		c.Events = func(e model.Event) {
			if e.Type == "vm" && e.Stage == "bulk" && !happened {
				happened = true
				happen()
			}
		}
	})
	if err != nil || report.Outcome() != model.SomeStay || !happened {
		v.t.Fatalf("%+v, %v", report, err)
	}
	for _, want := range words {
		if cause := report.VMs[0].Cause; !strings.Contains(cause, want) {
			v.t.Errorf("cause %q, want %q", cause, want)
		}
	}
	if s, err := v.Status(v.t.Context()); err != nil || !s.Running {
		v.t.Errorf("the source VM is %s, %v", s.Status, err)
	}
}

// TestWhatCannotMoveIsToldAtOnce: everything that stands in the way is a blocker of its own, with a remedy.
func TestWhatCannotMoveIsToldAtOnce(t *testing.T) {
	v := startVM(t, "-vnc", "127.0.0.1:978,password=on")
	v.do("block-dirty-bitmap-add", map[string]any{"node": "d0", "name": "b0"})
	v.do("object-add", map[string]any{"qom-type": "secret", "id": "s0", "data": "x"})
	_, _, err := v.evacuate(qemu.LaunchPolicy{AllowPaths: []string{v.dir}}, nil)
	blocked, ok := errors.AsType[*model.BlockedError](err)
	if !ok || len(blocked.Blockers) != 3 {
		t.Fatalf("%v", err)
	}
	for _, b := range blocked.Blockers {
		if b.VM != "web" || b.Remedy == "" || b.Risk == strings.Contains(b.Problem, "secret") {
			t.Errorf("blocker %+v", b)
		}
	}
}
