package move

import (
	"fmt"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
)

func (e *Evacuation) record(v *migrant, k handover.RecordKind) error {
	return e.Journal.Append(e.recordOf(v, k))
}

// recordOf is a record of a VM that moves, as it stands now.
func (e *Evacuation) recordOf(v *migrant, k handover.RecordKind) handover.Record {
	r := e.Party.RecordOf(v.VM, k)
	v.mu.Lock()
	defer v.mu.Unlock()
	r.Paused, r.State = !handover.Runs(v.found), v.atSwitch
	r.PostCopy = v.tookOver.Load() && v.filled.IsZero()
	r.Keep = k == handover.RecDone && e.Cfg.KeepSource
	return r
}

// endJournal writes the final records and, when nothing is open, removes the journal.
func (e *Evacuation) endJournal() {
	if e.Journal == nil {
		return
	}
	clear := !e.Unsettled
	for i := range e.VMs {
		clear = e.recordFinal(i) && clear
	}
	if clear && e.Journal.Append(handover.Record{Kind: handover.RecEnd}) == nil {
		_ = e.Journal.Remove()
	}
}

// recordFinal writes the final record of a VM, and tells whether nothing is open with it.
func (e *Evacuation) recordFinal(vm int) (clear bool) {
	if e.core == nil { // nothing was moved
		return !e.VMs[vm].Unsettled()
	}
	v := e.migrants[vm]
	switch e.core.VMs[vm].State {
	case handover.Evacuated:
		_ = e.record(v, handover.RecDone)
		return !v.lingers.Load() && !(e.Cfg.KeepSource && v.Unsettled())
	case handover.Ended:
		return !e.recordEnd(v, handover.RecEnded)
	case handover.Stays:
		return !e.recordEnd(v, handover.RecStayed) && !v.Unsettled()
	}
	return false
}

// recordEnd writes the final record of a VM that has not moved, and tells whether its target was not told.
func (e *Evacuation) recordEnd(v *migrant, k handover.RecordKind) (untold bool) {
	r := e.recordOf(v, k)
	r.Untold = e.untold(v)
	_ = e.Journal.Append(r)
	return r.Untold
}

// untold tells whether a VM that has not moved may be held by a target that was lost, and says what to do then: the target waits for
// our word, with the VM's name and room taken.
func (e *Evacuation) untold(v *migrant) bool {
	v.mu.Lock()
	converged := v.ended != nil
	v.mu.Unlock()
	if !converged || e.core.VMs[v.Index].Lost == nil {
		return false
	}
	e.Tell(model.Event{Type: "warning", VM: v.Name(), Host: e.HostName(v.Host), Message: fmt.Sprintf("vm %s has not moved, but %s was lost and may hold it, paused: "+
		"when that host is back, 'scatter recover --run-dir %s' makes it forget the VM", v.Name(), e.HostName(v.Host), e.Cfg.RunDir)})
	return true
}
