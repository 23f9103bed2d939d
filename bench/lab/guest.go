package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// GuestConfig says what guest to start. Sizes are in MiB.
type GuestConfig struct {
	Name     string
	System   System
	Memory   int // RAM; Linux and the workload's program take about 100 of it, the tiny program less than 1
	Workload Workload
	Extra    []string // further QEMU options

	Tiny bool   // run the program of package tiny instead of Linux, and without a network card
	KVM  bool   // on the host's processor, see NeedsKVM; Linux may not boot there
	QEMU string // the emulator; "" = the lab's
}

// ErrNoKVM is why a guest with KVM cannot be started.
var ErrNoKVM = errors.New("no /dev/kvm on this machine")

// NeedsKVM returns ErrNoKVM where the machine has no KVM at all.
func NeedsKVM() error {
	if _, err := os.Stat("/dev/kvm"); errors.Is(err, os.ErrNotExist) {
		return ErrNoKVM
	}
	return nil
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
	Text      int
	Hot       int           // at least 1
	Dirty     int           // pages rewritten per second
	Verify    int           // pages verified per second
	Beat      time.Duration // between heartbeats
}

// DefaultBeat is the time between heartbeats of a guest that asks for none.
const DefaultBeat = 20 * time.Millisecond

// Pages returns how many pages the workload lays out and verifies.
func (w Workload) Pages() int {
	return (w.Common + w.Duplicate + w.Own + w.Zero + w.Repeated + w.Similar + w.Text + w.Hot) * 256
}

// parameters returns the workload as words on the kernel's command line.
func (w Workload) parameters() string {
	s := fmt.Sprintf("scatter.id=%d scatter.mib_common=%d scatter.mib_dup=%d scatter.mib_own=%d scatter.mib_zero=%d"+
		" scatter.mib_hot=%d scatter.dirty=%d scatter.verify=%d scatter.beat_ms=%d",
		w.ID, w.Common, w.Duplicate, w.Own, w.Zero, w.Hot, w.Dirty, w.Verify, w.Beat.Milliseconds())
	if w.Repeated > 0 || w.Similar > 0 || w.Text > 0 { // a tiny guest knows none of these
		s += fmt.Sprintf(" scatter.mib_repeated=%d scatter.mib_similar=%d scatter.mib_text=%d", w.Repeated, w.Similar, w.Text)
	}
	return s
}

// SmallWorkload fits a guest of 160 MiB and is quick to start; n is the guest's number.
func SmallWorkload(n int) Workload {
	return Workload{ID: n, Common: 24, Duplicate: 8, Own: 12, Zero: 4, Hot: 2, Dirty: 50, Verify: 4000}
}

// TinyWorkload fits a tiny guest of 8 MiB, and is little work even where its program is interpreted; n is the guest's number.
func TinyWorkload(n int) Workload {
	return Workload{ID: n, Common: 2, Duplicate: 1, Own: 1, Zero: 1, Hot: 1, Dirty: 20, Verify: 200, Beat: 50 * time.Millisecond}
}

// HostWorkload is that of a guest of 512 MiB as a host to be emptied has many: of its pages that are not zero, about half are
// common to all guests, a fifth are duplicates within the guest, and the rest are its own.
func HostWorkload(n int) Workload {
	return Workload{ID: n, Common: 196, Duplicate: 82, Own: 104, Zero: 24, Hot: 4, Dirty: 200, Verify: 2000}
}

// DebianWorkload is what the Redis of a Debian of 512 MiB holds and does. Half of what only this one holds is text, the other half is
// compressed already.
func DebianWorkload(n int) Workload {
	return Workload{ID: n, Common: 64, Own: 32, Text: 32, Hot: 1, Dirty: 50, Verify: 250}
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
	args := []string{cmp.Or(c.QEMU, l.config.QEMU), "-name", "guest=" + c.Name, "-M", "pc", "-accel", c.accelerator(),
		"-m", fmt.Sprint(c.Memory), "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none"}
	args = append(args, boot...)
	args = append(args,
		"-chardev", "file,id=serial0,append=on,path="+h.SerialPath(c.Name), "-serial", "chardev:serial0",
		"-qmp", "unix:"+qmpPath(h, c.Name)+",server=on,wait=off",
		"-chardev", "socket,id=lab,server=on,wait=off,path="+monitorPath(h, c.Name), "-mon", "chardev=lab,mode=control")
	return append(args, c.Extra...)
}

func (c GuestConfig) accelerator() string {
	switch {
	case c.KVM:
		return "kvm"
	case c.Tiny:
		return "tcg,tb-size=8"
	}
	return "tcg,thread=multi,tb-size=64"
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
	if err := g.start(); err != nil {
		l.serial.drop(g.logs)
		return nil, fmt.Errorf("guest %s: %w", c.Name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guests = append(l.guests, g)
	return g, nil
}

// start follows the guest's serial lines and launches it.
func (g *Guest) start() error {
	for _, h := range g.lab.Hosts() {
		s, err := g.lab.serial.watch(h, h.SerialPath(g.Name))
		if err != nil {
			return err
		}
		g.logs = append(g.logs, s)
	}
	var err error
	g.process, err = g.lab.Source.launch(g.Name, g.Argv)
	return err
}

// Ready waits until the guest's workload has filled its memory and beats.
func (g *Guest) Ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(g.logs[0].Beats()) == 0 {
		if h := g.Health(); len(h.Reports) > 0 {
			return fmt.Errorf("guest %s: %s", g.Name, h.Reports[0])
		}
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

// Discard ends all QEMUs that have the guest's name, and forgets the guest.
func (l *Lab) Discard(ctx context.Context, g *Guest) error {
	found, err := l.named(ctx, g)
	for _, s := range found {
		_ = syscall.Kill(s.PID, syscall.SIGKILL) // it may end this moment
	}
	l.serial.drop(g.logs)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guests = slices.DeleteFunc(l.guests, func(other *Guest) bool { return other == g })
	return err
}

// Monitor connects to the lab's own monitor of the guest's QEMU on the source.
func (g *Guest) Monitor(ctx context.Context) (*Monitor, error) {
	return DialMonitor(ctx, monitorPath(g.lab.Source, g.Name))
}

// PID returns the process of the guest's QEMU on the source.
func (g *Guest) PID() int { return g.process.pid }
