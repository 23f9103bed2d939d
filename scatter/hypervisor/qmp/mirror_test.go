package qmp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

// rawDisk is a VM with a disk of 8 MiB, and that disk.
func rawDisk(t *testing.T, cache string) (*Source, disk.Image) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	kit.WriteFile(t, path, kit.Noise(8<<20))
	v := found(t, "-m", "16", "-blockdev", "driver=file,filename="+path+",node-name=file0"+cache, "-blockdev", "driver=raw,file=file0,node-name=disk0"+cache,
		"-device", "virtio-blk-pci,drive=disk0,id=d0")
	d, err := v.Examine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Disks) != 1 || d.Disks[0].Stays != "" || d.Disks[0].Node != "disk0" || d.Disks[0].Bytes != 8<<20 || d.Disks[0].Direct != (cache != "") {
		t.Fatalf("%+v", d.Disks)
	}
	return v, disk.Image{Path: d.Disks[0].Path, Inode: d.Disks[0].Inode, Bytes: d.Disks[0].Bytes, Direct: d.Disks[0].Direct}
}

// write has QEMU write to its disk as a guest does.
func (s *Source) write(t *testing.T, what string) {
	t.Helper()
	var said string
	if err := s.Do(t.Context(), "human-monitor-command", map[string]string{"command-line": `qemu-io -d d0/virtio-backend "` + what + `"`}, &said); err != nil {
		t.Error(err)
	}
	if strings.Contains(said, "rror") || strings.Contains(said, "failed") {
		t.Error(said)
	}
}

// TestMirrorTellsAllWrites: a copy that is made beside a QEMU that writes is the disk, once what its mirror has told was sent.
func TestMirrorTellsAllWrites(t *testing.T) {
	for _, cache := range []string{"", ",cache.direct=on"} {
		v, image := rawDisk(t, cache)
		images, err := disk.OpenImages([]disk.Image{image})
		if err != nil {
			t.Fatal(err)
		}
		defer images.Close()
		target := filepath.Join(t.TempDir(), "copy.raw")
		store, err := disk.Create(0, []disk.New{{Path: target, Bytes: image.Bytes}})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		layout, err := dedup.NewLayout([]dedup.Region{{Pages: image.Pages()}})
		if err != nil {
			t.Fatal(err)
		}
		behind := disk.NewBehind(image.Pages())
		if err := v.Mirror(t.Context(), "disk0", image.Bytes, behind.Device(0)); err != nil {
			t.Fatal(err)
		}
		p := disk.Pusher{Behind: behind, From: images, Held: dedup.NewHeld(layout), Seed: 1, Known: []disk.Pieces{{{Pages: image.Pages()}}},
			Send: func(_ context.Context, body []byte) error { return store.Take(body) }}
		if err := p.Sweep(false); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- p.Run(ctx) }()
		rng := rand.New(rand.NewPCG(3, 4))
		for range 300 {
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
		if string(kit.ReadFile(t, image.Path)) != string(kit.ReadFile(t, target)) {
			t.Errorf("cache %q: the copy differs", cache)
		}
		if names, err := v.left(t.Context()); err != nil || len(names) > 0 {
			t.Errorf("left behind: %v (%v)", names, err)
		}
	}
}

// stuckDevice answers no write.
type stuckDevice struct{ *disk.Behind }

func (stuckDevice) Read(context.Context, []byte, uint64) error       { return nil }
func (stuckDevice) Zero(context.Context, uint64, uint64, bool) error { return nil }
func (stuckDevice) Flush(context.Context) error                      { return nil }
func (d stuckDevice) Write(ctx context.Context, _ []byte, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestMirrorsAreDropped: nothing is left of mirrors that nobody serves any more, those of a scatter that was killed as well; the VM writes on meanwhile.
func TestMirrorsAreDropped(t *testing.T) {
	for name, drop := range map[string]func(s *Source) error{
		"in order": func(s *Source) error { return s.DropMirrors(t.Context()) },
		"killed": func(s *Source) error {
			s.all[0].conn.Close()
			<-s.all[0].ended
			s.all = nil // of which the next one knows nothing
			if !s.Unsettled() {
				t.Log("as after a kill")
			}
			s.changed.Store(true)
			return s.Restore(t.Context())
		},
	} {
		v, image := rawDisk(t, "")
		if err := v.Mirror(t.Context(), "disk0", image.Bytes, stuckDevice{}); err != nil {
			t.Fatal(err)
		}
		v.write(t, "write -P 1 0 64k") // which its job waits for, in vain
		began := time.Now()
		v.write(t, "write -P 2 0 64k")
		if err := drop(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.Log(name, time.Since(began))
		if names, err := v.left(t.Context()); err != nil || len(names) > 0 {
			t.Errorf("%s: left behind: %v (%v)", name, names, err)
		}
		v.write(t, "write -P 3 0 64k")
		if got := kit.ReadFile(t, image.Path); got[0] != 3 || got[65535] != 3 {
			t.Errorf("%s: the VM did not write on", name)
		}
		if s, err := v.Status(t.Context()); err != nil || s.Status != "prelaunch" {
			t.Errorf("%s: %v, %v", name, s, err)
		}
		if err := v.Mirror(t.Context(), "disk0", image.Bytes, disk.NewBehind(image.Pages()).Device(0)); err != nil {
			t.Errorf("%s: no mirror any more: %v", name, err)
		}
	}
}
