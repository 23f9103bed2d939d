//go:build lab

package faults

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// busyWorkload rewrites 4 MiB again and again, as fast as an emulated processor can.
var busyWorkload = lab.Workload{ID: 9, Common: 1, Duplicate: 1, Own: 1, Zero: 1, Hot: 4, Dirty: 10000, Verify: 2000}

// toilsome does so, and computes in between: one that works little cannot be slowed down without standing still.
var toilsome = lab.Workload{ID: 9, Common: 1, Duplicate: 1, Own: 1, Zero: 1, Hot: 4, Stamp: true, Busy: true, Dirty: 10000, Verify: 200}

// works waits until a guest's work has begun, which takes one that never rests a while.
func (s *scene) works(g *lab.Guest) {
	s.t.Helper()
	s.awaits("its work to begin", func() error {
		if g.Serial.VerifiedBy(time.Now()) == 0 {
			return errors.New("it has verified nothing yet")
		}
		return nil
	})
}

// strictly is a link that carries it in half a second, and a pause of which it takes a fraction to be too long.
var strictly = []string{"--rate", "60mbit", "--downtime", "100ms"}

func TestFaultStallKeep(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	busy := s.extraGuest("busy1", busyWorkload)
	o := s.sendGuests([]*lab.Guest{busy}, append(strictly, "--on-stall", "keep")...).finish()
	o.exits(s, 3, busy.Name)
	if v := o.vm(s, busy); v.State != onSource {
		t.Errorf("report: %+v", v)
	}
	o.blames(s, busy, "dirties memory faster than the link")
	s.stand(busy, s.Source)
}

func TestFaultStallPause(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	busy := s.extraGuest("busy2", busyWorkload)
	o := s.sendGuests([]*lab.Guest{busy}, append(strictly, "--on-stall", "pause", "--place", busy.Name+"="+s.target(busy).Name)...).finish()
	o.exits(s, 0)
	if v := o.vm(s, busy); v.State != evacuated || !v.Verified {
		t.Errorf("report: %+v", v)
	}
	s.stand(busy, s.target(busy))
}

// TestFaultDeadline: when there is no time left, a VM that would go on for long stays, or is stopped for the rest of its way, or takes over without it.
func TestFaultDeadline(t *testing.T) {
	for i, how := range []string{"keep", "pause", "post"} {
		t.Run(how, func(t *testing.T) {
			s := newScene(t)
			s.receiveAll()
			busy := s.extraGuest(fmt.Sprint("late", i), busyWorkload)
			o := s.sendGuests([]*lab.Guest{busy}, append(strictly, "--verify=false", "--mode", "pre", "--place", busy.Name+"="+s.target(busy).Name,
				"--deadline", "1s", "--at-deadline", how)...).finish()
			v, host := o.vm(s, busy), s.target(busy)
			if how == "keep" {
				host = s.Source
				o.exits(s, 3, busy.Name)
				o.blames(s, busy, "is to be empty after 1s")
			} else if o.exits(s, 0); v.State != evacuated || (v.PostCopy != nil) != (how == "post") {
				t.Errorf("report: %+v", v)
			}
			s.stand(busy, host)
		})
	}
}

// TestFaultStallThrottle: a VM is slowed down until what remains fits into the pause, by a quota of its threads or by QEMU, and nothing of that is
// left.
func TestFaultStallThrottle(t *testing.T) {
	for name, prefix := range map[string][]string{"quota": lan.WithGroups, "qemu": nil} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.receiveAll()
			busy := s.extraGuest("busy-"+name, toilsome)
			s.works(busy)
			s.prefix = prefix
			x := s.sendGuests([]*lab.Guest{busy}, append(strictly, "--on-stall", "throttle", "--max-throttle", "0.98", "--place", busy.Name+"="+s.target(busy).Name)...)
			o := x.finish()
			o.exits(s, 0)
			if v := o.vm(s, busy); v.State != evacuated || !v.Verified || v.ThrottledS <= 0 {
				t.Errorf("report: %+v", v)
			}
			s.stand(busy, s.target(busy))
		})
	}
}

// TestFaultStallThrottleKilled: a sender that is killed leaves no VM slow.
func TestFaultStallThrottleKilled(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	busy := s.extraGuest("busy3", toilsome)
	s.works(busy)
	s.prefix = lan.WithGroups
	before := groupsOf(s, busy)
	x := s.sendGuests([]*lab.Guest{busy}, "--rate", "20mbit", "--downtime", "50ms", "--on-stall", "throttle", "--place", busy.Name+"="+s.target(busy).Name)
	x.goOn("the guest to be throttled", func() error {
		if groupsOf(s, busy) == before {
			return errors.New("its threads are where they were")
		}
		return nil
	})
	x.kill()
	s.awaits("its processors to be given back", func() error {
		if now := groupsOf(s, busy); now != before {
			return errors.New(now)
		}
		return nil
	})
	s.recover(s.Source).exits(0)
	s.stand(busy, s.Source)
}

// groupsOf are the control groups of a guest's threads.
func groupsOf(s *scene, g *lab.Guest) string {
	s.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/cgroup", g.PID()))
	s.must(err)
	groups := make(map[string]bool)
	for _, f := range files {
		b, _ := os.ReadFile(f) // the thread may have ended
		groups[string(b)] = true
	}
	delete(groups, "")
	return strings.Join(slices.Sorted(maps.Keys(groups)), "\n")
}
