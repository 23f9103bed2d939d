package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// autogroup is where Linux says whether each session of processes gets the same share of the processors, however many they are:
// sched(7). Hosts with control groups do not heed it.
const autogroup = "/proc/sys/kernel/sched_autogroup_enabled"

// ShareEqually lets all processes of a lab count alike for the scheduler, until restore is called. Otherwise a QEMU that a target has
// started, in a session of its own, competes with the whole source, and at times waits for a tenth of a second.
func ShareEqually() (restore func() error, err error) {
	was, err := os.ReadFile(autogroup)
	if errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	set := func(b []byte) error { return os.WriteFile(autogroup, b, 0o644) }
	return func() error { return set(was) }, set([]byte("0"))
}

// TouchMemory writes to so many bytes of memory and gives them back. A lab on a virtual machine has memory from its own host only once it was written
// to, which takes longer than all else that a target does with a page: what is measured next is to find it there, as on a host of iron.
func TouchMemory(bytes int) error {
	b, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("touch %d bytes: %w", bytes, err)
	}
	return unix.Munmap(b)
}
