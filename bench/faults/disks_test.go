//go:build lab

package faults

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/image"
	"github.com/scatter-vm/scatter/scatter"
)

// diskGuest boots a guest on the source that uses a disk, which is there alone. Both end with the test.
func (s *scene) diskGuest(c lab.GuestConfig) *lab.Guest {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), bootTime)
	defer cancel()
	s.extras = append(s.extras, c.Name)
	s.t.Cleanup(func() {
		for _, h := range s.Switch.Hosts() {
			if err := os.RemoveAll(lab.DiskFile(h, c.Name)); err != nil {
				s.t.Error(err)
			}
		}
	})
	all, err := s.Boot(ctx, c)
	s.must(err)
	return all[0]
}

// follow sends a VM in mode post with its disk, and returns when it runs on its target and lacks parts of both.
func (s *scene) follow(g *lab.Guest) *sender {
	s.t.Helper()
	x := s.sendGuests([]*lab.Guest{g}, "--verify=false", "--mode", "post", "--disks", "post", "--rate", "30mbit", "--place", g.Name+"="+s.target(g).Name)
	x.reaches("filling", func(ev scatter.Event) bool { return ev.Type == "vm" && ev.Stage == "filling" })
	return x
}

// nothingLazy is an error as long as there is a trace of disks that were served to a VM.
func (s *scene) nothingLazy(g *lab.Guest) {
	s.t.Helper()
	left, err := filepath.Glob(filepath.Join(deploy.RunDir(s.target(g)), g.Name+".[dm]*"))
	s.must(err)
	if len(left) > 0 {
		s.t.Errorf("left: %v", left)
	}
}

// TestFaultDisksFollow: a VM runs where its disk is not, and uses it; whatever becomes of the link and of the receiver meanwhile, it reads nothing wrong,
// hears of no error, and has all of it in the end.
func TestFaultDisksFollow(t *testing.T) {
	for name, harm := range map[string]func(s *scene, g *lab.Guest, x *sender){
		"cut": func(s *scene, g *lab.Guest, x *sender) {
			s.must(s.target(g).Cut(t.Context()))
			x.goOn("the end of the cut", after(20*time.Second))
			s.must(s.target(g).Restore(t.Context()))
		},
		"killed": func(s *scene, g *lab.Guest, x *sender) {
			s.kill(s.receiverOf(g))
			x.goOn("the next receiver", after(3*time.Second))
			s.receive(s.target(g))
		},
		"stopped": func(s *scene, g *lab.Guest, _ *sender) {
			s.must(s.receiverOf(g).stop())
			s.receive(s.target(g))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.receiveAll()
			g := s.diskGuest(lab.GuestConfig{Name: "disk-" + name, Memory: 128, System: image.Storing,
				Workload: lab.Workload{ID: 70, Disk: true, Common: 4, Own: 12, Zero: 4, Hot: 2, Dirty: 100, Verify: 1500}})
			x := s.follow(g)
			harm(s, g, x)
			o := x.finish()
			o.exits(s, 0)
			if v := o.vm(s, g); v.State != evacuated || v.PostCopy == nil {
				t.Errorf("report: %+v", v)
			}
			s.stand(g, s.target(g))
			s.nothingLazy(g)
		})
	}
}

// TestFaultDiskOutlivesGuest: a VM ends on its target before its disk is there. The disk still comes: what the guest has made of it is nowhere else.
func TestFaultDiskOutlivesGuest(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	c := tinyDeaths(71, false)
	disk := bytes.Repeat([]byte("what its guest needs again"), 200_000)
	file := lab.DiskFile(s.Source, c.Name)
	s.must(os.WriteFile(file, disk[:len(disk)/512*512], 0o600))
	c.Extra = append(c.Extra, image.DiskOptions(file, "raw")...)
	g := s.diskGuest(c)
	x := s.follow(g)
	pid, err := os.ReadFile(filepath.Join(deploy.RunDir(s.target(g)), g.Name+".pid"))
	s.must(err)
	found, err := processes(t.Context(), s.target(g))
	s.must(err)
	for p, line := range found {
		if strings.Contains(line, " -name guest="+g.Name+" ") {
			s.must(syscall.Kill(p, syscall.SIGKILL))
			t.Logf("killed %d (%s)", p, strings.TrimSpace(string(pid)))
		}
	}
	if o := x.finish(); o.Code != 0 && !strings.Contains(o.Message, "in doubt") { // whether it was to end
		t.Errorf("exit status %d: %s", o.Code, o.Message)
	}
	s.awaits("its disk", func() error {
		there, err := os.ReadFile(lab.DiskFile(s.target(g), g.Name))
		if err == nil && (len(there) == 0 || !bytes.Equal(there, disk[:len(there)])) {
			err = errors.New("differs")
		}
		return err
	})
	s.nothingLazy(g)
}
