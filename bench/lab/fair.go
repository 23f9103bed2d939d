package lab

import (
	"errors"
	"io/fs"
	"os"
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
