package move

import (
	"context"
	"errors"
	"fmt"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/source"
	"github.com/scatter-vm/scatter/scatter/trace"
)

// Evacuate moves the VMs and returns what became of each. It returns an error only when nothing was moved;
// *BlockedError lists the reasons. Once VMs move, failures are in the report.
//
// When ctx ends, VMs that are not yet switched over stay on the source, and Evacuate returns when
// they are known to run there.
func Evacuate(ctx context.Context, cfg source.Config) (*model.Report, error) {
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
func MakePlan(ctx context.Context, cfg source.Config) (*planning.Plan, error) {
	e, err := newEvacuation(cfg)
	if err != nil {
		return nil, err
	}
	defer e.close()
	err = e.prepare(ctx)
	var blocked *model.BlockedError
	if errors.As(err, &blocked) {
		if e.Public == nil {
			e.Public = &planning.Plan{Format: planning.PlanFormat}
		}
		e.Public.Blockers, e.Public.Stays = blocked.Blockers, e.Blockers()
		return e.Public, err
	}
	if err != nil {
		return nil, err
	}
	return e.Public, nil
}

func newEvacuation(cfg source.Config) (*Evacuation, error) {
	e := &Evacuation{digestOf: make(map[int]chan control.Digested)}
	if err := e.Configure(cfg); err != nil {
		return nil, err
	}
	e.Listener = e
	e.standstill.Pacer = e.Pacer
	var err error
	if e.trace, err = trace.Open(cfg.Trace, e.Started); err != nil {
		e.Release()
		return nil, err
	}
	return e, nil
}

func (e *Evacuation) close() {
	if e.Sender != nil {
		e.Sender.Close()
	}
	for _, l := range e.Links {
		l.Close()
	}
	e.endJournal()
	for _, v := range e.migrants {
		v.close()
	}
	for _, v := range e.VMs {
		v.Close()
	}
	if e.Journal != nil {
		e.Journal.Close()
	}
	e.Release()
	e.trace.Close()
}

// prepare runs the stages before anything moves: discover, preflight, scan and plan.
func (e *Evacuation) prepare(ctx context.Context) error {
	stages := []struct {
		name string
		run  func(context.Context) error
	}{
		{"discover", e.Discover}, {"preflight", e.Preflight}, {"scan", e.Scan}, {"plan", e.MakePlan},
	}
	for _, s := range stages {
		e.Tell(model.Event{Type: "stage", Stage: s.name})
		if err := s.run(ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
	return nil
}
