// Command guest is the workload of a lab guest: its init and the only program that runs in it, or, with scatter.redis=1, a
// service of a whole Debian, beside a Redis that holds the pages as values.
//
// It fills the guest's memory with pages of known content (package content), goes on rewriting some of them, and compares all
// of them, for ever, with what they must hold. On the serial port it prints one line when it is ready, a short heartbeat every
// few milliseconds, and a line for each page that is not what it must be; with scatter.net_address it sends and receives beside that (talk):
//
//	guest: ready: 104448 pages filled in 1.2s
//	h1a2b 3c4d 0          beat number, pages verified so far, wrong pages found so far; hexadecimal
//	CORRUPT own page 17 word 5: got 0x..., want 0x...
//
// Parameters are on the kernel's command line, as scatter.NAME=NUMBER; see Workload.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	fmt.Printf("guest: PANIC: %v\n", run())
	select {}
}

// run does everything; it returns only when the guest cannot be what it is told to be.
func run() error {
	if os.Getpid() == 1 {
		debug.SetGCPercent(-1)
		if err := errors.Join(mount(), loadModules()); err != nil {
			return err
		}
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	w, err := ParseWorkload(string(line))
	if err != nil {
		return err
	}
	serial, err := openSerial()
	if err != nil {
		return err
	}
	m, err := newSubject(w)
	if err != nil {
		return err
	}
	return loop(w, m, port(serial))
}

func newSubject(w Workload) (subject, error) {
	runtime.GOMAXPROCS(w.threads()) // plain system calls keep their processor
	if w.Redis > 0 {
		return DialRedis(w)
	}
	if w.Disk > 0 {
		return OpenDisk(w)
	}
	return NewMemory(w)
}

// mount gives the guest the file systems that the workload and a curious reader of the console need.
func mount() error {
	for _, fs := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(fs.dir, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(fs.kind, fs.dir, fs.kind, 0, ""); err != nil && err != syscall.EBUSY {
			return fmt.Errorf("mount %s: %w", fs.dir, err)
		}
	}
	return nil
}

// loadModules loads the kernel modules of the root file system, in the order of their names.
func loadModules() error {
	list, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, path := range list {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("module %s: %w", path, err)
		}
	}
	return nil
}
