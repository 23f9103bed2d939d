package scatter

import (
	"fmt"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
)

func (e *evacuation) record(v *migrant, k handover.RecordKind) error {
	return e.journal.Append(e.recordOf(v, k))
}

// recordOf is a record of a VM that moves, as it stands now.
func (e *evacuation) recordOf(v *migrant, k handover.RecordKind) handover.Record {
	r := e.party.recordOf(v.sourceVM, k)
	v.mu.Lock()
	defer v.mu.Unlock()
	r.Paused, r.State = !handover.Runs(v.found), v.atSwitch
	r.Keep = k == handover.RecDone && e.cfg.KeepSource
	return r
}

// endJournal writes the final records and, when nothing is open, removes the journal.
func (e *evacuation) endJournal() {
	if e.journal == nil {
		return
	}
	clear := !e.unsettled
	for i := range e.vms {
		clear = e.recordFinal(i) && clear
	}
	if clear && e.journal.Append(handover.Record{Kind: handover.RecEnd}) == nil {
		_ = e.journal.Remove()
	}
}

// recordFinal writes the final record of a VM, and tells whether nothing is open with it.
func (e *evacuation) recordFinal(vm int) (clear bool) {
	if e.core == nil { // nothing was moved
		return !e.vms[vm].unsettled()
	}
	v := e.migrants[vm]
	switch e.core.VMs[vm].State {
	case handover.Evacuated:
		_ = e.record(v, handover.RecDone)
		return !v.lingers.Load() && !(e.cfg.KeepSource && v.unsettled())
	case handover.Ended:
		return !e.recordEnd(v, handover.RecEnded)
	case handover.Stays:
		return !e.recordEnd(v, handover.RecStayed) && !v.unsettled()
	}
	return false
}

// recordEnd writes the final record of a VM that has not moved, and tells whether its target was not told.
func (e *evacuation) recordEnd(v *migrant, k handover.RecordKind) (untold bool) {
	r := e.recordOf(v, k)
	r.Untold = e.untold(v)
	_ = e.journal.Append(r)
	return r.Untold
}

// untold tells whether a VM that has not moved may be held by a target that was lost, and says what to do then: the target waits for
// our word, with the VM's name and room taken.
func (e *evacuation) untold(v *migrant) bool {
	v.mu.Lock()
	converged := v.ended != nil
	v.mu.Unlock()
	if !converged || e.core.Lost[v.host] == nil {
		return false
	}
	e.tell(model.Event{Type: "warning", VM: v.name(), Host: e.hostName(v.host), Message: fmt.Sprintf("vm %s has not moved, but %s was lost and may hold it, paused: "+
		"when that host is back, 'scatter recover --run-dir %s' makes it forget the VM", v.name(), e.hostName(v.host), e.cfg.RunDir)})
	return true
}
