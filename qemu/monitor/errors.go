package monitor

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is in the chain of every error that a Conn returns after its connection ended, be it by
	// Close or because QEMU went away.
	ErrClosed = errors.New("monitor closed")
	// ErrBusy says that something listens on the QMP socket but sent no greeting in time. QEMU serves one
	// client per monitor, so most often another client holds it.
	ErrBusy = errors.New("no greeting: another client may hold the monitor")
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
