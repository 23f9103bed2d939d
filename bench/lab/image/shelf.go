// Package image makes what guests boot: kernels with their first root file systems, disks, and the workload's program in them.
package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/scatter-vm/scatter/bench/guest/tiny"
	"github.com/scatter-vm/scatter/bench/lab/cache"
)

// System is what a guest boots.
type System int

// The systems. All but Debian have no user land but the workload's program, which is their init.
const (
	Bare      System = iota // Debian's kernel
	Drivers                 // Debian's kernel and its drivers for virtio devices
	Networked               // Drivers, and a card on the network of the host, by a tap; without one, guests have a card that leads nowhere
	Storing                 // Drivers, and a disk: DiskOptions
	Debian                  // Debian as installed, with systemd, and a Redis that holds the workload's pages; it needs 256 MiB beside these
)

// kernelLine keeps the kernel quiet and away from what takes long on an emulated processor. The last word reaches the workload's
// environment: without it Go would interrupt its long sleeps.
const kernelLine = "console=ttyS0 quiet panic=0 mitigations=off init_on_alloc=0 random.trust_cpu=on tsc=reliable " +
	"no_timer_check nokaslr GODEBUG=asyncpreemptoff=1"

// debianLine boots the disk that bench/setup.sh real has made, and starts the workload on its Redis.
const debianLine = "root=/dev/vda ro systemd.show_status=false scatter.redis=1"

// drivers are the kernel modules of Drivers, in an order in which they can be loaded.
var drivers = []string{"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_balloon"}

// networkDrivers are those that Networked has beside them.
var networkDrivers = []string{"failover", "net_failover", "virtio_net"}

// modules names the kernel modules that a system has in its first root file system.
func (s System) modules() []string {
	switch s {
	case Drivers:
		return drivers
	case Networked:
		return slices.Concat(drivers, networkDrivers)
	case Storing:
		return append(slices.Clone(drivers), "virtio_blk")
	}
	return nil
}

// debianFiles are those of Debian: kernel, first root file system, disk.
func debianFiles() (kernel, initrd, disk string, err error) {
	dir, err := cache.Dir()
	if err != nil {
		return "", "", "", err
	}
	dir = filepath.Join(dir, "debian")
	return filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd.img"), filepath.Join(dir, "root.ext4"), nil
}

// HasDebian returns an error if the system Debian cannot be booted on this machine.
func HasDebian() error {
	_, _, disk, err := debianFiles()
	if err == nil {
		_, err = os.Stat(disk)
	}
	if err != nil {
		return fmt.Errorf("guests' Debian (bench/setup.sh real makes it): %w", err)
	}
	return nil
}

// Shelf has what guests boot. Each thing is made when it is first needed.
type Shelf struct {
	dir    string // where things are made
	kernel string

	mu      sync.Mutex        // guards what follows
	program string            // the workload's, once it is built
	initrds map[System]string // those that were made
	tiny    string            // built for the first tiny guest
}

// NewShelf returns a shelf in a directory, for a kernel that has its modules beside it.
func NewShelf(dir, kernel string) *Shelf { return &Shelf{dir: dir, kernel: kernel} }

// Boot returns the QEMU options that boot a system, with parameters of the workload, but for the card of Networked: Card.
func (s *Shelf) Boot(ctx context.Context, system System, parameters string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.buildProgram(ctx); err != nil {
		return nil, err
	}
	if system == Debian {
		return s.bootDebian(parameters)
	}
	if err := s.makeInitrd(system); err != nil {
		return nil, err
	}
	options := []string{"-kernel", s.kernel, "-initrd", s.initrds[system], "-append", kernelLine + " " + parameters}
	if system == Networked {
		return append(options, random...), nil
	}
	return append(options, cards...), nil
}

// DiskOptions returns the QEMU options of a disk in an image of a format, whose nodes have names.
func DiskOptions(file, format string) []string {
	return []string{"-blockdev", "driver=file,node-name=file0,filename=" + file, "-blockdev", "driver=" + format + ",node-name=disk0,file=file0",
		"-device", "virtio-blk-pci,drive=disk0,id=vda"}
}

// Card returns the QEMU options of a card with a MAC address of its own that is attached to a tap of the host.
func Card(tap string, number byte) []string {
	return []string{"-netdev", "tap,id=net0,script=no,downscript=no,ifname=" + tap,
		"-device", fmt.Sprintf("virtio-net-pci,netdev=net0,mac=52:54:00:77:00:%02x", number)}
}

// BootTiny returns the QEMU options that boot the program of package tiny.
func (s *Shelf) BootTiny(ctx context.Context, parameters string) (options []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tiny == "" {
		if s.tiny, err = tiny.Build(ctx, s.dir); err != nil {
			return nil, err
		}
	}
	return []string{"-kernel", s.tiny, "-append", parameters}, nil
}

// cards are what all guests but the tiny ones and those on the network have beside their system; all but the tiny ones have random.
var (
	cards  = append([]string{"-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0"}, random...)
	random = []string{"-device", "virtio-rng-pci"}
)

// bootDebian gives the guest two disks that all guests share and none can change: the system, and the workload's program.
func (s *Shelf) bootDebian(parameters string) ([]string, error) {
	kernel, initrd, disk, err := debianFiles()
	if err != nil {
		return nil, err
	}
	if err := HasDebian(); err != nil {
		return nil, err
	}
	options := []string{"-kernel", kernel, "-initrd", initrd, "-append", kernelLine + " " + debianLine + " " + parameters}
	for i, file := range []string{disk, s.program} {
		options = append(options, "-drive", fmt.Sprintf("file=%s,format=raw,if=none,id=disk%d,readonly=on", file, i),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	return append(options, cards...), nil
}

const guestPackage = "github.com/scatter-vm/scatter/bench/guest"

// sector is what a disk's size is a multiple of; the program is one.
const sector = 4096

// buildProgram builds the workload's program, once for each shelf.
func (s *Shelf) buildProgram(ctx context.Context) error {
	if s.program != "" {
		return nil
	}
	program := filepath.Join(s.dir, "guest")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, guestPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	if err := os.Truncate(program, (info.Size()+sector-1)/sector*sector); err != nil {
		return err
	}
	s.program = program
	return nil
}

// makeInitrd packs the program and what the system has beside it, once for each shelf.
func (s *Shelf) makeInitrd(system System) error {
	if s.initrds[system] != "" {
		return nil
	}
	modules, err := s.readModules(system.modules())
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, fmt.Sprintf("initrd%d", system))
	if err := writeInitramfs(path, s.program, modules...); err != nil {
		return err
	}
	if s.initrds == nil {
		s.initrds = make(map[System]string)
	}
	s.initrds[system] = path
	return nil
}

// readModules returns kernel modules that bench/setup.sh has put beside the kernel.
func (s *Shelf) readModules(names []string) (all [][]byte, err error) {
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(s.kernel), "modules", name+".ko"))
		if err != nil {
			return nil, fmt.Errorf("kernel module (bench/setup.sh fetches it): %w", err)
		}
		all = append(all, b)
	}
	return all, nil
}
