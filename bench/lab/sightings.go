package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/lab/serial"
	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// Sighting is a QEMU process that has a guest's name.
type Sighting struct {
	Host   *lan.Host
	PID    int
	Status string // QEMU's run state; "unknown: ..." if no monitor answered
}

// Sightings returns all QEMUs in the lab that have the guest's name, whatever started them.
func (l *Lab) Sightings(ctx context.Context, g *Guest) ([]Sighting, error) {
	found, err := l.named(ctx, g)
	for i := range found {
		found[i].Status = witness.Process(found[i].PID).State(ctx)
	}
	return found, err
}

// named returns all processes in the lab that have the guest's name.
func (l *Lab) named(ctx context.Context, g *Guest) ([]Sighting, error) {
	var found []Sighting
	for _, h := range l.Switch.Hosts() {
		here, err := namedOn(ctx, h, g.Name)
		if err != nil {
			return nil, err
		}
		for _, p := range here {
			found = append(found, Sighting{Host: h, PID: int(p)})
		}
	}
	return found, nil
}

// namedOn returns all processes on a host that have a guest's name.
func namedOn(ctx context.Context, h *lan.Host, guest string) (found []witness.Process, err error) {
	pids, err := h.Processes(ctx)
	for _, pid := range pids {
		if p := witness.Process(pid); p.Guest() == guest {
			found = append(found, p)
		}
	}
	return found, err
}

// Where returns the host where the guest runs. It is an error if it runs nowhere, in two places, or if its heartbeats do not
// come from there, and only from there.
func (l *Lab) Where(ctx context.Context, g *Guest) (*lan.Host, error) {
	sightings, err := l.Sightings(ctx, g)
	if err != nil {
		return nil, err
	}
	var running []*lan.Host
	for _, s := range sightings {
		if s.Status == "running" {
			running = append(running, s.Host)
		}
	}
	if len(running) != 1 {
		return nil, fmt.Errorf("guest %s: runs in %d places: %v", g.Name, len(running), sightings)
	}
	h := running[0]
	err = g.Serial.BeatsOnlyOn(ctx, h)
	if errors.Is(err, serial.ErrSilent) {
		err = fmt.Errorf("%w\n%s", err, g.silence(ctx, h))
	}
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	return h, nil
}

// silence says what can be seen of a guest on h that does not beat: whether its processor runs, and whether its serial port, by which it
// would beat, has lost an interrupt.
func (g *Guest) silence(ctx context.Context, h *lan.Host) string {
	m, err := g.MonitorOn(ctx, h)
	if err != nil {
		return err.Error()
	}
	defer m.Close()
	var told []string
	// The registers twice: a processor that runs has others by then.
	for _, line := range []string{"info status", "i /b 0x3f9", "i /b 0x3fd", "info pic", "info registers", "info registers"} {
		text, err := m.Human(ctx, line)
		if err != nil {
			text = err.Error()
		}
		told = append(told, line+": "+strings.TrimSpace(text))
	}
	return strings.Join(told, "\n")
}

// String shows the sighting in errors.
func (s Sighting) String() string { return fmt.Sprintf("%s: pid %d %s", s.Host.Name, s.PID, s.Status) }
