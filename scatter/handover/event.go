package handover

// EventKind is what a driver tells the core.
type EventKind uint8

const (
	EvPrepared     EventKind = iota // target's QEMU waits
	EvBulkDone                      // target has confirmed all its blocks
	EvStopped                       // source VM is stopped for its switch-over
	EvLoaded                        // target's QEMU has loaded everything
	EvFilled                        // target's QEMU lacks no page any more
	EvVerified                      // both sides have the same disks, and the same RAM if that was digested
	EvLogged                        // the record that the event names is on disk
	EvCompleted                     // source QEMU reports completed
	EvRunning                       // target says that its QEMU runs the VM
	EvRefused                       // target says that it has not run the VM; it holds it still, unless its QEMU has ended
	EvSourceRuns                    // the source has the VM, as it was before
	EvSourceUnsure                  // the source QEMU does not answer, or is gone
	EvSourceGone                    // the source QEMU's process has ended
	EvPoweredOff                    // the guest has powered itself off, its QEMU is there
	EvFailed                        // this VM cannot go on; err says why
	EvStalled                       // it dirties memory faster than the link can carry
	EvTargetLost                    // host is lost
	EvSilent                        // the target has not answered Run
	EvUnfilled                      // the target, which runs the VM without some of its pages, does not take them any more
	EvOverdue                       // what the event's state waits for has not come
	EvVerdict                       // both sides were asked
	EvCancel                        // the operator, or the time-out
	EvDeadline                      // what is left would take until the time by which the host is to be empty
)

var eventNames = [...]string{"prepared", "bulk-done", "stopped", "loaded", "filled", "verified", "logged", "completed", "running",
	"refused", "source-runs", "source-unsure", "source-gone", "powered-off", "failed", "stalled", "target-lost", "silent", "unfilled", "overdue", "verdict", "cancel", "deadline"}

func (k EventKind) String() string { return eventNames[k] }

// Event is what a driver tells the core.
type Event struct {
	Kind    EventKind
	VM      int        // all but EvTargetLost, EvCancel and EvDeadline
	Host    int        // EvTargetLost
	Record  RecordKind // EvLogged, and EvFailed where a record could not be written
	State   State      // EvOverdue
	Verdict Verdict    // EvVerdict
	Lacks   bool       // EvLoaded: it has not loaded all of it, for it takes over before it has all pages
	Err     error      // why, where something went wrong
}

// actionKind is what the core asks of the drivers.
type actionKind uint8

const (
	AcPrepare    actionKind = iota // ask the target to make room
	AcBulk                         // all targets stand: send the contents (once, no VM)
	AcConverge                     // start QEMU's migration through the filter
	AcPause                        // stop the source VM so that it converges
	AcTakeOver                     // have it take over without what remains, as soon as it can; stop it where it may not
	AcVerify                       // compare disks, and digest if wanted, on both sides
	AcLog                          // write record to the journal, answer EvLogged or EvFailed
	AcRelease                      // give SHUT(0) to the source QEMU
	AcRun                          // send Run to the target
	AcFill                         // send a VM that runs on its target what it lacks, unless that is being done; the target says when it has it
	AcSweep                        // all that bulk has of a VM that is being filled is there: send it the rest
	AcResolve                      // ask both sides, answer EvVerdict
	AcAbort                        // cancel the migration, see that the source has the VM, then tell the target to forget it
	AcForget                       // tell the target to forget a VM that has ended
	AcResume                       // cont on the completed source, then tell the target to forget it
	AcQuitSource                   // the VM lives on the target: end the source QEMU
	AcFinal                        // the VM has reached a final state
)

var actionNames = [...]string{"prepare", "bulk", "converge", "pause", "take-over", "verify", "log", "release", "run", "fill", "sweep", "resolve",
	"abort", "forget", "resume", "quit-source", "final"}

func (k actionKind) String() string { return actionNames[k] }

// Action is what the core asks of a driver.
type Action struct {
	Kind   actionKind
	VM     int
	Record RecordKind // AcLog
	Run    bool       // AcResolve: Run may have been sent
	Away   bool       // AcResume: the target is lost
	Err    error      // AcAbort, AcResume, AcFinal: why
}
