package inventory

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A snapshot makes the guest write into a new file. The target must open that, not the one of the command line.
func TestSnapshot(t *testing.T) {
	m := start(t, "-M pc -drive file=DIR/base.qcow2,if=virtio,id=d0")
	m.do("blockdev-snapshot-sync", args{"device": "d0", "snapshot-file": "DIR/overlay.qcow2"})
	target := m.move()
	root := target.read().Drive("d0").Root
	if root.File != m.dir+"/overlay.qcow2" || root.Child("backing").File != m.dir+"/base.qcow2" || root.ReadOnly {
		t.Errorf("the target has %+v", root)
	}
}

func TestCompareDisks(t *testing.T) {
	overlay := []Layer{
		{Driver: "qcow2", File: "/a/overlay", Size: 16}, {Depth: 1, Role: "file", Driver: "file", File: "/a/overlay"},
		{Depth: 1, Role: "backing", Driver: "qcow2", File: "/a/base", Size: 16}, {Depth: 2, Role: "file", Driver: "file", File: "/a/base"},
	}
	source := []Disk{{"cd", nil}, {"d0", overlay}}
	moved := func(s, t string) bool { return strings.Replace(s, "/a/", "/b/", 1) == t }
	for name, c := range map[string]struct {
		change func(cd, d0 *Disk)
		want   string
	}{
		"equal":             {func(_, _ *Disk) {}, ""},
		"rewritten":         {func(_, d0 *Disk) { d0.Layers[0].File, d0.Layers[1].File = "/b/overlay", "/b/overlay" }, ""},
		"named":             {func(_, d0 *Disk) { d0.Layers[0].Name = "scatter0" }, ""},
		"base instead":      {func(_, d0 *Disk) { d0.Layers = []Layer{overlay[2], overlay[3]} }, "the source has qcow2 /a/overlay of 16 bytes on qcow2 /a/base of 16 bytes, the target has"},
		"other backing":     {func(_, d0 *Disk) { d0.Layers[2].File = "/a/other" }, "disk d0 differs"},
		"format":            {func(_, d0 *Disk) { d0.Layers[2].Driver = "raw" }, "on raw /a/base"},
		"size":              {func(_, d0 *Disk) { d0.Layers[0].Size = 8 }, "of 8 bytes"},
		"read-only":         {func(_, d0 *Disk) { d0.Layers[0].ReadOnly = true }, "read-only"},
		"medium":            {func(cd, _ *Disk) { cd.Layers = overlay[3:] }, "disk cd differs: the source has no medium"},
		"other device":      {func(_, d0 *Disk) { d0.Device = "d1" }, "disk d0 differs: the source has qcow2"},
		"one device before": {func(cd, _ *Disk) { cd.Device = "a" }, "disk a differs: the source has none"},
	} {
		target := []Disk{{"cd", nil}, {"d0", slices.Clone(overlay)}}
		c.change(&target[0], &target[1])
		err := compareDisks(source, target, moved)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if compareDisks(source, source[:1], moved) == nil || compareDisks(source[:1], source, moved) == nil || compareDisks(nil, nil, moved) != nil {
		t.Error("a missing disk is not seen")
	}
}

// A bitmap that the image keeps is there again when the target has taken the image over.
func TestBitmapOfImage(t *testing.T) {
	m := start(t, "-M pc -S -drive file=DIR/base.qcow2,if=virtio,id=d0")
	m.do("block-dirty-bitmap-add", args{"node": "d0", "name": "b0", "persistent": true})
	target := m.move()
	m.do("quit", nil)
	target.do("cont", nil)
	got := target.read().Drive("d0").Root.Bitmaps
	if len(got) != 1 || got[0].Name != "b0" || !got[0].Persistent || got[0].Inconsistent {
		t.Errorf("the target has %+v", got)
	}
}

// A machine that has not changed is started as it was, with its machine type pinned, and the formats that QEMU has found out.
func TestUnchanged(t *testing.T) {
	m := start(t, q35+formats+vd0+"-drive file=DIR/disk.raw,format=raw,if=virtio -cdrom DIR/cd.iso -drive file=DIR/other.qcow2,if=none,id=x,cache=none,aio=native,bps=1000000,werror=stop "+
		"-device ide-hd,drive=x -chardev socket,id=c,path=DIR/c,server=on,wait=off -serial chardev:c -netdev user,id=n,net=10.1.0.0/16 -device e1000e,netdev=n -object rng-random,id=r,filename=/dev/urandom "+
		"-device virtio-rng-pci,rng=r -device usb-tablet -accel tcg -drive if=pflash,file=DIR/disk.raw,format=raw,readonly=on")
	argv, findings := Command(m.read(), m.argv)
	want := slices.Clone(m.argv)
	want[slices.Index(want, "q35")] = "pc-q35-10.0"
	cd := slices.Index(want, "-cdrom")
	want[cd], want[cd+1] = "-drive", "index=2,media=cdrom,file="+want[cd+1]+",format=raw"
	for i := range want {
		if strings.HasSuffix(want[i], "werror=stop") {
			want[i] += ",format=qcow2"
		}
	}
	if diff := cmp.Diff(want, argv); diff != "" || findings != nil {
		t.Errorf("%v\n%s", findings, diff)
	}
}
