package memory

import (
	"errors"
	"fmt"
)

var (
	// ErrNoAddress says that QEMU did not tell where in its address space a RAM block lies.
	ErrNoAddress = errors.New("host address unknown")
	// ErrProcessGone says that the process whose memory was used has ended.
	ErrProcessGone = errors.New("process ended")
)

// AccessError says that the kernel does not let us at the memory of a process.
type AccessError struct {
	PID int
	Op  string // what was tried
	Err error
}

func (e *AccessError) Error() string {
	return fmt.Sprintf("memory of process %d: %s: %v (needs CAP_SYS_PTRACE, or the same user with kernel.yama.ptrace_scope=0)",
		e.PID, e.Op, e.Err)
}

func (e *AccessError) Unwrap() error { return e.Err }
