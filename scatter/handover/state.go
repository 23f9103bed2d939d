package handover

import "fmt"

// State is where one VM is on its way. The diagram shows the way forward; every state above the line goes back through aborting.
// Whatever goes wrong once the target may have all of it is resolved: both sides are asked, and the table (Decide) says what to do.
//
//	planned -> preparing -> prepared -> ready -> converging -> switching -> verifying -> committing
//	                                                                                       |
//	   stays, ended <- aborting <- (failure, target lost, cancel, stall)                    v
//	   stays <- reverting <- undoing <- (target lost before Run, refusal) <- starting <- released
//	                                                                            |
//	   any of these, doubt <- resolving <- (a side is silent or gone)           v
//	                                                                         launched -> [filling] -> arriving -> evacuated
//
// A VM that takes over before it has all of its pages (post-copy) is filling until it has them: its source is as good as part of it, and is
// neither ended nor run.
type State uint8

const (
	Planned    State = iota // in the plan, its target was not asked yet
	Preparing               // the target makes room and starts its QEMU
	Prepared                // the target's QEMU waits; bulk runs or is about to
	Ready                   // bulk is confirmed; waits for a converge slot
	Converging              // QEMU's stream runs through the filter
	Switching               // the source VM is stopped for the switch-over, its last bytes are on their way
	Verifying               // both sides compare the VM's disks and, if wanted, digest its RAM
	Committing              // the commit record is being written
	Released                // the source QEMU was told that the target has it all
	Starting                // the run record is being written
	Launched                // Run was sent
	Filling                 // it runs on the target and lacks pages, which come from the source
	Arriving                // it runs on the target; the record of that is being written
	Resolving               // one side is silent or gone: both are asked
	Aborting                // the source takes the VM back before commit
	Undoing                 // the abort record is being written, after commit
	Reverting               // the source is told to run again, after commit
	Evacuated               // final: runs on the target
	Stays                   // final: is on the source
	Ended                   // final: runs nowhere, it has ended by itself
	Doubt                   // final: the operator must look
)

var vmStateNames = [...]string{"planned", "preparing", "bulk", "ready", "converge", "switch-over", "verify", "commit",
	"released", "starting", "run", "filling", "arriving", "resolving", "aborting", "undoing", "reverting", "evacuated", "on-source", "ended", "in-doubt"}

func (s State) String() string {
	if int(s) < len(vmStateNames) {
		return vmStateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

func (s State) final() bool { return s >= Evacuated }

// inConverge tells whether a VM in this state takes one of the converge slots.
func (s State) inConverge() bool { return s >= Converging && s <= Reverting }

// retreats tells whether a failure in this state is answered by aborting: commit
// was not logged, so the source QEMU goes on by itself.
func (s State) retreats() bool { return s <= Verifying }
