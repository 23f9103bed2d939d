//go:build lab

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// Size of the fleet.
const (
	targets    = 2
	guests     = 2
	memory     = 160   // MiB
	linkRate   = 500e6 // bit/s
	beat       = 50 * time.Millisecond
	verifyRate = 12000 // pages/s: a guest has looked at all its memory in a second
	bootTime   = 2 * time.Minute
	settleTime = 30 * time.Second // for processes to end and guests to be found
)

// fleet is a lab whose hosts have certificates, with guests on its source.
type fleet struct {
	*deploy.Deployment
	*lab.Lab
	guests []*lab.Guest
}

// shared is the fleet that the next test gets, if the last one left it in order.
var shared struct {
	mu sync.Mutex
	*fleet
}

// borrow returns the shared fleet, or a new one.
func borrow(t *testing.T) *fleet {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.fleet == nil {
		ctx, cancel := context.WithTimeout(t.Context(), bootTime)
		defer cancel()
		f, err := newFleet(ctx)
		if err != nil {
			t.Fatal(err)
		}
		shared.fleet = f
	}
	return shared.fleet
}

// dismiss removes the shared fleet.
func dismiss() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.fleet == nil {
		return nil
	}
	defer func() { shared.fleet = nil }()
	return shared.fleet.Close()
}

func newFleet(ctx context.Context) (*fleet, error) {
	l, err := lab.New(ctx, lab.Config{Targets: targets, Rate: linkRate})
	if err != nil {
		return nil, err
	}
	f := &fleet{Lab: l}
	var configs []lab.GuestConfig
	for i := range guests {
		w := lab.SmallWorkload(i + 1)
		w.Verify = verifyRate
		configs = append(configs, guestConfig(fmt.Sprintf("vm%d", i+1), w))
	}
	f.Deployment, err = deploy.New(ctx, l, program)
	if err == nil {
		f.guests, err = l.Boot(ctx, configs...)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return f, nil
}

func guestConfig(name string, w lab.Workload) lab.GuestConfig {
	w.Beat = beat
	return lab.GuestConfig{Name: name, Memory: memory, Workload: w}
}

// processes returns the processes in a host, by their command line.
func processes(ctx context.Context, h *lan.Host) (map[int]string, error) {
	out, err := exec.CommandContext(ctx, "ip", "netns", "pids", h.Namespace).Output()
	if err != nil {
		return nil, fmt.Errorf("processes in %s: %w", h.Name, err)
	}
	found := make(map[int]string)
	for _, field := range strings.Fields(string(out)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		line, err := os.ReadFile("/proc/" + field + "/cmdline")
		if err == nil && len(line) > 0 { // a process that has ended has none
			found[pid] = strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
		}
	}
	return found, nil
}

// home brings all guests back to the source.
func (f *fleet) home(ctx context.Context) error {
	var g errgroup.Group
	for _, guest := range f.guests {
		g.Go(func() error { return guest.MoveHome(ctx) })
	}
	return g.Wait()
}

// strangers returns the processes that are not the guests' QEMUs on the source.
func (f *fleet) strangers(ctx context.Context) (lines []string, err error) {
	for _, h := range f.Switch.Hosts() {
		found, err := processes(ctx, h)
		if err != nil {
			return nil, err
		}
		for _, g := range f.guests {
			sightings, err := f.Sightings(ctx, g)
			if err != nil {
				return nil, err
			}
			if len(sightings) == 1 && sightings[0].Host == f.Source {
				delete(found, sightings[0].PID)
			}
		}
		for pid, line := range found {
			lines = append(lines, fmt.Sprintf("%s: %d %.200s", h.Name, pid, line))
		}
	}
	return lines, nil
}

// calm undoes all faults of the network.
func (f *fleet) calm(ctx context.Context) error {
	errs := []error{f.Switch.FindQuerier(ctx), f.Switch.On(ctx)}
	for _, h := range f.Switch.Hosts() {
		errs = append(errs, h.SetLoss(ctx, lan.Loss{}), h.BlackholeMulticast(ctx, false), h.Silence(ctx, false), h.LoseReports(ctx, 0),
			h.SetRate(ctx, linkRate))
	}
	return errors.Join(errs...)
}
