package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/scatter-vm/scatter/bench/guest/tiny"
)

// System is what a guest boots.
type System int

// The systems. Bare and Drivers have no user land but the workload's program, which is their init.
const (
	Bare    System = iota // Debian's kernel
	Drivers               // Debian's kernel and its drivers for virtio devices
	Debian                // Debian as installed, with systemd, and a Redis that holds the workload's pages; it needs 256 MiB beside these
)

// kernelLine keeps the kernel quiet and away from what takes long on an emulated processor. The last word reaches the workload's
// environment: without it Go would interrupt its long sleeps.
const kernelLine = "console=ttyS0 quiet panic=0 mitigations=off init_on_alloc=0 random.trust_cpu=on tsc=reliable " +
	"no_timer_check nokaslr GODEBUG=asyncpreemptoff=1"

// debianLine boots the disk that bench/setup.sh real has made, and starts the workload on its Redis.
const debianLine = "root=/dev/vda ro systemd.show_status=false scatter.redis=1"

// drivers are the kernel modules of Drivers, in an order in which they can be loaded.
var drivers = []string{"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_balloon"}

// debianFiles are those of Debian: kernel, first root file system, disk.
func debianFiles() (kernel, initrd, disk string, err error) {
	cache, err := CacheDir()
	if err != nil {
		return "", "", "", err
	}
	dir := filepath.Join(cache, "debian")
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

// boot returns the QEMU options that boot the guest's system.
func (l *Lab) boot(ctx context.Context, c GuestConfig) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.Tiny {
		return l.bootTiny(ctx, c.Workload)
	}
	if err := l.buildProgram(ctx); err != nil {
		return nil, err
	}
	if c.System == Debian {
		return l.bootDebian(c.Workload)
	}
	if err := l.makeInitrd(c.System); err != nil {
		return nil, err
	}
	options := []string{"-kernel", l.config.Kernel, "-initrd", l.initrds[c.System], "-append", kernelLine + " " + c.Workload.parameters()}
	return append(options, cards...), nil
}

// cards are what all guests but the tiny ones have beside their system.
var cards = []string{"-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0", "-device", "virtio-rng-pci"}

func (l *Lab) bootTiny(ctx context.Context, w Workload) (options []string, err error) {
	if l.tiny == "" {
		if l.tiny, err = tiny.Build(ctx, l.Dir); err != nil {
			return nil, err
		}
	}
	return []string{"-kernel", l.tiny, "-append", w.parameters()}, nil
}

// bootDebian gives the guest two disks that all guests share and none can change: the system, and the workload's program.
func (l *Lab) bootDebian(w Workload) ([]string, error) {
	kernel, initrd, disk, err := debianFiles()
	if err != nil {
		return nil, err
	}
	if err := HasDebian(); err != nil {
		return nil, err
	}
	options := []string{"-kernel", kernel, "-initrd", initrd, "-append", kernelLine + " " + debianLine + " " + w.parameters()}
	for i, file := range []string{disk, l.program} {
		options = append(options, "-drive", fmt.Sprintf("file=%s,format=raw,if=none,id=disk%d,readonly=on", file, i),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	return append(options, cards...), nil
}

const guestPackage = "github.com/scatter-vm/scatter/bench/guest"

// sector is what a disk's size is a multiple of; the program is one.
const sector = 4096

// buildProgram builds the workload's program, once for each lab.
func (l *Lab) buildProgram(ctx context.Context) error {
	if l.program != "" {
		return nil
	}
	program := filepath.Join(l.Dir, "guest")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, guestPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if _, err := output(cmd); err != nil {
		return err
	}
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	if err := os.Truncate(program, (info.Size()+sector-1)/sector*sector); err != nil {
		return err
	}
	l.program = program
	return nil
}

// makeInitrd packs the program and what the system has beside it, once for each lab.
func (l *Lab) makeInitrd(s System) error {
	if l.initrds[s] != "" {
		return nil
	}
	var modules [][]byte
	if s == Drivers {
		var err error
		if modules, err = l.readModules(drivers); err != nil {
			return err
		}
	}
	path := filepath.Join(l.Dir, fmt.Sprintf("initrd%d", s))
	if err := writeInitramfs(path, l.program, modules...); err != nil {
		return err
	}
	if l.initrds == nil {
		l.initrds = make(map[System]string)
	}
	l.initrds[s] = path
	return nil
}

// readModules returns kernel modules that bench/setup.sh has put beside the kernel.
func (l *Lab) readModules(names []string) (all [][]byte, err error) {
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(l.config.Kernel), "modules", name+".ko"))
		if err != nil {
			return nil, fmt.Errorf("kernel module (bench/setup.sh fetches it): %w", err)
		}
		all = append(all, b)
	}
	return all, nil
}
