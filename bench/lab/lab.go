// Package lab builds, on one machine, what scatter is for: a source host with running guests and target hosts on a network.
//
//	lab         the source, the targets and the guests: starts them, says where they run, brings them home
//	lab/lan     the switch and the hosts, what they carry, lose and break
//	lab/image   what guests boot
//	lab/serial  what guests print, their heartbeats above all
//	lab/witness QEMUs and the memory of their guests, seen from outside
//	lab/cache   where bench/setup.sh keeps what it has fetched
//	lab/wait    the pause of loops
//
// Guests are real QEMUs on an emulated processor that run Debian's cloud kernel with a workload that checks itself (package
// guest), or a program without an operating system (package guest/tiny), also with KVM. What the lab measures it measures from
// outside: bytes on the ports, heartbeats on the serial lines, memory of stopped guests.
//
// A Lab needs root, iproute2, nftables, ethtool and QEMU; bench/setup.sh installs them. Everything is named after the process that
// made it, so several labs coexist, and New removes what killed processes have left behind. Close removes the lab.
package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/scatter-vm/scatter/bench/lab/cache"
	"github.com/scatter-vm/scatter/bench/lab/image"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/lab/serial"
)

// Config says what lab to build.
type Config struct {
	Targets int          // number of targets, at least 1
	Rate    int64        // bit/s of each port in each direction; 0 = not shaped
	Bridged bool         // source and targets have bridges, by which guests can be on the network: lan.Host.Bridge
	Kernel  string       // the guests' kernel; "" = the one that bench/setup.sh has fetched
	QEMU    string       // the emulator; "" = qemu-system-x86_64
	Keep    bool         // Close leaves the directory with the serial logs
	Log     *slog.Logger // nil = none
}

func (c *Config) validate() error {
	if c.Targets < 1 || c.Targets > MaxTargets {
		return fmt.Errorf("targets %d: must be 1 to %d", c.Targets, MaxTargets)
	}
	if c.Rate < 0 {
		return fmt.Errorf("rate %d: must not be negative", c.Rate)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.QEMU == "" {
		c.QEMU = "qemu-system-x86_64"
	}
	if c.Kernel == "" {
		dir, err := cache.Dir()
		if err != nil {
			return err
		}
		c.Kernel = filepath.Join(dir, "vmlinuz")
	}
	if _, err := os.Stat(c.Kernel); err != nil {
		return fmt.Errorf("guest kernel (bench/setup.sh fetches it): %w", err)
	}
	return nil
}

// MaxTargets bounds the number of targets of a lab.
const MaxTargets = lan.Ports - 1

// Lab is one source and some targets on a switch.
type Lab struct {
	Switch  *lan.Switch
	Source  *lan.Host
	Targets []*lan.Host
	Dir     string // holds a directory for each host

	config Config
	shelf  *image.Shelf
	serial *serial.Watcher

	processes sync.WaitGroup // those that the lab has started

	mu     sync.Mutex // guards guests
	guests []*Guest
}

// New builds a lab. It first removes the labs of processes that have died without closing theirs.
func New(ctx context.Context, config Config) (*Lab, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	watcher, err := serial.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	sw, err := lan.New(ctx, config.Rate)
	if err != nil {
		watcher.Close()
		return nil, fmt.Errorf("lab: %w", err)
	}
	l := &Lab{Switch: sw, Dir: sw.Dir, config: config, shelf: image.NewShelf(sw.Dir, config.Kernel), serial: watcher}
	if err := l.addHosts(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w", err), l.Close())
	}
	return l, nil
}

// addHosts plugs the source and the targets in.
func (l *Lab) addHosts(ctx context.Context) (err error) {
	if l.Source, err = l.Switch.AddHost(ctx, "source"); err != nil {
		return err
	}
	for i := range l.config.Targets {
		t, err := l.Switch.AddHost(ctx, fmt.Sprintf("target%d", i+1))
		if err != nil {
			return err
		}
		l.Targets = append(l.Targets, t)
	}
	if !l.config.Bridged {
		return nil
	}
	for _, h := range append([]*lan.Host{l.Source}, l.Targets...) {
		if err := h.Bridge(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Guests returns all guests that were started.
func (l *Lab) Guests() []*Guest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Guest(nil), l.guests...)
}

// AllowPaths returns the directories that hold the host files on a guest's command line.
func (l *Lab) AllowPaths() []string { return []string{l.Dir, filepath.Dir(l.config.Kernel)} }

// Close kills every process in the lab, also those that detached themselves, and removes the namespaces and the directory.
func (l *Lab) Close() error {
	l.serial.Close()
	err := l.Switch.Close()
	l.processes.Wait()
	if l.config.Keep {
		return err
	}
	return errors.Join(err, os.RemoveAll(l.Dir))
}
