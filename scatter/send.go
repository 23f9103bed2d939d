package scatter

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
)

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

func (e *evacuation) close() {
	if e.sender != nil {
		e.sender.Close()
	}
	for _, l := range e.links {
		l.Close()
	}
	e.endJournal()
	for _, v := range e.migrants {
		v.close()
	}
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
