// Package lab builds, on one machine, what scatter is for: a source host with running guests and target hosts on a network.
//
//	source          target1          target2   ...      network namespaces; processes run in them with Host.Command
//	 eth0            eth0             eth0              10.77.0.1, .11, .12 ...; tbf on egress
//	  |               |                |
//	  p0 -- br0 ----- p1 ------------- p2               namespace "switch": IGMP snooping and querier; tbf on egress of
//	                                                    each port, which is the ingress of the host
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
	"sync/atomic"
)

// Config says what lab to build.
type Config struct {
	Targets int          // number of targets, at least 1
	Rate    int64        // bit/s of each port in each direction; 0 = not shaped
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
		dir, err := CacheDir()
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
const MaxTargets = 200

// CacheDir returns the directory where bench/setup.sh keeps what guests boot.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "scatter-lab"), nil
}

// ErrNoOldQEMU is why there is no old QEMU.
var ErrNoOldQEMU = errors.New("no QEMU 7.2 here: 'bench/setup.sh qemu-7.2' fetches it where apt knows Debian 12")

// OldQEMU returns the QEMU 7.2 that bench/setup.sh keeps beside the installed one.
func OldQEMU() (string, error) {
	dir, err := CacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "qemu-7.2/usr/bin/qemu-system-x86_64")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", ErrNoOldQEMU
	}
	return path, err
}

// Lab is one source and some targets on a switch.
type Lab struct {
	Source  *Host
	Targets []*Host
	Dir     string // holds a directory for each host

	config Config
	name   string // prefix of all names that are visible outside the lab
	serial *watcher

	processes sync.WaitGroup // those that the lab has started

	mu      sync.Mutex // guards what follows
	hosts   []*Host
	guests  []*Guest
	program string            // the workload's, once it is built
	initrds map[System]string // those that were made
	tiny    string            // built for the first tiny guest
}

var instances atomic.Int64

// New builds a lab. It first removes the labs of processes that have died without closing theirs.
func New(ctx context.Context, config Config) (*Lab, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := Sweep(ctx); err != nil {
		return nil, fmt.Errorf("lab: stale labs: %w", err)
	}
	owner, err := ownName()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%d", owner, instances.Add(1))
	l := &Lab{config: config, name: name, Dir: filepath.Join(parentDir, name)}
	if l.serial, err = startWatcher(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := l.wire(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w", err), l.Close())
	}
	return l, nil
}

// wire makes the directory, the switch and the hosts.
func (l *Lab) wire(ctx context.Context) error {
	if err := os.Mkdir(l.Dir, 0o755); err != nil {
		return err
	}
	if err := l.addSwitch(ctx); err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	source, err := l.AddHost(ctx, "source")
	if err != nil {
		return err
	}
	l.Source = source
	for i := range l.config.Targets {
		t, err := l.AddHost(ctx, fmt.Sprintf("target%d", i+1))
		if err != nil {
			return err
		}
		l.Targets = append(l.Targets, t)
	}
	return nil
}

// Hosts returns all hosts: the source, the targets and those that were added.
func (l *Lab) Hosts() []*Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Host(nil), l.hosts...)
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
	ctx := context.WithoutCancel(context.Background())
	l.serial.stop()
	err := removeNamespaces(ctx, l.name+"-")
	l.processes.Wait()
	if l.config.Keep {
		return err
	}
	return errors.Join(err, os.RemoveAll(l.Dir))
}
