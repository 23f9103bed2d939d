package qemu

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrMonitorClosed is in the chain of every error that a Client returns after its connection ended, be it by
	// Close or because QEMU went away.
	ErrMonitorClosed = errors.New("monitor closed")
	// ErrMonitorBusy says that something listens on the QMP socket but sent no greeting in time. QEMU serves one
	// client per monitor, so most often another client holds it.
	ErrMonitorBusy = errors.New("no greeting: another client may hold the monitor")
	// ErrNoAddress says that QEMU did not tell where in its address space a RAM block lies.
	ErrNoAddress = errors.New("host address unknown")
	// ErrProcessGone says that the process whose memory was used has ended.
	ErrProcessGone = errors.New("process ended")
)

// QMPError is QEMU's refusal of a command.
type QMPError struct {
	Command string // command that was refused
	Class   string // QEMU's error class, such as GenericError or CommandNotFound
	Desc    string // QEMU's text for humans
}

func (e *QMPError) Error() string {
	return fmt.Sprintf("qmp %s: %s (%s)", e.Command, e.Desc, e.Class)
}

// ProtocolError is a message that no QEMU sends. The connection is closed with it.
type ProtocolError struct {
	Socket string
	Err    error
}

func (e *ProtocolError) Error() string { return fmt.Sprintf("qmp socket %s: %v", e.Socket, e.Err) }
func (e *ProtocolError) Unwrap() error { return e.Err }

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

// PolicyError is an option of a command line that the launch policy refuses.
type PolicyError struct {
	Option string // such as -netdev, or "binary"
	Value  string // the part of its value that was judged, shortened
	Reason string
}

func (e *PolicyError) Error() string { return "launch policy: " + e.text() }

func (e *PolicyError) text() string {
	if e.Value == "" {
		return fmt.Sprintf("%s: %s", e.Option, e.Reason)
	}
	return fmt.Sprintf("%s %q: %s", e.Option, e.Value, e.Reason)
}

// maxRefusals is how many refusals are spelled out.
const maxRefusals = 20

// PolicyErrors are all options of one command line that the launch policy refuses, at least one.
type PolicyErrors []*PolicyError

func (e PolicyErrors) Error() string {
	var words []string
	for _, one := range e[:min(len(e), maxRefusals)] {
		words = append(words, one.text())
	}
	if more := len(e) - maxRefusals; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return "launch policy: " + strings.Join(words, "; ")
}

// Unwrap gives each of them.
func (e PolicyErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// refusals takes an error of the policy apart.
func refusals(err error) PolicyErrors {
	switch e := err.(type) {
	case nil:
		return nil
	case *PolicyError:
		return PolicyErrors{e}
	case interface{ Unwrap() []error }:
		var all PolicyErrors
		for _, one := range e.Unwrap() {
			all = append(all, refusals(one)...)
		}
		return all
	}
	return PolicyErrors{{Option: "command line", Reason: err.Error()}}
}

// LaunchError is a QEMU, or an operator's launcher, that did not come up.
type LaunchError struct {
	Name string
	Err  error
	Tail string // last lines of what it wrote to stderr
}

func (e *LaunchError) Error() string {
	if e.Tail == "" {
		return fmt.Sprintf("vm %s: launch: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("vm %s: launch: %v; it said: %s", e.Name, e.Err, e.Tail)
}

func (e *LaunchError) Unwrap() error { return e.Err }
