package scatter

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
)

// leftOut warns of pages that bulk could not send, whose VMs are no worse off than that converge sends these.
func (e *run) leftOut(pages int, err error) {
	e.tell(model.Event{Type: "warning", Message: fmt.Sprintf("bulk: %d pages are left to the control path: %v", pages, err)})
}

// bulkWorkers is how many make blocks.
func (e *run) bulkWorkers() int { return min(e.cfg.processors(), mostWorkers) }

// expectedRate is what a plan counts on, in bytes/s: the given rate, else what an automatic one will find on the interface; 0 = not known.
func (e *run) expectedRate() int64 {
	if e.cfg.Rate > 0 {
		return e.cfg.Rate
	}
	return int64(autoUse * float64(linkSpeed(os.DirFS("/"), e.cfg.Interface)))
}

// rate is the present ceiling in bytes/s.
func (e *run) rate() int64 {
	r, _ := e.pacer.Rate()
	return r
}

func (e *run) name() string { return hex.EncodeToString(e.id[:]) }

// tell reports progress to the caller.
func (e *run) tell(ev model.Event) {
	ev.Time = time.Now()
	switch ev.Type {
	case "stage":
		e.log.Info("stage", "stage", ev.Stage)
	case "vm":
		e.log.Info("vm", "vm", ev.VM, "host", ev.Host, "stage", ev.Stage, "message", ev.Message)
	case "warning":
		e.log.Warn(ev.Message, "vm", ev.VM, "host", ev.Host)
		e.warnings.add(ev.Named())
	}
	if e.cfg.Events != nil {
		e.warnings.mu.Lock()
		defer e.warnings.mu.Unlock()
		e.cfg.Events(ev)
	}
}

// post hands an event to the core.
func (e *run) post(ev handover.Event) { e.inbox.put(ev) }

// warnings collects what the report repeats; mu also keeps the caller's Events from being called twice at once.
type warnings struct {
	mu   sync.Mutex
	list []string
}

func (w *warnings) add(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.list) < 100 {
		w.list = append(w.list, s)
	}
}

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

const mostWorkers = 4
