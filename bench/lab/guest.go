package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// GuestConfig says what guest to start. Sizes are in MiB.
type GuestConfig struct {
	Name     string
	System   System
	Memory   int // RAM; the kernel and the workload's program take about 100 of it
	Workload Workload
	Extra    []string // further QEMU options
}

// Workload is what the guest's program does with its memory; package guest describes it.
type Workload struct {
	ID        int // makes the guest's own pages differ from those of other guests
	Common    int
	Duplicate int
	Own       int
	Zero      int
	Repeated  int
	Similar   int
	Hot       int           // at least 1
	Dirty     int           // pages rewritten per second
	Verify    int           // pages verified per second
	Beat      time.Duration // between heartbeats
}

// DefaultBeat is the time between heartbeats of a guest that asks for none.
const DefaultBeat = 20 * time.Millisecond

// Pages returns how many pages the workload lays out and verifies.
func (w Workload) Pages() int {
	return (w.Common + w.Duplicate + w.Own + w.Zero + w.Repeated + w.Similar + w.Hot) * 256
}

// parameters returns the workload as words on the kernel's command line.
func (w Workload) parameters() string {
	return fmt.Sprintf("scatter.id=%d scatter.mib_common=%d scatter.mib_dup=%d scatter.mib_own=%d scatter.mib_zero=%d"+
		" scatter.mib_repeated=%d scatter.mib_similar=%d scatter.mib_hot=%d scatter.dirty=%d scatter.verify=%d scatter.beat_ms=%d",
		w.ID, w.Common, w.Duplicate, w.Own, w.Zero, w.Repeated, w.Similar, w.Hot, w.Dirty, w.Verify, w.Beat.Milliseconds())
}

// SmallWorkload fits a guest of 160 MiB and is quick to start; n is the guest's number.
func SmallWorkload(n int) Workload {
	return Workload{ID: n, Common: 24, Duplicate: 8, Own: 12, Zero: 4, Hot: 2, Dirty: 50, Verify: 4000}
}

// HostWorkload is that of a guest of 512 MiB as a host to be emptied has many: of its pages that are not zero, about half are
// common to all guests, a fifth are duplicates within the guest, and the rest are its own.
func HostWorkload(n int) Workload {
	return Workload{ID: n, Common: 196, Duplicate: 82, Own: 104, Zero: 24, Hot: 4, Dirty: 200, Verify: 2000}
}

// DebianWorkload is what the Redis of a Debian of 512 MiB holds and does.
func DebianWorkload(n int) Workload {
	return Workload{ID: n, Common: 64, Own: 64, Hot: 1, Dirty: 50, Verify: 500}
}

// Guest is a running QEMU on the source, and later wherever it was moved to.
type Guest struct {
	Name   string
	QMP    string   // the monitor's socket on the source, for scatter
	Argv   []string // QEMU's command line on the source
	Config GuestConfig

	lab     *Lab
	process *process     // on the source
	logs    []*serialLog // one for each host
}

// Guest file names inside a host's directory.
func qmpPath(h *Host, name string) string     { return filepath.Join(h.Dir, name+".qmp") }
func monitorPath(h *Host, name string) string { return filepath.Join(h.Dir, name+".monitor") }

// SerialPath returns where the guest's serial line goes while it runs on h, given that paths in the source's directory are
// rewritten to h's.
func (h *Host) SerialPath(guest string) string { return filepath.Join(h.Dir, guest+".serial") }

// argv returns the QEMU command line of a guest on the source, with options that boot its system.
func (l *Lab) argv(c GuestConfig, boot []string) []string {
	h := l.Source
	args := []string{
		l.config.QEMU, "-name", "guest=" + c.Name, "-M", "pc", "-accel", "tcg,thread=multi,tb-size=64",
		"-m", fmt.Sprint(c.Memory), "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none",
		"-chardev", "file,id=serial0,append=on,path=" + h.SerialPath(c.Name), "-serial", "chardev:serial0",
		"-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0",
		"-device", "virtio-rng-pci",
		"-qmp", "unix:" + qmpPath(h, c.Name) + ",server=on,wait=off",
		"-chardev", "socket,id=lab,server=on,wait=off,path=" + monitorPath(h, c.Name), "-mon", "chardev=lab,mode=control",
	}
	return slices.Concat(args, boot, c.Extra)
}

// Start starts a guest on the source and returns at once; Ready waits until its workload runs.
func (l *Lab) Start(ctx context.Context, c GuestConfig) (*Guest, error) {
	if c.Workload.Beat == 0 {
		c.Workload.Beat = DefaultBeat
	}
	boot, err := l.boot(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", c.Name, err)
	}
	g := &Guest{Name: c.Name, Config: c, lab: l, Argv: l.argv(c, boot), QMP: qmpPath(l.Source, c.Name)}
	if g.process, err = l.Source.launch(c.Name, g.Argv); err != nil {
		return nil, fmt.Errorf("guest %s: %w", c.Name, err)
	}
	for _, h := range l.Hosts() {
		g.logs = append(g.logs, l.serial.watch(h, h.SerialPath(c.Name)))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guests = append(l.guests, g)
	return g, nil
}

// Ready waits until the guest's workload has filled its memory and beats.
func (g *Guest) Ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(g.logs[0].Beats()) == 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("guest %s: not ready: %w: console: %s", g.Name, ctx.Err(), g.Console())
		case <-g.process.exited:
			return fmt.Errorf("guest %s: %w", g.Name, g.process.err())
		case <-tick.C:
		}
	}
	return nil
}

// Boot starts guests, all at once, and waits until they are ready.
func (l *Lab) Boot(ctx context.Context, configs ...GuestConfig) ([]*Guest, error) {
	var guests []*Guest
	for _, c := range configs {
		g, err := l.Start(ctx, c)
		if err != nil {
			return nil, err
		}
		guests = append(guests, g)
	}
	var errs []error
	for _, g := range guests {
		errs = append(errs, g.Ready(ctx))
	}
	return guests, errors.Join(errs...)
}

// Monitor connects to the lab's own monitor of the guest's QEMU on the source.
func (g *Guest) Monitor(ctx context.Context) (*Monitor, error) {
	return DialMonitor(ctx, monitorPath(g.lab.Source, g.Name))
}

// PID returns the process of the guest's QEMU on the source.
func (g *Guest) PID() int { return g.process.pid }
