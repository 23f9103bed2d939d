package source

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
func (e *Party) openJournal() error {
	var err error
	e.Journal, _, err = journal.Open(filepath.Join(e.Cfg.RunDir, "send-"+e.Name()+".journal"))
	if err != nil {
		return err
	}
	return e.Journal.Append(handover.Record{Kind: handover.RecBegin, Evacuation: e.Name(), TLSDir: e.Cfg.TLSDir})
}

func (e *Party) record(v *VM, k handover.RecordKind) error {
	return e.Journal.Append(e.RecordOf(v, k))
}

// RecordOf is a record of a VM, as it was found.
func (e *Party) RecordOf(v *VM, k handover.RecordKind) handover.Record {
	r := handover.Record{Kind: k, VM: v.Index, Name: v.Name(), Socket: v.Facts.Socket, PID: v.Facts.PID, Start: v.Facts.StartTime,
		Paused: !handover.Runs(v.Facts.Status), Host: e.HostName(v.Host)}
	if k == handover.RecSettings {
		had := v.Settings()
		r.Caps, r.Params = had.Caps, settingsText(had.Params)
	}
	if v.Host >= 0 {
		r.Address = e.Links[v.Host].Target.String()
	}
	return r
}

// recordStays closes what the journal says of a VM that leaves the evacuation before anything was done to it but to look at it. If its
// settings could not be put back, recovery does that.
func (e *Party) recordStays(v *VM) {
	switch {
	case v.Unsettled():
		e.Unsettled = true
	case e.Journal != nil:
		if err := e.Journal.Append(e.RecordOf(v, handover.RecStayed)); err != nil {
			e.Unsettled = true
		}
	}
}

// StillOpen finds, for each VM, whether an earlier evacuation has left it open, or another one is moving it now: what became of it must
// be decided first.
func (e *Party) StillOpen() ([][]model.Blocker, error) {
	why := make([][]model.Blocker, len(e.VMs))
	paths, err := filepath.Glob(filepath.Join(e.Cfg.RunDir, "send-*.journal"))
	if err != nil {
		return nil, fmt.Errorf("run directory %s: %w", e.Cfg.RunDir, err)
	}
	for _, path := range paths {
		if e.Journal != nil && path == e.Journal.Path {
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
		for i, v := range e.VMs {
			if slices.ContainsFunc(vms, func(h *handover.History) bool { return h.Open() && speaksOf(h, v) }) {
				why[i] = append(why[i], openBlocker(v.Name(), path, busy, e.Cfg.RunDir))
			}
		}
	}
	return why, nil
}

// speaksOf tells whether the journal speaks of the process that this VM is now.
func speaksOf(h *handover.History, v *VM) bool {
	return h.Last.PID == v.Facts.PID && (h.Last.Start == 0 || h.Last.Start == v.Facts.StartTime)
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
