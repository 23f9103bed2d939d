package scatter

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
)

// openJournal begins the evacuation's journal. Nothing is changed on a VM before that.
func (e *party) openJournal() error {
	var err error
	e.journal, _, err = journal.Open(filepath.Join(e.cfg.RunDir, "send-"+e.name()+".journal"))
	if err != nil {
		return err
	}
	return e.journal.Append(handover.Record{Kind: handover.RecBegin, Evacuation: e.name(), TLSDir: e.cfg.TLSDir})
}

func (e *party) record(v *sourceVM, k handover.RecordKind) error {
	return e.journal.Append(e.recordOf(v, k))
}

func (e *party) recordOf(v *sourceVM, k handover.RecordKind) handover.Record {
	r := handover.Record{Kind: k, VM: v.index, Name: v.name(), Socket: v.vm.Socket, PID: v.vm.PID, Start: v.vm.StartTime,
		Paused: !handover.Runs(v.vm.Status), Host: e.hostName(v.host)}
	if k == handover.RecSettings {
		r.Caps, r.Params = v.caps, settingsText(v.params)
	}
	if v.host >= 0 {
		r.Address = e.links[v.host].Target.String()
	}
	return r
}

// recordStays closes what the journal says of a VM that leaves the evacuation before anything was done to it but to look at it. If its
// settings could not be put back, recovery does that.
func (e *party) recordStays(v *sourceVM) {
	switch {
	case v.unsettled():
		e.unsettled = true
	case e.journal != nil:
		if err := e.journal.Append(e.recordOf(v, handover.RecStayed)); err != nil {
			e.unsettled = true
		}
	}
}

// stillOpen finds, for each VM, whether an earlier evacuation has left it open, or another one is moving it now: what became of it must
// be decided first.
func (e *party) stillOpen() ([][]model.Blocker, error) {
	why := make([][]model.Blocker, len(e.vms))
	paths, err := filepath.Glob(filepath.Join(e.cfg.RunDir, "send-*.journal"))
	if err != nil {
		return nil, fmt.Errorf("run directory %s: %w", e.cfg.RunDir, err)
	}
	for _, path := range paths {
		if e.journal != nil && path == e.journal.Path {
			continue
		}
		records, busy, err := journal.Peek(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			return nil, &model.BlockedError{Blockers: []model.Blocker{{Problem: err.Error(), Remedy: "look at it, then move it away"}}}
		}
		vms, _ := handover.Histories(records)
		for i, v := range e.vms {
			if slices.ContainsFunc(vms, func(h *handover.History) bool { return h.Open() && speaksOf(h, v) }) {
				why[i] = append(why[i], openBlocker(v.name(), path, busy, e.cfg.RunDir))
			}
		}
	}
	return why, nil
}

// speaksOf tells whether the journal speaks of the process that this VM is now.
func speaksOf(h *handover.History, v *sourceVM) bool {
	return h.Last.PID == v.vm.PID && (h.Last.Start == 0 || h.Last.Start == v.vm.StartTime)
}

func openBlocker(vm, path string, busy bool, runDir string) model.Blocker {
	id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "send-"), ".journal")
	if busy {
		return model.Blocker{VM: vm, Problem: "evacuation " + id + " is moving it now", Remedy: "wait for its end"}
	}
	return model.Blocker{VM: vm, Problem: "evacuation " + id + " was broken off and has left it open",
		Remedy: "run 'scatter recover --run-dir " + runDir + "' first"}
}

// settingsText is migration parameters as a record keeps them.
func settingsText(p qemu.Parameters) json.RawMessage {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it has nothing that JSON cannot say
	}
	return b
}
