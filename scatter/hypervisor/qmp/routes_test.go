package qmp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
)

// routed are the forms in which a disk is described. IMAGE is its file.
var routed = map[string]struct {
	args   string
	device string // for qemu-io
	names  bool   // its node gets a name before it starts
}{
	"nodes": {args: "-blockdev driver=file,filename=IMAGE,node-name=file0,cache.direct=on,aio=threads -blockdev driver=raw,file=file0,node-name=disk0,cache.direct=on,discard=unmap " +
		"-device virtio-blk-pci,drive=disk0,id=d0", device: "d0/virtio-backend"},
	"JSON": {args: `-blockdev {"driver":"raw","node-name":"disk0","detect-zeroes":"on","read-only":false,"file":{"driver":"file","filename":"IMAGE","locking":"on"}} ` +
		"-device virtio-blk-pci,drive=disk0,id=d0", device: "d0/virtio-backend"},
	"a thread of its own": {args: "-object iothread,id=io -blockdev driver=raw,node-name=disk0,file.driver=file,file.filename=IMAGE -device virtio-blk-pci,drive=disk0,id=d0,iothread=io",
		device: "d0/virtio-backend"},
	"drive":           {args: "-drive file=IMAGE,format=raw,if=none,id=hd,cache=none,discard=unmap -device virtio-blk-pci,drive=hd,id=d0", device: "d0/virtio-backend", names: true},
	"IDE":             {args: "-drive file=IMAGE,format=raw,if=ide", device: "", names: true},
	"SCSI with limit": {args: "-drive file=IMAGE,format=raw,if=none,id=hd,bps=1000000000,cache=writethrough -device virtio-scsi-pci -device scsi-hd,drive=hd,id=d0", device: "d0", names: true},
}

// TestDiskGoesPastItsImage: a disk is served by us for a while, and by its image again, while it is written to; then its nodes are as they were.
func TestDiskGoesPastItsImage(t *testing.T) {
	for name, form := range routed {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			image := filepath.Join(dir, "image")
			kit.WriteFile(t, image, make([]byte, 4<<20))
			args := strings.Fields(strings.ReplaceAll(form.args, "IMAGE", image))
			if form.names {
				args = named(t, args)
			}
			s := found(t, append([]string{"-m", "16"}, args...)...)
			target := TargetOf(s.Client, slog.New(slog.DiscardHandler))
			before := nodesOf(t, s)

			routes, err := target.FindRoutes(t.Context(), []uint64{inodeOf(t, image)})
			if err != nil {
				t.Fatal(err)
			}
			d := lackingDisk(t, image, throughJournal(t, routes))
			for range 2 { // the second time there is nothing to be done
				if err := d.LeadPast(t.Context(), target); err != nil {
					t.Fatal(err)
				}
			}
			device := form.device
			if device == "" {
				device = "ide0-hd0"
			}
			rng := rand.New(rand.NewPCG(3, 4))
			for i := range 60 {
				off, n := rng.IntN(4<<20/512-64)*512, (1+rng.IntN(64))*512
				b := byte(1 + rng.IntN(255))
				if i == 30 { // who serves it is replaced
					d.Close()
					d.reopen(t)
					if err := d.Serve(); err != nil {
						t.Fatal(err)
					}
				}
				s.qemuIO(t, device, fmt.Sprintf("write -P %d %d %d", b, off, n))
				copy(d.source[off:], bytes.Repeat([]byte{b}, n))
			}
			for p := range uint32(4 << 20 / model.PageSize) {
				d.fill(t, d.Lazy, p)
			}
			if !d.Await() {
				t.Fatal("closed")
			}
			for range 2 {
				if err := d.LeadBack(t.Context(), target); err != nil {
					t.Fatal(err)
				}
			}
			s.qemuIO(t, device, "write -P 7 8192 512")
			copy(d.source[8192:], bytes.Repeat([]byte{7}, 512))
			if !bytes.Equal(kit.ReadFile(t, image), d.source) {
				t.Error("the image differs")
			}
			if after := nodesOf(t, s); after != before {
				t.Errorf("nodes:\n%s\nwere:\n%s", after, before)
			}
		})
	}
}

// TestDiskStaysOnItsImage: what could not be led past its image is named.
func TestDiskStaysOnItsImage(t *testing.T) {
	for name, c := range map[string]struct{ args, want string }{
		"no name":    {"-drive file=IMAGE,format=raw,if=virtio", "has no name"},
		"other user": {"-run-with user=nobody -blockdev driver=raw,node-name=disk0,file.driver=file,file.filename=IMAGE -device virtio-blk-pci,drive=disk0", "may not reach a server"},
		"no format":  {"-blockdev driver=file,filename=IMAGE,node-name=disk0 -device virtio-blk-pci,drive=disk0", "no disk stands on"},
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			kit.WriteFile(t, image, make([]byte, 1<<20))
			s := found(t, append([]string{"-m", "16"}, strings.Fields(strings.ReplaceAll(c.args, "IMAGE", image))...)...)
			if _, err := TargetOf(s.Client, slog.New(slog.DiscardHandler)).FindRoutes(t.Context(), []uint64{inodeOf(t, image)}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// named gives the nodes of a command line's drives names, as a source does.
func named(t *testing.T, args []string) []string {
	t.Helper()
	s := found(t, append([]string{"-m", "16", "-S"}, args...)...)
	inv, err := inventory.Read(t.Context(), s.Client, "/")
	if err != nil {
		t.Fatal(err)
	}
	drives := make(map[string]bool)
	for _, d := range inv.Drives {
		drives[d.Name] = d.Root != nil
	}
	if err := s.Quit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return inventory.NameDrives(inv, append([]string{"qemu"}, args...), drives)[1:]
}

// lazyDisk is a disk of which nothing is there, what it should be, and who sends what is asked for.
type lazyDisk struct {
	*disk.Lazy
	store  *disk.Store
	source []byte
	image  string
	routes []handover.Route
	dir    string
}

// lackingDisk is the lazy disk in the place of an image.
func lackingDisk(t *testing.T, image string, routes []handover.Route) *lazyDisk {
	t.Helper()
	d := &lazyDisk{source: kit.Noise(len(kit.ReadFile(t, image))), image: image, routes: routes, dir: kit.ShortDir(t)}
	kit.WriteFile(t, filepath.Join(d.dir, "vm.marks"), bytes.Repeat([]byte{0xff}, len(d.source)/model.PageSize/8))
	d.reopen(t)
	return d
}

// reopen takes hold of it as who comes after a process that was killed.
func (d *lazyDisk) reopen(t *testing.T) {
	t.Helper()
	all := []handover.RecordDisk{{Path: d.image, Inode: inodeOf(t, d.image), Bytes: int64(len(d.source)), Route: &d.routes[0]}}
	asked := make(chan []byte, 1000)
	store, lazy, err := disk.Reopen(0, all, d.dir, "vm", func(b []byte) { asked <- b })
	if err != nil {
		t.Fatal(err)
	}
	d.store, d.Lazy = store, lazy
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := range asked {
			for _, p := range (control.Wants{Body: b}).Each() {
				d.fill(t, lazy, p)
			}
		}
	}()
	t.Cleanup(func() {
		lazy.Close()
		store.Close()
		close(asked)
		<-done
	})
}

func (d *lazyDisk) fill(t *testing.T, lazy *disk.Lazy, page uint32) {
	t.Helper()
	if _, err := lazy.Fill(control.AppendPage(nil, 0, page, d.source[page*model.PageSize:][:model.PageSize])); err != nil {
		t.Error(err)
	}
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// throughJournal is routes as somebody else finds them.
func throughJournal(t *testing.T, routes []handover.Route) (back []handover.Route) {
	t.Helper()
	b, err := json.Marshal(routes)
	if err == nil {
		err = json.Unmarshal(b, &back)
	}
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// nodesOf are the disks' nodes, without the names that nobody has given them.
func nodesOf(t *testing.T, s *Source) string {
	t.Helper()
	var all []struct {
		Name   string          `json:"node-name"`
		Driver string          `json:"drv"`
		File   string          `json:"file"`
		Zeroes string          `json:"detect_zeroes"`
		RO     bool            `json:"ro"`
		Cache  map[string]bool `json:"cache"`
		Limit  int             `json:"bps"`
	}
	if err := s.Do(t.Context(), "query-named-block-nodes", map[string]bool{"flat": true}, &all); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, n := range all {
		if strings.HasPrefix(n.Name, "#") || strings.HasPrefix(n.Name, fileNode) {
			n.Name = ""
		}
		lines = append(lines, fmt.Sprintf("%+v", n))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// qemuIO has QEMU do something to a disk as a guest does.
func (s *Source) qemuIO(t *testing.T, device, what string) {
	t.Helper()
	if strings.Contains(device, "/") || device == "d0" {
		device = "-d " + device
	}
	var said string
	if err := s.Do(t.Context(), "human-monitor-command", map[string]string{"command-line": fmt.Sprintf(`qemu-io %s "%s"`, device, what)}, &said); err != nil {
		t.Error(err)
	}
	if strings.Contains(said, "rror") || strings.Contains(said, "failed") {
		t.Error(said)
	}
}
