package source

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
	"github.com/scatter-vm/scatter/scatter/refusals"
)

// diskOf is a disk whose image exists.
func diskOf(t *testing.T, name string) hypervisor.Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	kit.WriteFile(t, path, make([]byte, 8192))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return hypervisor.Disk{Node: name, File: "/srv/" + name, Path: path, Inode: info.Sys().(*syscall.Stat_t).Ino, Bytes: 8192, Data: 4096}
}

// TestDisksThatTargetsShare: a disk that a target has already does not travel, and a target without it is none for the VM; others travel, and are asked for
// without any file that would do.
func TestDisksThatTargetsShare(t *testing.T) {
	e, _ := leaving(t)
	v := e.VMs[0]
	v.travel = model.DisksAuto
	shared, own := diskOf(t, "shared"), diskOf(t, "own")
	v.written = []control.File{{Path: shared.File, Inode: shared.Inode}, {Path: own.File, Inode: own.Inode}, {Path: "/srv/other", Inode: 7}}
	if err := v.findDisks([]hypervisor.Disk{shared, own, {File: "/srv/other", Stays: "its format is qcow2"}}); err != nil {
		t.Fatal(err)
	}
	if m := v.ExamineMessage(false, false); len(m.Disks) != 2 || m.Disks[0].Inode != shared.Inode || m.Disks[1].Data != 4096 || len(m.Written) != 1 {
		t.Errorf("asked %+v, %+v", m.Disks, m.Written)
	}
	e.Examined(0, control.Examined{VM: 0, Shared: []int{0, 99, -1}})
	e.Examined(1, control.Examined{VM: 0})
	if why := e.settleDisks(t.Context()); len(why[0]) > 0 {
		t.Fatal(why)
	}
	defer v.Images().Close()
	if len(v.Disks) != 1 || v.Disks[0].Node != "own" || v.diskBytes() != 4096 {
		t.Errorf("%+v travel", v.Disks)
	}
	if why := e.Refused.Of(refusals.Question{Host: 1}); why == nil || !strings.Contains(why.Error(), "/srv/shared, which other targets share") {
		t.Errorf("a target without a shared disk: %v", why)
	}
	if why := e.Refused.Of(refusals.Question{Host: 0}); why != nil {
		t.Error(why)
	}
	if m := v.ExamineMessage(false, true); len(m.Disks) != 1 || m.Disks[0].Inode != 0 || len(m.Written) != 2 {
		t.Errorf("tried with %+v, %+v", m.Disks, m.Written)
	}
}

// TestDisksAndPostCopy: a VM may take over before its disks, unless it is not to, or they cannot be served meanwhile; then it stays where it must.
func TestDisksAndPostCopy(t *testing.T) {
	for _, c := range []struct {
		travel model.Disks
		disk   hypervisor.Disk
		want   string
	}{
		{model.DisksAuto, hypervisor.Disk{}, ""},
		{model.DisksPost, hypervisor.Disk{}, ""},
		{model.DisksPre, hypervisor.Disk{}, "before it runs (--disks pre)"},
		{model.DisksPost, hypervisor.Disk{Qcow2: &control.Qcow2{}}, "is no raw image"},
	} {
		v := vmCalled("a")
		v.travel, v.Policy = c.travel, modes.Policy{Must: true}
		v.takeDisks([]hypervisor.Disk{c.disk})
		if why := v.whyNotTakeOver(nil); (why == "") != (c.want == "") || !strings.Contains(why, c.want) {
			t.Errorf("%s: %q", c.travel, why)
		}
	}
	v := vmCalled("a")
	if why := v.whyNotTakeOver(nil); why != "" {
		t.Errorf("without disks: %q", why)
	}
}

// TestDisksThatCannotTravel: with DisksPre they hinder the VM, each by its name.
func TestDisksThatCannotTravel(t *testing.T) {
	v := vmCalled("a")
	v.travel = model.DisksPre
	err := v.findDisks([]hypervisor.Disk{{File: "/srv/a.qcow2", Stays: "its format is qcow2, not raw"}, {File: "/srv/b", Stays: "it is encrypted"}})
	if why := blockersOf("a", err); len(why) != 2 || !strings.Contains(why[1].String(), "/srv/b cannot travel: it is encrypted (put it on storage") {
		t.Errorf("%v", why)
	}
}
