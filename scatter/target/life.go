package target

import (
	"fmt"
	"sync"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/journal"
)

// guestState is where a target stands with a VM.
//
//	starting -> waiting -> streaming -> loaded <-> launching -> [filling] -> running -> ended
//	    \          \           \          \
//	     ------------------------------------> aborted
//
// From loaded on only the source's word changes the state, whatever happens to the connection. A QEMU that refuses to run the VM leaves
// it loaded: the copy may be the only one.
type guestState uint8

const (
	guestStarting  guestState = iota // QEMU is being started
	guestWaiting                     // takes bulk pages
	guestStreaming                   // takes the filtered stream; bulk pages come too late
	guestLoaded                      // complete and paused
	guestLaunching                   // Run was received, QEMU has not said yet that it runs
	guestFilling                     // it lives here, and lacks pages that its source has
	guestRunning                     // it lives here
	guestEnded                       // it has lived here, and has ended
	guestAborted                     // nothing of it is left, and it never ran
)

func (s guestState) String() string {
	return [...]string{"starting", "waiting", "streaming", "loaded", "launching", "filling", "running", "ended", "aborted"}[s]
}

// life is where a VM stands, and the journal that knows it first. Changes take turns, each of which lasts until its record is on disk;
// whoever only looks waits for none of them.
type life struct {
	journal *journal.Journal
	turn    chan struct{} // held by whoever changes something

	mu    sync.Mutex // guards the fields below, and is held over nothing that waits
	state guestState
	cause error           // why it was given up
	rec   handover.Record // what the next record says of the VM
}

// newLife is that of a VM in its first state. rec says of which.
func newLife(j *journal.Journal, rec handover.Record) *life {
	return &life{journal: j, turn: make(chan struct{}, 1), rec: rec}
}

// stateError says that a VM is not in the state that was to be changed.
type stateError struct{ is guestState }

func (e stateError) Error() string { return fmt.Sprintf("is %s", e.is) }

// now is the state.
func (l *life) now() guestState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// record is what the journal knows of it.
func (l *life) record() handover.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rec
}

// why is the cause for which the VM was given up; nil if it was not.
func (l *life) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// change takes the VM from one state to another, which may be the same, with a record of that kind on disk before; none where the kind is
// empty. amend, if any, says what has become known of the VM. If it is in a third state, that is a stateError.
func (l *life) change(from, to guestState, kind handover.RecordKind, amend func(*handover.Record)) error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.mu.Lock()
	is, rec := l.state, l.rec
	l.mu.Unlock()
	if is != from {
		return stateError{is}
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

// giveUp takes a VM whose state is last at most to aborted, and tells whether it did. It does so too where that cannot be recorded, and
// says why: what was never told to run has not run.
func (l *life) giveUp(cause error, last guestState) (given bool, err error) {
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
	l.state, l.cause = guestAborted, cause
	return true, err
}
