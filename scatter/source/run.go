package source

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
)

// run is one evacuation, as all its stages know it.
type run struct {
	Cfg     Config
	Log     *slog.Logger
	ID      [8]byte
	Started time.Time
	Pacer   *multicast.Pacer // all that leaves the source
	Journal *journal.Journal

	giveBack func() // multicast addresses to the outlet

	Inbox        handover.Mailbox // what happens, for the core; also before it begins
	Warnings     warnings
	ControlBytes atomic.Int64 // all connections, below TLS
}

// Release gives back what the evacuation shares with others.
func (e *run) Release() { e.giveBack() }

// LeftOut warns of pages that bulk could not send, whose VMs are no worse off than that converge sends these.
func (e *run) LeftOut(pages int, err error) {
	e.Tell(model.Event{Type: "warning", Message: fmt.Sprintf("bulk: %d pages are left to the control path: %v", pages, err)})
}

// BulkWorkers is how many make blocks.
func (e *run) BulkWorkers() int { return min(e.Cfg.processors(), mostWorkers) }

// Rate is the present ceiling in bytes/s.
func (e *run) Rate() int64 {
	r, _ := e.Pacer.Rate()
	return r
}

// Name is the evacuation's number, in hexadecimal digits.
func (e *run) Name() string { return hex.EncodeToString(e.ID[:]) }

// Tell reports progress to the caller.
func (e *run) Tell(ev model.Event) {
	ev.Time = time.Now()
	switch ev.Type {
	case "stage":
		e.Log.Info("stage", "stage", ev.Stage)
	case "vm":
		e.Log.Info("vm", "vm", ev.VM, "host", ev.Host, "stage", ev.Stage, "message", ev.Message)
	case "warning":
		e.Log.Warn(ev.Message, "vm", ev.VM, "host", ev.Host)
		e.Warnings.add(ev.Named())
	}
	if e.Cfg.Events != nil {
		e.Warnings.Mu.Lock()
		defer e.Warnings.Mu.Unlock()
		e.Cfg.Events(ev)
	}
}

// Post hands an event to the core.
func (e *run) Post(ev handover.Event) { e.Inbox.Put(ev) }

// warnings collects what the report repeats; Mu also keeps the caller's Events from being called twice at once.
type warnings struct {
	Mu   sync.Mutex
	List []string
}

func (w *warnings) add(s string) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	if len(w.List) < 100 {
		w.List = append(w.List, s)
	}
}

// mostWorkers bounds those who make blocks: what is being made at one time is bounded, and with it its memory.
const mostWorkers = 4
