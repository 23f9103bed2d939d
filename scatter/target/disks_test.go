package target

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/bench/tried"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/target/life"
)

// TestDisksThatAreNotMade: what a source may not have made here is refused by name, and what lies in its place is as it was; a VM that is given up
// leaves none behind.
func TestDisksThatAreNotMade(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine.raw")
	kit.WriteFile(t, mine, []byte("mine"))
	if err := os.Symlink(mine, filepath.Join(dir, "link.raw")); err != nil {
		t.Fatal(err)
	}
	s := openSite(t, nil, "target", func(c *Config) { c.Policy.AllowPaths = []string{dir} })
	l := s.open()
	good := control.Prepare{Name: "web", Memory: 1 << 20, VCPUs: 1, Argv: []string{noQEMU, "-name", "guest=web", "-nic", "none", "-m", "1"},
		Blocks: []control.Block{{ID: "pc.ram", Length: 1 << 20}}}
	made := &control.Qcow2{Cluster: 65536, Compat: "1.1", RefcountBits: 16}
	cases := []struct {
		want  string
		disks []control.NewDisk
	}{
		{"file exists", []control.NewDisk{{Path: filepath.Join(dir, "new.raw"), Bytes: 4096}, {Path: mine, Bytes: 4096}}},
		{"file exists", []control.NewDisk{{Path: filepath.Join(dir, "link.raw"), Bytes: 4096}}},
		{"path outside", []control.NewDisk{{Path: "/etc/cron.d/x", Bytes: 4096}}},
		{"path with ..", []control.NewDisk{{Path: dir + "/../x", Bytes: 4096}}},
		{"path in the run directory", []control.NewDisk{{Path: s.r.cfg.RunDir + "/x", Bytes: 4096}}},
		{"no such file or directory", []control.NewDisk{{Path: dir + "/there/x", Bytes: 4096}}},
		{"of 0 bytes", []control.NewDisk{{Path: dir + "/x"}}},
		{"of 9223372036854775807 bytes", []control.NewDisk{{Path: dir + "/x", Bytes: 1<<63 - 1}}},
		{`compat "1.1,prealloc`, []control.NewDisk{{Path: dir + "/x", Bytes: 4096, Qcow2: &control.Qcow2{Cluster: 65536, Compat: "1.1,preallocation=full", RefcountBits: 16}}}},
		{"file exists", []control.NewDisk{{Path: mine, Bytes: 4096, Qcow2: made}}},
		{"nonexistent", []control.NewDisk{{Path: dir + "/x", Bytes: 1 << 20, Qcow2: made}}},
		{"path outside", []control.NewDisk{{Path: dir + "/x", Bytes: 4096, Qcow2: made, Backing: []control.Backing{{Path: "/etc/shadow", Format: "raw"}}}}},
		{"other contents", []control.NewDisk{{Path: dir + "/x", Bytes: 4096, Qcow2: made, Backing: []control.Backing{{Path: mine, Format: "raw"}}}}},
		{`format "vmdk"`, []control.NewDisk{{Path: dir + "/x", Bytes: 4096, Qcow2: made, Backing: []control.Backing{{Path: mine, Format: "vmdk"}}}}},
		{"with 1 backing files", []control.NewDisk{{Path: dir + "/x", Bytes: 4096, Backing: []control.Backing{{Path: mine, Format: "raw"}}}}},
		{"65 disks", make([]control.NewDisk, mostNewDisks+1)},
		{"nonexistent", []control.NewDisk{{Path: dir + "/x", Bytes: 1 << 30}}}, // it was made, and there is no QEMU
	}
	for vm, c := range cases {
		p := good
		p.VM, p.Disks = vm, c.disks
		if err := l.Conn.Send(p); err != nil {
			t.Fatal(err)
		}
		got, err := next(t, l.Conn)
		if f, ok := got.(control.Failed); !ok || f.VM != vm || !strings.Contains(f.Error, c.want) {
			t.Errorf("got %+v, %v, want %q", got, err, c.want)
		}
	}
	kit.Eventually(t, func() bool { names, _ := os.ReadDir(dir); return len(names) == 2 })
	if string(kit.ReadFile(t, mine)) != "mine" {
		t.Error("overwritten")
	}
	tried.Inputs(t, "disk that a source wants made", len(cases))
}

// TestDisksOfABrokenReceiver: of a VM that was not there yet nothing is left, and whatever has come into the place of its disks stays.
func TestDisksOfABrokenReceiver(t *testing.T) {
	dir, images := t.TempDir(), t.TempDir()
	image := func(name string) handover.RecordDisk {
		path := filepath.Join(images, name)
		kit.WriteFile(t, path, []byte(name))
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return handover.RecordDisk{Path: path, Inode: info.Sys().(*syscall.Stat_t).Ino}
	}
	other, unsure := image("other"), image("unsure")
	other.Inode, unsure.Inode = other.Inode+1<<40, 0
	j, _ := enginekit.NewJournal(t, filepath.Join(dir, "recv.journal"))
	for vm, r := range []handover.Record{
		{Kind: handover.RecPrepare, Disks: []handover.RecordDisk{image("starting"), other}},
		{Kind: handover.RecPrepare, PID: kit.DeadPID, Disks: []handover.RecordDisk{image("waiting")}},
		{Kind: handover.RecPrepare, Disks: []handover.RecordDisk{unsure}},
		{Kind: handover.RecLoaded, PID: kit.DeadPID, Disks: []handover.RecordDisk{image("loaded")}},
		{Kind: handover.RecDone, PID: kit.DeadPID, Disks: []handover.RecordDisk{image("ran")}},
		{Kind: handover.RecDone, PID: 1, Disks: []handover.RecordDisk{image("runs")}}, // for which the journal stays
	} {
		r.Peer, r.Evacuation, r.VM, r.Name, r.Socket = "source", testEvacuation, vm, "web", filepath.Join(dir, "no.qmp")
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	s := openSite(t, nil, "target", func(c *Config) { c.RunDir = dir })
	for name, stays := range map[string]bool{"starting": false, "waiting": false, "other": true, "unsure": true, "loaded": true, "ran": true, "runs": true} {
		if _, err := os.Stat(filepath.Join(images, name)); errors.Is(err, fs.ErrNotExist) == stays {
			t.Errorf("%s: %v", name, err)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "may have been made for vm web") {
		t.Error(log)
	}
	for vm, want := range []handover.RecordKind{handover.RecAbort, handover.RecAbort, handover.RecAbort} {
		vms, _ := handover.Histories(enginekit.ReadJournal(t, s.r.journal.Path))
		if got := vms[vm].Last.Kind; got != want {
			t.Errorf("vm %d: %s, want %s: what is in the place of its disks later would be removed", vm, got, want)
		}
	}
}

// TestDisksThatHadCome: the marks of disks go when they are all there, also where a VM lacks memory still when its receiver is killed.
func TestDisksThatHadCome(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.open()
	g, _ := s.guest(0, "web", life.Waiting)
	for _, marks := range []string{"", filepath.Join(t.TempDir(), "web.marks")} {
		g.disks.Store(false)
		if err := (lazily{g}).retake(handover.Record{Marks: marks}); err != nil || !g.disks.Load() {
			t.Errorf("%q: %v", marks, err)
		}
	}
}

// TestRoomForDisksThatFollow: what a target has to know of them is counted.
func TestRoomForDisksThatFollow(t *testing.T) {
	p := control.Prepare{Memory: 1 << 30, Disks: []control.NewDisk{{Bytes: 1 << 40}, {Bytes: -5}}}
	for _, post := range []bool{false, true} {
		p.PostCopy = post
		want := int64(1 << 30)
		if post {
			want += 16 << 20
		}
		if got := newGuest(&receiver{log: slog.New(slog.DiscardHandler)}, guestKey{}, p, nil).takes(); got != want {
			t.Errorf("post-copy %v: %d bytes", post, got)
		}
	}
}
