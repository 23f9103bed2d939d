package scatter

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// region is one RAM block of one VM in the numbering of package dedup.
type region struct {
	vm     int
	block  int // in the VM's stream
	memory int // in its qemu.Memory
}

// Evacuate moves the VMs and returns what became of each. It returns an error only when nothing was moved;
// *BlockedError lists the reasons. Once VMs move, failures are in the report.
//
// When ctx ends, VMs that are not yet switched over stay on the source, and Evacuate returns when
// they are known to run there.
func Evacuate(ctx context.Context, cfg SendConfig) (*model.Report, error) {
	if cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, cfg.Timeout, fmt.Errorf("the time-out of %v is over", cfg.Timeout))
		defer cancel()
	}
	e, err := newEvacuation(cfg)
	if err != nil {
		return nil, err
	}
	defer e.close()
	if err := e.prepare(ctx); err != nil {
		return nil, err
	}
	if err := e.move(ctx); err != nil {
		return nil, err
	}
	return reporting{e}.report(), nil
}

// MakePlan does all that Evacuate does before anything moves, and returns the plan.
func MakePlan(ctx context.Context, cfg SendConfig) (*planning.Plan, error) {
	e, err := newEvacuation(cfg)
	if err != nil {
		return nil, err
	}
	defer e.close()
	err = e.prepare(ctx)
	var blocked *model.BlockedError
	if errors.As(err, &blocked) {
		if e.public == nil {
			e.public = &planning.Plan{Format: planning.PlanFormat}
		}
		e.public.Blockers, e.public.Stays = blocked.Blockers, e.blockers()
		return e.public, err
	}
	if err != nil {
		return nil, err
	}
	return e.public, nil
}

func newEvacuation(cfg SendConfig) (*evacuation, error) {
	var id, seed [8]byte
	rand.Read(id[:])
	rand.Read(seed[:])
	if !cfg.GroupBase.IsValid() {
		cfg.GroupBase = ownGroups(id, cfg.MaxGroups)
	}
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	e := &evacuation{digestOf: make(map[int]chan control.Digested)}
	e.run = run{cfg: cfg, log: cfg.Log, id: id, started: time.Now()}
	e.listener = e
	e.seed = dedup.Seed(binary.LittleEndian.Uint64(seed[:]))
	if err := os.MkdirAll(cfg.RunDir, 0o700); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	rate := cfg.Rate
	e.pacer = multicast.NewPacer(rate, 0)
	e.standstill.pacer = e.pacer
	var err error
	if e.trace, err = openTrace(cfg.Trace, e.started); err != nil {
		return nil, err
	}
	return e, nil
}

// rate is the present ceiling in bytes/s.
func (e *run) rate() int64 {
	r, _ := e.pacer.Rate()
	return r
}

func (e *run) name() string { return hex.EncodeToString(e.id[:]) }

func (e *evacuation) close() {
	if e.sender != nil {
		e.sender.Close()
	}
	for _, l := range e.links {
		l.Close()
	}
	e.endJournal()
	for _, v := range e.vms {
		v.close()
	}
	if e.journal != nil {
		e.journal.Close()
	}
	e.trace.Close()
}

// prepare runs the stages before anything moves: discover, preflight, scan and plan.
func (e *evacuation) prepare(ctx context.Context) error {
	stages := []struct {
		name string
		run  func(context.Context) error
	}{
		{"discover", e.discover}, {"preflight", e.preflight}, {"scan", e.scan}, {"plan", e.makePlan},
	}
	for _, s := range stages {
		e.tell(model.Event{Type: "stage", Stage: s.name})
		if err := s.run(ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
	return nil
}

// discover opens the VMs and the targets.
func (e *party) discover(ctx context.Context) error {
	var found, held model.Problems
	e.vms = make([]*sourceVM, len(e.cfg.VMs))
	e.links = make([]*wire.Link, len(e.cfg.Targets))
	var g sync.WaitGroup
	for i, socket := range e.cfg.VMs {
		g.Go(func() {
			v, err := discoverVM(ctx, i, socket)
			e.vms[i] = v
			if b, ok := errors.AsType[model.Blocker](err); ok {
				held.Add(b)
			} else {
				found.Add(err)
			}
		})
	}
	for i, t := range e.cfg.Targets {
		g.Go(func() {
			l, err := wire.Open(ctx, wire.Dialer{Target: t, TLSDir: e.cfg.TLSDir, Local: e.cfg.Local, Dscp: e.cfg.DSCP, Evacuation: e.name(), Sent: &e.controlBytes})
			e.links[i] = l
			found.Add(err)
		})
	}
	g.Wait()
	e.vms = slices.DeleteFunc(e.vms, func(v *sourceVM) bool { return v == nil })
	e.links = slices.DeleteFunc(e.links, func(l *wire.Link) bool { return l == nil })
	for i, l := range e.links {
		l.Serve(i, e.listener)
	}
	excluded := e.exclude()
	if len(e.vms) == 0 && len(excluded) > 0 {
		found.Add(errNobodyLeft)
	}
	for _, v := range e.vms {
		found.Add(v.elsewhere())
	}
	e.tellApart()
	found.NamesOf("VMs", "name each guest differently (-name guest=)", model.NamesOf(e.vms, (*sourceVM).name))
	found.NamesOf("targets", "give each target its own certificate and --name", model.NamesOf(e.links, (*wire.Link).Name))
	checkPlaces(&found, e.cfg.Place, append(model.NamesOf(e.vms, (*sourceVM).name), excluded...), e.links)
	if err := found.Err(); err != nil {
		return err
	}
	for _, b := range append(held.List, e.cfg.Held...) {
		if e.excluded(b.VM) {
			continue
		}
		s := stayer{b.VM, []model.Blocker{b}, handover.Stays}
		e.stays = append(e.stays, s)
		e.tellStays(s)
	}
	return e.openJournal()
}

// tellApart gives VMs without a name of their own others where they would have the same, and says what VMs are called whose own name cannot
// be used.
func (e *party) tellApart() {
	of := make(map[string]int)
	for _, v := range e.vms {
		of[v.name()]++
	}
	for _, v := range e.vms {
		if of[v.name()] > 1 {
			v.vm.TellApart()
		}
		if v.vm.Own != v.name() {
			e.log.Info("vm", "vm", v.name(), "own name", v.vm.Own, "socket", v.vm.Socket)
		}
	}
}

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
