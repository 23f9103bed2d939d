// Package life is where a target stands with a VM, and the journal that knows it first.
package life

import (
	"fmt"
	"sync"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/journal"
)

// State is where a target stands with a VM.
//
//	starting -> waiting -> streaming -> loaded <-> launching -> [filling] -> running -> ended
//	    \          \           \          \
//	     ------------------------------------> aborted
//
// From loaded on only the source's word changes the state, whatever happens to the connection. A QEMU that refuses to run the VM leaves
// it loaded: the copy may be the only one.
type State uint8

const (
	Starting  State = iota // QEMU is being started
	Waiting                // takes bulk pages
	Streaming              // takes the filtered stream; bulk pages come too late
	Loaded                 // complete and paused
	Launching              // Run was received, QEMU has not said yet that it runs
	Filling                // it lives here, and lacks pages that its source has
	Running                // it lives here
	Ended                  // it has lived here, and has ended
	Aborted                // nothing of it is left, and it never ran
)

func (s State) String() string {
	return [...]string{"starting", "waiting", "streaming", "loaded", "launching", "filling", "running", "ended", "aborted"}[s]
}

// Life is where a VM stands, and the journal that knows it first. Changes take turns, each of which lasts until its record is on disk;
// whoever only looks waits for none of them.
type Life struct {
	journal *journal.Journal
	turn    chan struct{} // held by whoever changes something

	mu    sync.Mutex // guards the fields below, and is held over nothing that waits
	state State
	cause error           // Why it was given up
	rec   handover.Record // what the next record says of the VM
}

// New is that of a VM in its first state. rec says of which.
func New(j *journal.Journal, rec handover.Record) *Life {
	return &Life{journal: j, turn: make(chan struct{}, 1), rec: rec}
}

// StateError says that a VM is not in the state that was to be changed.
type StateError struct{ Is State }

func (e StateError) Error() string { return fmt.Sprintf("is %s", e.Is) }

// Resume is for a VM that another process had: it stands there, and that is its last record.
func (l *Life) Resume(s State, rec handover.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.rec = s, rec
}

// Now is the state.
func (l *Life) Now() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Record is what the journal knows of it.
func (l *Life) Record() handover.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rec
}

// Why is the cause for which the VM was given up; nil if it was not.
func (l *Life) Why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Change takes the VM from one state to another, which may be the same, with a record of that kind on disk before; none where the kind is
// empty. amend, if any, says what has become known of the VM. If it is in a third state, that is a StateError.
func (l *Life) Change(from, to State, kind handover.RecordKind, amend func(*handover.Record)) error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.mu.Lock()
	is, rec := l.state, l.rec
	l.mu.Unlock()
	if is != from {
		return StateError{is}
	}
	if kind != "" {
		if rec.Kind = kind; amend != nil {
			amend(&rec)
		}
		if err := l.journal.Append(rec); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.rec = to, rec
	return nil
}

// GiveUp takes a VM whose state is last at most to aborted, and tells whether it did. It does so too where that cannot be recorded, and
// says why: what was never told to run has not run.
func (l *Life) GiveUp(cause error, last State) (given bool, err error) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.mu.Lock()
	is, rec := l.state, l.rec
	l.mu.Unlock()
	if is > last {
		return false, nil
	}
	rec.Kind = handover.RecAbort
	err = l.journal.Append(rec)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.cause = Aborted, cause
	return true, err
}
