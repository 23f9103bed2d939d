package qmp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu/image"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
)

// run runs a program that must be there.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// qcow2Disk is a VM with a qcow2 disk of 8 MiB, of which half is written, and that disk.
func qcow2Disk(t *testing.T, options ...string) (*Source, hypervisor.Disk) {
	t.Helper()
	dir := t.TempDir()
	noise, path := filepath.Join(dir, "noise"), filepath.Join(dir, "disk.qcow2")
	kit.WriteFile(t, noise, kit.Noise(8<<20))
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", path, "8M")
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -q -s "+noise+" 1M 4M", path)
	for _, o := range options {
		run(t, "qemu-img", append(strings.Fields(o), path)...)
	}
	v := found(t, "-m", "16", "-blockdev", "driver=file,filename="+path+",node-name=file0", "-blockdev", "driver=qcow2,file=file0,node-name=disk0",
		"-device", "virtio-blk-pci,drive=disk0,id=d0")
	d, err := v.Examine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Disks) != 1 {
		t.Fatalf("%+v", d.Disks)
	}
	return v, d.Disks[0]
}

// overBase is qcow2Disk for an image over a raw one that is full: a quarter is written, and some of it is zero again.
func overBase(t *testing.T) (*Source, hypervisor.Disk) {
	t.Helper()
	base := filepath.Join(t.TempDir(), "base.raw")
	kit.WriteFile(t, base, kit.Noise(8<<20))
	return qcow2Disk(t, "rebase -u -b "+base+" -F raw")
}

// TestExportIsTheDisk: a copy of a qcow2 that is made through its QEMU, while that writes, is the disk, once what its mirror has told was sent. Holes are
// not read.
func TestExportIsTheDisk(t *testing.T) {
	t.Run("alone", func(t *testing.T) { exportIsTheDisk(t, qcow2Disk) })
	t.Run("over a base that the target has", func(t *testing.T) {
		exportIsTheDisk(t, func(t *testing.T, _ ...string) (*Source, hypervisor.Disk) { return overBase(t) })
	})
}

func exportIsTheDisk(t *testing.T, disks func(t *testing.T, options ...string) (*Source, hypervisor.Disk)) {
	v, d := disks(t)
	if d.Stays != "" || d.Qcow2 == nil || d.Qcow2.Cluster != 64<<10 || d.Qcow2.Compat != "1.1" || d.Qcow2.RefcountBits != 16 || d.Qcow2.Compression != "zlib" || d.Data == 0 {
		t.Fatalf("%+v, %+v", d, d.Qcow2)
	}
	served, err := v.Export(t.Context(), []hypervisor.Disk{d})
	if err != nil {
		t.Fatal(err)
	}
	thin := len(d.Backing) > 0
	i := disk.Image{Path: d.Path, Inode: d.Inode, Bytes: d.Bytes, Served: served[0], Thin: thin}
	images, err := disk.OpenImages([]disk.Image{i})
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	pages := uint32(0)
	if err := images.Populated(0, func(_, n uint32) error { pages += n; return nil }); err != nil || pages != 1024 {
		t.Errorf("%d pages are populated, %v", pages, err)
	}
	target := filepath.Join(t.TempDir(), "copy.qcow2")
	store, err := disk.Create(0, []disk.New{{Path: target, Bytes: d.Bytes, Qcow2: new(image.Qcow2(*d.Qcow2)), Below: below(d)}})
	if err == nil {
		err = store.Format(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	layout, err := dedup.NewLayout([]dedup.Region{{Pages: i.Pages()}})
	if err != nil {
		t.Fatal(err)
	}
	behind := disk.NewBehind(i.Pages())
	if err := v.Mirror(t.Context(), "disk0", d.Bytes, behind.Device(0)); err != nil {
		t.Fatal(err)
	}
	v.write(t, "write -z 2M 64k")
	v.write(t, "write -z 6M 64k") // where nothing was written before
	p := disk.Pusher{Behind: behind, From: images, Thin: images.Thin(), Held: dedup.NewHeld(layout), Seed: 1, Known: []disk.Pieces{{{Pages: i.Pages()}}},
		Send: func(_ context.Context, body []byte) error { return store.Take(body) }}
	if err := p.Sweep(false); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- p.Run(ctx) }()
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		off, n := rng.IntN(8<<20/512-64)*512, (1+rng.IntN(64))*512
		if rng.IntN(5) == 0 {
			v.write(t, fmt.Sprintf("write -z -u %d %d", off, n))
		} else {
			v.write(t, fmt.Sprintf("write -P %d %d %d", 1+rng.IntN(255), off, n))
		}
	}
	if err := v.EndMirrors(t.Context()); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if err := p.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	synced := make(chan error, 1)
	if err := store.Sync(true, func(err error) { synced <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "check", target)
	run(t, "qemu-img", "compare", "-U", d.Path, target)
}

// below are the images below a disk, where the source has them.
func below(d hypervisor.Disk) (all []image.Backing) {
	for _, b := range d.Backing {
		all = append(all, image.Backing{Path: b.Path, Format: b.Format})
	}
	return all
}

// TestExportsAreDropped: nothing is left of exports, those of a scatter that was killed as well, and an NBD server that is somebody else's is left alone.
func TestExportsAreDropped(t *testing.T) {
	v, d := qcow2Disk(t)
	ctx := t.Context()
	if _, err := v.Export(ctx, []hypervisor.Disk{d}); err != nil {
		t.Fatal(err)
	}
	killed := func() { // the next one knows nothing of them
		v.exports.clients[0].Close()
		v.exports.clients, v.served = nil, false
	}
	killed()
	if _, err := v.Examine(ctx); err != nil {
		t.Errorf("what is left keeps the VM: %v", err)
	}
	if _, err := v.Export(ctx, []hypervisor.Disk{d}); err != nil {
		t.Errorf("what is left: %v", err)
	}
	killed()
	v.changed.Store(true)
	if err := v.Restore(ctx); err != nil {
		t.Error(err)
	}
	theirs := map[string]any{"addr": map[string]any{"type": "unix", "data": map[string]string{"path": filepath.Join(t.TempDir(), "s")}}}
	if err := v.Do(ctx, "nbd-server-start", theirs, nil); err != nil {
		t.Fatalf("a server is left: %v", err)
	}
	_, err := v.Export(ctx, []hypervisor.Disk{d})
	if b, ok := errors.AsType[model.Blocker](err); !ok || !strings.Contains(b.String(), "has an NBD server already") || !strings.Contains(b.Remedy, "nbd-server-stop") {
		t.Errorf("beside another's server: %v", err)
	}
	v.closeExports()
	if err := v.Do(ctx, "nbd-server-start", theirs, nil); err == nil {
		t.Error("somebody else's server was ended")
	}
	if err := v.Do(ctx, "nbd-server-stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Export(ctx, []hypervisor.Disk{d}); err != nil {
		t.Error(err)
	}
	v.closeExports()
	if err := v.Do(ctx, "nbd-server-start", theirs, nil); err != nil {
		t.Errorf("a server is left by Close: %v", err)
	}
}

// TestQcow2ThatStays: what an image has beside a disk would be lost, and is named.
func TestQcow2ThatStays(t *testing.T) {
	for options, want := range map[string]string{"snapshot -c one": "internal snapshots", "rebase -u -b /dev/zero -F raw": "no regular file"} {
		if _, d := qcow2Disk(t, options); !strings.Contains(d.Stays, want) {
			t.Errorf("%s: %q", options, d.Stays)
		}
	}
}
