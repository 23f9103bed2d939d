package move

import (
	"sync"
	"sync/atomic"

	"github.com/scatter-vm/scatter/scatter/carry"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/fill"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/standstill"
	"github.com/scatter-vm/scatter/scatter/trace"
)

// Evacuation is one run of the source side, to its end. It is the last of the stages, each of which has what the one before it has found, and its
// own: run ← Party ← inquiry ← Scanned ← Planned ← Carriage ← Evacuation.
type Evacuation struct {
	carry.Carriage
	migrants   []*migrant  // by VM
	moving     atomic.Bool // migrants does not change any more
	core       *handover.Core
	trace      *trace.Tracer
	standstill standstill.Keeper
	exposed    fill.Exposure // by VMs that run on their targets and lack pages

	meter    meter
	digestMu sync.Mutex // guards digestOf
	digestOf map[int]chan control.Digested
}

// The drivers of an evacuation, by what they do.
type (
	converging  struct{ *Evacuation } // a VM's stream to its target
	checking    struct{ *Evacuation } // a stopped VM against its copy
	handing     struct{ *Evacuation } // a VM over, or back
	mirroring   struct{ *Evacuation } // a VM's disks, while it runs and after
	postCopying struct{ *Evacuation } // a VM over before its memory, and that after it
	hurrying    struct{ *Evacuation } // to a deadline
	watching    struct{ *Evacuation } // what becomes of source VMs by themselves
	reporting   struct{ *Evacuation } // to the operator
)
