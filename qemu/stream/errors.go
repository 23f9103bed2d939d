package stream

import (
	"errors"
	"fmt"
)

// Conditions that are the caller's.
var (
	ErrTailPending = errors.New("stream: the tail has to be read with Tail")
	ErrNoTail      = errors.New("stream: no tail at this point")
	ErrSectionOpen = errors.New("stream: a section is open")
	ErrNoSection   = errors.New("stream: no ram section is open")
	ErrNoRAM       = errors.New("stream: the ram section is not known yet")
)

// RefusedError reports a well-formed stream that uses something whose end or meaning this package does not know.
type RefusedError struct {
	What   string // the section, capability or command at fault
	Offset uint64 // position in the stream, bytes
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("migration stream offset %d: %s is not supported", e.Offset, e.What)
}

// FormatError reports bytes that no QEMU sends.
type FormatError struct {
	What   string // the noun at fault and why
	Offset uint64 // position in the stream, bytes
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("migration stream offset %d: %s", e.Offset, e.What)
}
