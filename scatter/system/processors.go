package system

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Processors is how many goroutines work at one time where there is much to do. A program that lets the runtime use more threads does that for those
// which wait.
var Processors = runtime.GOMAXPROCS(0)

// Courtesy is the nice value of threads whose work can wait for guests, which have 0: a third of a guest's share, where there are too few processors.
const Courtesy = 5

// StandBehindGuests gives the calling goroutine a thread to itself, for good, that leaves processors to guests, and to what guests wait for, where
// they are scarce. Work that comes in heaps, as bulk does, else makes all guests of a host stand still for tenths of a second. The thread of a
// program that is nicer already stays so.
func StandBehindGuests() {
	runtime.LockOSThread()
	if n, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && 20-n < Courtesy { // the system call gives no negative numbers
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, Courtesy) // Linux: of this thread; always allowed
	}
}
