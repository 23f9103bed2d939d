package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Sighting is a QEMU process that has a guest's name.
type Sighting struct {
	Host   *Host
	PID    int
	Status string // QEMU's run state; "unknown: ..." if no monitor answered
}

// Sightings returns all QEMUs in the lab that have the guest's name, whatever started them.
func (l *Lab) Sightings(ctx context.Context, g *Guest) ([]Sighting, error) {
	found, err := l.named(ctx, g)
	for i := range found {
		found[i].Status = runState(ctx, commandLine(found[i].PID))
	}
	return found, err
}

// named returns all processes in the lab that have the guest's name.
func (l *Lab) named(ctx context.Context, g *Guest) ([]Sighting, error) {
	var found []Sighting
	for _, h := range l.Hosts() {
		pids, err := processesIn(ctx, h.Namespace)
		if err != nil {
			return nil, err
		}
		for _, pid := range pids {
			if guestName(commandLine(pid)) == g.Name {
				found = append(found, Sighting{Host: h, PID: pid})
			}
		}
	}
	return found, nil
}

// commandLine returns the arguments of a process; nothing if it has ended.
func commandLine(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
}

// guestName returns the name on a QEMU command line, "" if there is none.
func guestName(argv []string) string {
	at := slices.Index(argv, "-name")
	if at < 0 || at+1 == len(argv) {
		return ""
	}
	for _, part := range strings.Split(argv[at+1], ",") {
		if name, ok := strings.CutPrefix(part, "guest="); ok {
			return name
		}
	}
	return ""
}

// monitorSockets returns the sockets on a QEMU command line that a monitor may answer on.
func monitorSockets(argv []string) (sockets []string) {
	for i, option := range argv[:max(0, len(argv)-1)] {
		for _, part := range strings.Split(argv[i+1], ",") {
			path, isPath := strings.CutPrefix(part, "path=")
			path2, isUnix := strings.CutPrefix(part, "unix:")
			switch {
			case option == "-qmp" && isUnix:
				sockets = append(sockets, path2)
			case option == "-chardev" && isPath && strings.HasPrefix(argv[i+1], "socket,"):
				sockets = append(sockets, path)
			}
		}
	}
	return sockets
}

// runState asks the first monitor that answers.
func runState(ctx context.Context, argv []string) string {
	m, err := dialAny(ctx, monitorSockets(argv))
	if err != nil {
		return fmt.Sprintf("unknown: %v", err)
	}
	defer m.Close()
	status, err := m.Status(ctx)
	if err != nil {
		return fmt.Sprintf("unknown: %v", err)
	}
	return status
}

// dialAny connects to the first monitor that answers. A monitor that serves somebody else does not.
func dialAny(ctx context.Context, sockets []string) (*Monitor, error) {
	errs := []error{errors.New("no monitor answers")}
	for _, socket := range slices.Backward(sockets) { // the lab's own monitor, which is never busy, comes last
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		m, err := DialMonitor(ctx, socket)
		cancel()
		if err == nil {
			return m, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// Where returns the host where the guest runs. It is an error if it runs nowhere, in two places, or if its heartbeats do not
// come from there, and only from there.
func (l *Lab) Where(ctx context.Context, g *Guest) (*Host, error) {
	sightings, err := l.Sightings(ctx, g)
	if err != nil {
		return nil, err
	}
	var running []*Host
	for _, s := range sightings {
		if s.Status == "running" {
			running = append(running, s.Host)
		}
	}
	if len(running) != 1 {
		return nil, fmt.Errorf("guest %s: runs in %d places: %v", g.Name, len(running), sightings)
	}
	if err := g.beatsOnlyOn(ctx, running[0]); err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	return running[0], nil
}

// String shows the sighting in errors.
func (s Sighting) String() string { return fmt.Sprintf("%s: pid %d %s", s.Host.Name, s.PID, s.Status) }
