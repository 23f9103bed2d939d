package handover

import "cmp"

// Runs tells whether a VM in this run state is to be continued: its guest can wake a suspended one.
func Runs(state string) bool { return state == "running" || state == "suspended" }

// Standing is how a VM stood that scatter may have stopped.
type Standing struct {
	AtSwitch string // run state at the switch-over, in QEMU's words; "" before
	Paused   bool   // it did not run when it was last seen before the switch-over
	ByUs     bool   // scatter has stopped it, so that it converges
}

// LeftPaused tells whether others than scatter had stopped the VM.
func (s Standing) LeftPaused() bool {
	if s.AtSwitch != "" {
		return !Runs(s.AtSwitch) && !s.ByUs
	}
	return s.Paused && !s.ByUs
}

// ToRun is the run state that the VM is to have on its target.
func (s Standing) ToRun() string {
	if s.LeftPaused() {
		return cmp.Or(s.AtSwitch, "paused")
	}
	return "running"
}

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

// Standing tells whether others than scatter had stopped the VM.
func (h *History) Standing() Standing {
	return Standing{AtSwitch: h.state, Paused: h.Last.Paused, ByUs: h.Seen[RecPause]}
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
