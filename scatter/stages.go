package scatter

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/ledger"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// What the stages of an evacuation hand on. Each is what the one before it has found, and its own: a stage knows nothing of those after it.
//
//	run ← party ← inquiry ← scanned ← planned ← carriage ← evacuation

// run is one evacuation, as all its stages know it.
type run struct {
	cfg     SendConfig
	log     *slog.Logger
	id      [8]byte
	started time.Time
	pacer   *multicast.Pacer // all that leaves the source
	journal *journal.Journal

	inbox        mailbox // what happens, for the core; also before it begins
	warnings     warnings
	controlBytes atomic.Int64 // all connections, below TLS
}

// party is who takes part.
type party struct {
	run
	vms      []*sourceVM // that move
	stays    []stayer    // that do not
	links    []*wire.Link
	listener wire.Listener // for what targets say

	unsettled bool // a VM that stays has other settings than it had
}

// inquiry is which targets would take which VMs.
type inquiry struct {
	party
	refused refusals
}

// scanned is what the VMs hold.
type scanned struct {
	inquiry
	seed    dedup.Seed
	layout  *dedup.Layout
	regions []region
	index   *dedup.Index
	held    *dedup.Held
	classes []planning.ClassInfo

	pages    model.Pages
	pagesOf  []model.Pages
	ownBytes []int64
	hot      []int64       // pages by VM
	gap      time.Duration // between the looks that found them
	read     atomic.Int64  // bytes, by the scan that is under way
}

// planned is where VMs go, and how their contents get there.
type planned struct {
	scanned
	posed    *planning.Problem
	passed   []string // rules that do not apply
	schedule *planning.Schedule
	public   *planning.Plan
}

// carriage is how contents get to the targets.
type carriage struct {
	planned
	sender    *multicast.Sender
	tracker   *ledger.Tracker
	toTargets atomic.Pointer[multicast.Sender] // sender, for the goroutines of the links
}

// evacuation is one run of the source side, to its end.
type evacuation struct {
	carriage
	migrants   []*migrant  // by VM
	moving     atomic.Bool // migrants does not change any more
	core       *handover.Core
	trace      *tracer
	standstill standstill

	convergeBytes atomic.Int64
	digestMu      sync.Mutex // guards digestOf
	digestOf      map[int]chan control.Digested
}

// The drivers of an evacuation, by what they do.
type (
	converging struct{ *evacuation } // a VM's stream to its target
	checking   struct{ *evacuation } // a stopped VM against its copy
	handing    struct{ *evacuation } // a VM over, or back
	watching   struct{ *evacuation } // what becomes of source VMs by themselves
	reporting  struct{ *evacuation } // to the operator
)
