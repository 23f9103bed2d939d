//go:build lab

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// scene is what one test does on the fleet. Everything it starts ends with the test, and the guests are home again.
type scene struct {
	*fleet
	t         *testing.T
	dir       string // of this test's files
	receivers []*receiver
	senders   []*sender
	extras    []string // names of VMs that only this test has
	prefix    []string // of the command that sends
}

// newScene gives a test the fleet, with every guest on the source.
func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{fleet: borrow(t), t: t, dir: t.TempDir()}
	t.Cleanup(s.end)
	return s
}

// within is the scene for a part of the test, which ends first.
func (s *scene) within(t *testing.T) *scene {
	part := &scene{fleet: s.fleet, t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		for _, x := range part.senders {
			if err := x.abandon(); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			part.tell()
		}
	})
	return part
}

// end stops what runs, brings the guests home and looks for what was left behind. A fleet in disorder is given up.
func (s *scene) end() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), settleTime)
	defer cancel()
	err := s.calm(ctx)
	for _, x := range s.senders {
		err = errors.Join(err, x.abandon())
	}
	var stops errgroup.Group
	for _, r := range s.receivers {
		stops.Go(r.stop)
	}
	err = errors.Join(err, stops.Wait())
	if s.t.Failed() {
		s.tell()
	}
	for _, name := range s.extras {
		err = errors.Join(err, s.endVM(ctx, name))
	}
	err = errors.Join(err, s.tidy(ctx))
	if err != nil {
		s.t.Error("afterwards:", err)
	}
	if s.t.Failed() {
		if err := dismiss(); err != nil {
			s.t.Error(err)
		}
	}
}

// tidy brings the guests home and removes the run directories.
func (s *scene) tidy(ctx context.Context) error {
	if err := s.home(ctx); err != nil {
		return err
	}
	err := await(ctx, "no other process", func() error {
		lines, err := s.strangers(ctx)
		if err == nil && len(lines) > 0 {
			err = errors.New(strings.Join(lines, "; "))
		}
		return err
	})
	for _, h := range s.Switch.Hosts() {
		err = errors.Join(err, os.RemoveAll(deploy.RunDir(h)))
	}
	for _, g := range s.guests {
		err = errors.Join(err, g.Serial.Health().Err())
	}
	return err
}

// tell logs what the programs have said, for a test that has failed.
func (s *scene) tell() {
	for _, x := range s.senders {
		s.t.Logf("sender: trace:\n%s\nstdout:\n%s\nstderr:\n%s", strings.Join(x.trace, "\n"), x.stdout.String(), x.stderr.String())
	}
	for _, r := range s.receivers {
		s.t.Logf("recv on %s\n%s", r.Host.Name, r.Log())
	}
}

// pollEvery is how often await looks at what gives no event of its own.
const pollEvery = 20 * time.Millisecond

// await calls look until it returns nil, and returns its last error when ctx ends first.
func await(ctx context.Context, what string, look func() error) error {
	for {
		err := look()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, err)
		case <-time.After(pollEvery):
		}
	}
}

// must ends the test on an error.
func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// awaits ends the test when look keeps returning an error.
func (s *scene) awaits(what string, look func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), settleTime)
	defer cancel()
	s.must(await(ctx, what, look))
}

// run says where guests must be: running there, in no second QEMU anywhere, and with all their memory right.
func (s *scene) run(where map[*lab.Guest]*lan.Host) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), settleTime)
	defer cancel()
	var g errgroup.Group
	for guest, host := range where {
		g.Go(func() error { return s.find(ctx, guest, host) })
	}
	s.must(g.Wait())
}

func (s *scene) find(ctx context.Context, g *lab.Guest, want *lan.Host) error {
	err := await(ctx, "one QEMU of "+g.Name, func() error {
		sightings, err := s.Sightings(ctx, g)
		if err == nil && (len(sightings) != 1 || sightings[0].Status != "running") {
			err = fmt.Errorf("QEMUs: %v", sightings)
		}
		return err
	})
	if err != nil {
		return err
	}
	h, err := s.Where(ctx, g)
	if err != nil {
		return err
	}
	if h != want {
		return fmt.Errorf("guest %s runs on %s, not on %s", g.Name, h.Name, want.Name)
	}
	if h == s.Source {
		return g.Serial.Health().Err()
	}
	return g.AwaitVerified(ctx)
}

// stand says where one guest is.
func (s *scene) stand(g *lab.Guest, h *lan.Host) {
	s.t.Helper()
	s.run(map[*lab.Guest]*lan.Host{g: h})
}

// everybody says that all guests run on one host.
func (s *scene) everybody(h *lan.Host) {
	s.t.Helper()
	where := make(map[*lab.Guest]*lan.Host)
	for _, g := range s.guests {
		where[g] = h
	}
	s.run(where)
}

// spread says that the first guest runs on the first host, and so on.
func (s *scene) spread(hosts ...*lan.Host) {
	s.t.Helper()
	where := make(map[*lab.Guest]*lan.Host)
	for i, h := range hosts {
		where[s.guests[i]] = h
	}
	s.run(where)
}

// processOf returns the QEMU of a VM on a host.
func (s *scene) processOf(name string, h *lan.Host) int {
	s.t.Helper()
	found, err := processes(s.t.Context(), h)
	s.must(err)
	for pid, line := range found {
		if strings.Contains(line, " -name guest="+name+" ") {
			return pid
		}
	}
	s.t.Fatalf("VM %s has no QEMU on %s: %v", name, h.Name, found)
	return 0
}

// signal sends a signal to a process.
func (s *scene) signal(pid int, sig syscall.Signal) {
	s.t.Helper()
	s.must(syscall.Kill(pid, sig))
}

// target is where a guest is placed: the shared guests in turn, others on the first target.
func (s *scene) target(g *lab.Guest) *lan.Host {
	return s.Targets[max(0, slices.Index(s.guests, g))%len(s.Targets)]
}

// other returns the guest that is not g.
func (s *scene) other(g *lab.Guest) *lab.Guest { return s.guests[1-slices.Index(s.guests, g)] }

// allBut is what a report says when the others arrive and one guest does not.
func (s *scene) allBut(g *lab.Guest, state string) []string {
	states := slices.Repeat([]string{evacuated}, len(s.guests))
	states[slices.Index(s.guests, g)] = state
	return states
}

// standBut says that one guest is on the source and the others are on their targets.
func (s *scene) standBut(g *lab.Guest) {
	s.t.Helper()
	where := make(map[*lab.Guest]*lan.Host)
	for _, other := range s.guests {
		where[other] = s.target(other)
	}
	where[g] = s.Source
	s.run(where)
}
