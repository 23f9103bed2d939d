package handover

import "cmp"

// Runs tells whether a VM in this run state is to be continued: its guest can wake a suspended one.
func Runs(state string) bool { return state == "running" || state == "suspended" }

// History is what a journal tells of one VM.
type History struct {
	Last     Record
	Seen     map[RecordKind]bool
	state    string // run state at the switch-over; "" before
	Settings Record // with the migration settings that QEMU had; of kind "" if they were not changed
}

// Open tells whether the journal of a source says that the VM may be on its way still, or has other settings than it had.
func (h *History) Open() bool {
	switch h.Last.Kind {
	case RecDone:
		return false
	case RecEnded, RecStayed:
		return h.Last.Untold
	}
	return true
}

// Begun tells whether more has been done to the VM than to look at it.
func (h *History) Begun() bool { return h.Last.Kind != RecSettings }

// Converged tells whether its stream may have begun: a target may hold all of it.
func (h *History) Converged() bool {
	return h.Seen[RecConverge] || h.Seen[RecCommit] || h.Seen[RecRun]
}

// LeftPaused tells whether others than scatter had stopped the VM.
func (h *History) LeftPaused() bool {
	if h.state != "" {
		return !Runs(h.state) && !h.Seen[RecPause]
	}
	return h.Last.Paused && !h.Seen[RecPause]
}

// StateToRun is the run state that the VM is to have on its target.
func (h *History) StateToRun() string {
	if h.LeftPaused() {
		return cmp.Or(h.state, "paused")
	}
	return "running"
}

// Histories sorts records by VM, in the order of their first record. The source knows a VM by its name: numbers are
// given anew when others leave the evacuation.
func Histories(records []Record) (vms []*History, begin Record) {
	type key struct {
		peer, evacuation, name string
		vm                     int // of a target's record, or one without a name
	}
	byVM := make(map[key]*History)
	for _, r := range records {
		if r.Kind == RecBegin || r.Kind == RecEnd {
			begin = r
			continue
		}
		k := key{r.Peer, r.Evacuation, r.Name, 0}
		if r.Name == "" || r.Peer != "" {
			k.name, k.vm = "", r.VM
		}
		h := byVM[k]
		if h == nil {
			h = &History{Seen: make(map[RecordKind]bool)}
			byVM[k] = h
			vms = append(vms, h)
		}
		h.Last = r
		h.Seen[r.Kind] = true
		h.state = cmp.Or(r.State, h.state)
		if r.Kind == RecSettings {
			h.Settings = r
		}
	}
	return vms, begin
}

// StateToRun is the run state that a target's record of Run asks for.
func (r Record) StateToRun() string {
	if r.Paused {
		return "paused"
	}
	return "running"
}
