package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/image"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/lab/serial"
	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// GuestConfig says what guest to start. Sizes are in MiB.
type GuestConfig struct {
	Name     string
	System   image.System
	Memory   int // RAM; Linux and the workload's program take about 100 of it, the tiny program less than 1
	Workload Workload
	Extra    []string // further QEMU options
	Qcow2    []string // its disk is such an image, made with these options of qemu-img create; nil: a raw one
	Beyond   int      // of its disk, that its workload leaves alone

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

// Guest is a running QEMU on the source, and later wherever it was moved to.
type Guest struct {
	Name   string
	QMP    string   // the monitor's socket on the source, for scatter
	Argv   []string // QEMU's command line on the source
	Config GuestConfig
	Serial *serial.Line

	lab     *Lab
	process *process // on the source
}

// Guest file names inside a host's directory.
func qmpPath(h *lan.Host, name string) string     { return filepath.Join(h.Dir, name+".qmp") }
func monitorPath(h *lan.Host, name string) string { return filepath.Join(h.Dir, name+".monitor") }

// argv returns the QEMU command line of a guest on the source, with options that boot its system.
func (l *Lab) argv(c GuestConfig, boot []string) []string {
	h := l.Source
	args := []string{cmp.Or(c.QEMU, l.config.QEMU), "-name", "guest=" + c.Name, "-M", "pc", "-accel", c.accelerator(),
		"-m", fmt.Sprint(c.Memory), "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none"}
	args = append(args, boot...)
	args = append(args,
		"-chardev", "file,id=serial0,append=on,path="+serial.Path(h, c.Name), "-serial", "chardev:serial0",
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
	if err == nil {
		err = l.attach(ctx, c)
	}
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", c.Name, err)
	}
	g := &Guest{Name: c.Name, Config: c, lab: l, Argv: l.argv(c, boot), QMP: qmpPath(l.Source, c.Name)}
	if err := g.start(); err != nil {
		return nil, fmt.Errorf("guest %s: %w", c.Name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guests = append(l.guests, g)
	return g, nil
}

// start follows the guest's serial lines and launches it.
func (g *Guest) start() (err error) {
	g.Serial, err = g.lab.serial.Follow(g.lab.Switch.Hosts(), g.Name, g.Config.Workload.Beat)
	if err != nil {
		return err
	}
	if g.process, err = g.lab.launch(g.lab.Source, g.Name, g.Argv); err != nil {
		g.lab.serial.Drop(g.Serial)
	}
	return err
}

// boot returns the QEMU options that boot the guest's system.
func (l *Lab) boot(ctx context.Context, c GuestConfig) ([]string, error) {
	if c.Tiny {
		return l.shelf.BootTiny(ctx, c.Workload.parameters())
	}
	options, err := l.shelf.Boot(ctx, c.System, c.Workload.parameters())
	switch c.System {
	case image.Networked:
		options = append(options, image.Card(c.tap(), byte(c.Workload.Address))...)
	case image.Storing:
		if err == nil {
			err = c.MakeDisk(l.Source)
		}
		format := "raw"
		if c.Qcow2 != nil {
			format = "qcow2"
		}
		options = append(options, image.DiskOptions(DiskFile(l.Source, c.Name), format)...)
	}
	return options, err
}

// DiskFile is where the disk of a guest is on a host.
func DiskFile(h *lan.Host, name string) string { return filepath.Join(h.Dir, name+".raw") }

// MakeDisk makes an empty disk for the guest on a host, of the size that its workload wants.
func (c GuestConfig) MakeDisk(h *lan.Host) error {
	size := int64(c.Workload.Pages())*4096 + int64(c.Beyond)<<20
	if c.Qcow2 != nil {
		args := slices.Concat([]string{"create", "-q", "-f", "qcow2"}, c.Qcow2, []string{DiskFile(h, c.Name), strconv.FormatInt(size, 10)})
		if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("guest %s: qemu-img: %w: %s", c.Name, err, out)
		}
		return nil
	}
	f, err := os.Create(DiskFile(h, c.Name))
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// tap is the name of the guest's interface on whatever host it is.
func (c GuestConfig) tap() string { return fmt.Sprintf("tap%d", c.Workload.Address) }

// attach gives each host a tap for the guest, if that is going to be on the network.
func (l *Lab) attach(ctx context.Context, c GuestConfig) error {
	if (c.System == image.Networked) != (c.Workload.Address > 0) {
		return fmt.Errorf("address %d: a guest has one if its system is one with a network", c.Workload.Address)
	}
	if c.System != image.Networked {
		return nil
	}
	for _, h := range append([]*lan.Host{l.Source}, l.Targets...) {
		if err := h.Tap(ctx, c.tap()); err != nil {
			return err
		}
	}
	return nil
}

// Ready waits until the guest's workload has filled its memory and beats.
func (g *Guest) Ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(g.Serial.Beats()) == 0 {
		if h := g.Serial.Health(); len(h.Reports) > 0 {
			return fmt.Errorf("guest %s: %s", g.Name, h.Reports[0])
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("guest %s: not ready: %w: console: %s", g.Name, ctx.Err(), g.Serial.Console())
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
	l.serial.Drop(g.Serial)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guests = slices.DeleteFunc(l.guests, func(other *Guest) bool { return other == g })
	return err
}

// Monitor connects to the lab's own monitor of the guest's QEMU on the source.
func (g *Guest) Monitor(ctx context.Context) (*witness.Monitor, error) {
	return witness.Dial(ctx, monitorPath(g.lab.Source, g.Name))
}

// PID returns the process of the guest's QEMU on the source.
func (g *Guest) PID() int { return g.process.pid }

// AwaitVerified waits until the guest has verified all its pages once more, and returns an error if it was harmed.
func (g *Guest) AwaitVerified(ctx context.Context) error {
	return g.Serial.AwaitVerified(ctx, g.Config.Workload.Pages())
}
