package stream

import (
	"bytes"
	"encoding/binary"
)

// RunStateFinder is a writer that finds, in the device state that passes through it, the run state that the VM had when its source
// stopped it: what QEMU stores in section "globalstate" (migration/global_state.c) and the target's QEMU takes over. Nothing else
// tells it: events and query-status may be late by a manager's stop.
//
// The section is among the last of a stream. Should device state that a guest has shaped hold an imitation, the last one counts.
// The zero value is ready.
type RunStateFinder struct {
	window []byte // the end of what was received: less than a section
	state  string
}

const (
	runStateBuffer  = 100                             // bytes of the state's buffer
	runStateSection = 5 + 12 + 8 + 4 + runStateBuffer // type and id, name, instance and version, length of the state, the buffer
	maxRunState     = 32                              // bytes of a run state that is one
)

// runStateName is what follows the section's id: name, instance 0, version 1.
var runStateName = []byte("\x0bglobalstate\x00\x00\x00\x00\x00\x00\x00\x01")

// Write looks at the next bytes; it takes them all and never fails.
func (f *RunStateFinder) Write(b []byte) (int, error) {
	f.window = append(f.window, b...)
	at := 0
	for {
		i := bytes.Index(f.window[at:], runStateName)
		if i < 0 {
			break
		}
		at += i
		if len(f.window)-at < runStateSection-5 {
			break // the rest is still to come
		}
		f.take(at)
		at++
	}
	keep := max(0, len(f.window)-2*runStateSection)
	f.window = append(f.window[:0], f.window[keep:]...)
	return len(b), nil
}

// take reads the section whose name begins at an offset, if it is one.
func (f *RunStateFinder) take(at int) {
	if at < 5 || f.window[at-5] != typeFull {
		return
	}
	body := f.window[at+len(runStateName):]
	n := binary.BigEndian.Uint32(body) // with its NUL
	if n < 2 || n > maxRunState {
		return
	}
	state, rest := body[4:4+n-1], body[4+n-1:]
	if rest[0] != 0 || bytes.ContainsFunc(state, func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') }) {
		return
	}
	f.state = string(state)
}

// State is the run state in QEMU's words, such as running, paused or suspended; "" when none has passed.
func (f *RunStateFinder) State() string { return f.state }
