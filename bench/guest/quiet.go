package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// An idle guest must cost its host next to nothing, and on an emulated processor each wake-up costs much. What wakes a Go
// program most is the runtime's monitor thread, which has nothing to do here. So the workload runs on one thread, or a few, with plain
// system calls, and the monitor is told that none of its timers is urgent. The runtime's other threads are not: one that hands the workload its
// turn sleeps for microseconds on its way.

// idleSlack is by how much the kernel may delay the timers of the monitor: it lets them ride on the workload's.
const idleSlack = 10 * time.Second

// beQuiet makes the calling goroutine own its thread and quietens the monitor, which is the first thread that Go's runtime starts.
func beQuiet() error {
	runtime.LockOSThread()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	monitor := 0
	for _, t := range threads {
		if tid, err := strconv.Atoi(t.Name()); err == nil && tid != os.Getpid() && (monitor == 0 || tid < monitor) {
			monitor = tid
		}
	}
	return os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", monitor), fmt.Append(nil, idleSlack.Nanoseconds()), 0)
}

// beSecond makes the calling goroutine own a thread beside that of beQuiet, whose timers are urgent as well: the monitor may have started it.
func beSecond() error {
	runtime.LockOSThread()
	return unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(urgentSlack.Nanoseconds()), 0, 0, 0)
}

// urgentSlack is what the kernel gives to every thread.
const urgentSlack = 50 * time.Microsecond

// openSerial opens the console for lines that the terminal driver passes on as they are, in one piece, whether or not it sees a carrier.
func openSerial() (int, error) {
	fd, err := unix.Open("/dev/ttyS0", unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("serial port: %w", err)
	}
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return 0, fmt.Errorf("serial port: mode: %w", err)
	}
	mode.Oflag &^= unix.OPOST
	mode.Cflag |= unix.CLOCAL
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, mode); err != nil {
		return 0, fmt.Errorf("serial port: mode: %w", err)
	}
	return fd, unix.SetNonblock(fd, false)
}
