package multicast

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// haste is the nice value of a thread that keeps to a rate: before guests, which have 0, and behind what an operator holds more urgent still.
const haste = -10

// ownThread gives the calling goroutine a thread to itself, for good, that does not wait behind those of others where processors are scarce:
// a source is full of guests, and each time its sender comes too late for longer than the pacer's burst lasts, the link stands idle.
// One that is more urgent already stays so. Without CAP_SYS_NICE the thread has no privilege; the error says so.
func ownThread() error {
	runtime.LockOSThread()
	if now, err := niceness(0); err == nil && now <= haste {
		return nil
	}
	return unix.Setpriority(unix.PRIO_PROCESS, 0, haste) // Linux: of this thread
}

// niceness is the nice value of a thread, 0 = the caller's.
func niceness(thread int) (int, error) {
	p, err := unix.Getpriority(unix.PRIO_PROCESS, thread)
	return 20 - p, err // the system call gives no negative numbers
}

// nap sleeps in the kernel. A signal may end it early.
func nap(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil)
}
