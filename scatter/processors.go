package scatter

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/dedup"
)

// processors is how many goroutines work at one time where there is much to do. A program that lets the runtime use more threads does that for those
// which wait.
var processors = runtime.GOMAXPROCS(0)

// processors is how many goroutines of this evacuation work at one time.
func (c *SendConfig) processors() int {
	if c.CPUs > 0 {
		return min(c.CPUs, processors)
	}
	return processors
}

// workers scan and make the index.
func (c *SendConfig) workers() dedup.Workers {
	return dedup.Workers{Count: c.processors(), Begin: standBehindGuests}
}

// courtesy is the nice value of threads whose work can wait for guests, which have 0: a third of a guest's share, where there are too few processors.
const courtesy = 5

// standBehindGuests gives the calling goroutine a thread to itself, for good, that leaves processors to guests, and to what guests wait for, where
// they are scarce. Work that comes in heaps, as bulk does, else makes all guests of a host stand still for tenths of a second. The thread of a
// program that is nicer already stays so.
func standBehindGuests() {
	runtime.LockOSThread()
	if n, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && 20-n < courtesy { // the system call gives no negative numbers
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, courtesy) // Linux: of this thread; always allowed
	}
}
