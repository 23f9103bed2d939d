//go:build lab

package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/image"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// storingGuest writes to a disk of 30 MiB, half of which all such guests have, and reads all of it again and again.
func storingGuest(n int) lab.GuestConfig {
	return lab.GuestConfig{Name: fmt.Sprintf("disk%d", n), Memory: 128, System: image.Storing,
		Workload: lab.Workload{ID: n, Disk: true, Common: 15, Own: 6, Zero: 7, Hot: 2, Dirty: 100, Verify: 1500}}
}

// hastyGuest writes to its disk faster than a slow link carries.
func hastyGuest(n int) lab.GuestConfig {
	c := storingGuest(n)
	c.Workload = lab.Workload{ID: n, Disk: true, Common: 4, Own: 4, Zero: 4, Hot: 6, Dirty: 4000, Verify: 1500}
	return c
}

// TestLabDisksTravel: VMs whose disks are on their source alone go to hosts where there are none, while their guests write to them. What disks have in
// common crosses once.
func TestLabDisksTravel(t *testing.T) {
	ctx := t.Context()
	l := newLab(t, lab.Config{Targets: 2, Rate: 500e6})
	d, guests := install(t, l, storingGuest(1), storingGuest(2), storingGuest(3))
	if _, err := d.ReceiveAll(ctx, l.Targets, "--memory", "300MiB"); err != nil { // of two guests, not of three
		t.Fatal(err)
	}
	r, err := d.Send(ctx, deploy.Job{Args: []string{"--disks", "pre", "--verify", "--mode", "pre", "--rate", "500mbit"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != 0 || r.Report == nil {
		t.Fatalf("exit %d: %s", r.Exit, r.Output)
	}
	t.Logf("%v, %.1f MB, pauses of %.0f, %.0f and %.0f ms", r.Time, float64(r.SourceBytes)/1e6, r.Report.VMs[0].DowntimeMS, r.Report.VMs[1].DowntimeMS, r.Report.VMs[2].DowntimeMS)
	for i, h := range arrived(t, d, guests) {
		if !r.Report.VMs[i].Verified {
			t.Errorf("%s: not verified", guests[i].Name)
		}
		if _, err := os.Stat(lab.DiskFile(h, guests[i].Name)); err != nil {
			t.Error(err)
		}
		for _, other := range l.Targets {
			if _, err := os.Stat(lab.DiskFile(other, guests[i].Name)); other != h && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is on %s, and %s has a disk of it (%v)", guests[i].Name, h.Name, other.Name, err)
			}
		}
	}
}

// TestLabQcow2Travels: qcow2 disks, of several kinds, travel as raw ones do, one of them beside a raw one that has half of it; what is on the target is sound.
func TestLabQcow2Travels(t *testing.T) {
	ctx := t.Context()
	l := newLab(t, lab.Config{Targets: 1, Rate: 500e6})
	plain, old, raw := storingGuest(1), storingGuest(2), storingGuest(3)
	plain.Qcow2, old.Qcow2 = []string{"-o", "lazy_refcounts=on,extended_l2=on,cluster_size=128k"}, []string{"-o", "compat=0.10,cluster_size=4k"}
	d, guests := install(t, l, plain, old, raw)
	if _, err := d.ReceiveAll(ctx, l.Targets); err != nil {
		t.Fatal(err)
	}
	r, err := d.Send(ctx, deploy.Job{Args: []string{"--disks", "auto", "--verify", "--rate", "500mbit"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != 0 || r.Report == nil {
		t.Fatalf("exit %d: %s", r.Exit, r.Output)
	}
	t.Logf("%v, %.1f MB, pauses of %.0f, %.0f and %.0f ms", r.Time, float64(r.SourceBytes)/1e6, r.Report.VMs[0].DowntimeMS, r.Report.VMs[1].DowntimeMS, r.Report.VMs[2].DowntimeMS)
	hosts := arrived(t, d, guests)
	for i, g := range guests {
		if !r.Report.VMs[i].Verified {
			t.Errorf("%s: not verified", g.Name)
		}
		if g.Config.Qcow2 == nil || hosts[i] == l.Source {
			continue
		}
		if err := stop(ctx, g, hosts[i]); err != nil { // what its QEMU has of the image in memory is written then
			t.Fatal(err)
		}
		ours, theirs := lab.DiskFile(l.Source, g.Name), lab.DiskFile(hosts[i], g.Name)
		if out, err := exec.Command("qemu-img", "check", "-U", theirs).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", g.Name, err, out)
		}
		if a, b := madeAs(t, ours), madeAs(t, theirs); a != b {
			t.Errorf("%s: made as %s, not as %s", g.Name, b, a)
		}
	}
}

// TestLabBase: of VMs whose disks lie over one base image, which their target has, only what is their own travels; a target where other bytes have its name
// does not get them.
func TestLabBase(t *testing.T) {
	const beyond = 48
	ctx := t.Context()
	l := newLab(t, lab.Config{Targets: 1, Rate: 500e6})
	base := make([]byte, (23+beyond)<<20)
	rand.NewChaCha8([32]byte{1}).Read(base)
	here, there := filepath.Join(l.Source.Dir, "base.raw"), filepath.Join(l.Targets[0].Dir, "base.raw")
	if err := errors.Join(os.WriteFile(here, base, 0o600), os.WriteFile(there, base[1:], 0o600)); err != nil {
		t.Fatal(err)
	}
	one, two := storingGuest(1), storingGuest(2)
	for _, c := range []*lab.GuestConfig{&one, &two} {
		c.Beyond, c.Qcow2, c.Workload.Zero = beyond, []string{"-b", here, "-F", "raw"}, 0 // what it does not write is not zero
	}
	d, guests := install(t, l, one, two)
	if _, err := d.ReceiveAll(ctx, l.Targets); err != nil {
		t.Fatal(err)
	}
	r, err := d.Send(ctx, deploy.Job{Args: []string{"--disks", "pre"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != 4 || !strings.Contains(r.Output, "has other contents than on the source") || !strings.Contains(r.Output, "copy the backing file") {
		t.Fatalf("exit %d: %s", r.Exit, r.Output)
	}
	if err := os.WriteFile(there, base, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err = d.Send(ctx, deploy.Job{Args: []string{"--disks", "auto", "--verify", "--rate", "500mbit"}}); err != nil {
		t.Fatal(err)
	}
	if r.Exit != 0 || r.Report == nil {
		t.Fatalf("exit %d: %s", r.Exit, r.Output)
	}
	t.Logf("%v, %.1f MB, pauses of %.0f and %.0f ms", r.Time, float64(r.SourceBytes)/1e6, r.Report.VMs[0].DowntimeMS, r.Report.VMs[1].DowntimeMS)
	if r.SourceBytes > 160e6 {
		t.Errorf("%d bytes were sent: the base has travelled, too", r.SourceBytes)
	}
	for i, h := range arrived(t, d, guests) {
		if h == l.Source {
			continue
		}
		if err := stop(ctx, guests[i], h); err != nil {
			t.Fatal(err)
		}
		file := lab.DiskFile(h, guests[i].Name)
		if out, err := exec.Command("qemu-img", "check", "-U", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", guests[i].Name, err, out)
		}
		if info, err := os.Stat(file); err != nil || info.Size() > 40<<20 || !r.Report.VMs[i].Verified {
			t.Errorf("%s: its image has %d bytes, verified %v (%v)", guests[i].Name, info.Size(), r.Report.VMs[i].Verified, err)
		}
	}
}

// stop stops a guest where it is.
func stop(ctx context.Context, g *lab.Guest, h *lan.Host) error {
	m, err := g.MonitorOn(ctx, h)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Do(ctx, "stop", nil, nil)
}

// madeAs is how a qcow2 image was made, in QEMU's words.
func madeAs(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.Command("qemu-img", "info", "-U", "--output=json", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Size     int64           `json:"virtual-size"`
		Cluster  int             `json:"cluster-size"`
		Specific json.RawMessage `json:"format-specific"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %d %s", info.Size, info.Cluster, info.Specific)
}

// TestLabDisksFollow: VMs run on hosts where their disks are not, and get them while they use them: all of them after the switch-over, or what is written
// faster than the link carries. Each uses its own image at last.
func TestLabDisksFollow(t *testing.T) {
	ctx := t.Context()
	for mode, c := range map[string]struct {
		guests []lab.GuestConfig
		args   []string
	}{
		"post":   {[]lab.GuestConfig{storingGuest(1), storingGuest(2), storingGuest(3)}, []string{"--mode", "post", "--rate", "200mbit"}},
		"hybrid": {[]lab.GuestConfig{hastyGuest(1)}, []string{"--mode", "hybrid", "--rate", "8mbit"}},
	} {
		t.Run(mode, func(t *testing.T) {
			l := newLab(t, lab.Config{Targets: 2, Rate: 500e6})
			d, guests := install(t, l, c.guests...)
			if _, err := d.ReceiveAll(ctx, l.Targets, "--memory", "300MiB", "--log-level", "debug"); err != nil {
				t.Fatal(err)
			}
			r, err := d.Send(ctx, deploy.Job{Args: append(c.args, "--disks", "post")})
			if err != nil {
				t.Fatal(err)
			}
			if r.Exit != 0 || r.Report == nil {
				t.Fatalf("exit %d: %s", r.Exit, r.Output)
			}
			for _, v := range r.Report.VMs {
				t.Logf("%s: %v, %.1f MB, pause of %.0f ms, %+v", v.Name, r.Time, float64(r.SourceBytes)/1e6, v.DowntimeMS, v.PostCopy)
				if v.PostCopy == nil || v.PostCopy.DiskBytes == 0 {
					t.Errorf("%s has not lacked anything of its disk", v.Name)
				}
			}
			for i, h := range arrived(t, d, guests) {
				if files := openFiles(t, h, guests[i].Name); !slices.Contains(files, lab.DiskFile(h, guests[i].Name)) {
					t.Errorf("%s does not use its image: %v", guests[i].Name, files)
				}
				left, err := filepath.Glob(filepath.Join(deploy.RunDir(h), guests[i].Name+".[dm]*"))
				if err != nil || len(left) > 0 {
					t.Errorf("%s has left %v (%v)", guests[i].Name, left, err)
				}
			}
		})
	}
}

// openFiles are those that the QEMU of a guest has open on a host.
func openFiles(t *testing.T, h *lan.Host, guest string) (files []string) {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(deploy.RunDir(h), guest+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob("/proc/" + strings.TrimSpace(string(pid)) + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if f, err := os.Readlink(l); err == nil { // it may have closed it meanwhile
			files = append(files, f)
		}
	}
	return files
}

// TestLabDiskStalls: a VM that writes to its disk faster than the link carries stays, and leaves nothing on its target; stopped for the rest of its way, it
// moves.
func TestLabDiskStalls(t *testing.T) {
	ctx := t.Context()
	l := newLab(t, lab.Config{Targets: 1, Rate: 100e6})
	d, guests := install(t, l, hastyGuest(1))
	if _, err := d.ReceiveAll(ctx, l.Targets); err != nil {
		t.Fatal(err)
	}
	there := lab.DiskFile(l.Targets[0], guests[0].Name)
	for _, c := range []struct {
		onStall string
		exit    int
	}{{"keep", 3}, {"pause", 0}} {
		r, err := d.Send(ctx, deploy.Job{Args: []string{"--disks", "pre", "--mode", "pre", "--on-stall", c.onStall, "--rate", "30mbit"}})
		if err != nil {
			t.Fatal(err)
		}
		if r.Exit != c.exit || r.Report == nil {
			t.Fatalf("%s: exit %d: %s", c.onStall, r.Exit, r.Output)
		}
		if cause := r.Report.VMs[0].Cause; c.exit != 0 && !strings.Contains(cause, "writes to its disks faster") {
			t.Error(cause)
		}
		t.Logf("%s: %s, pause of %.0f ms", c.onStall, r.Report.VMs[0].Cause, r.Report.VMs[0].DowntimeMS)
		if _, err := os.Stat(there); errors.Is(err, fs.ErrNotExist) != (c.exit != 0) {
			t.Errorf("%s: its disk on the target: %v", c.onStall, err)
		}
		if err := guests[0].AwaitVerified(ctx); err != nil {
			t.Errorf("%s: %v", c.onStall, err)
		}
	}
}
