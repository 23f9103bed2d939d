package move

import (
	"context"

	"github.com/scatter-vm/scatter/scatter/handover"
)

// Handover is a way in which a VM passes from its source to its target. handover.Core says when which of its steps is due, and has the record of
// each on disk before. A step that cannot be done returns, or posts, an event that says so, and leaves the VM where it was; ctx ends only when all
// VMs are in a safe place.
type Handover interface {
	// Prepare has the target make room and start what waits for the VM. It has been asked when Prepare returns; the answer is EvPrepared.
	Prepare(ctx context.Context, v *migrant) error
	// Transfer brings over what bulk has not, up to the moment from which nothing but Release is missing for the target to have all of it: EvStopped
	// and EvLoaded are posted on the way. It returns when it has ended, in either way.
	Transfer(ctx context.Context, v *migrant) error
	// Release lets the source go of the VM: the commit. It returns when the source has.
	Release(ctx context.Context, v *migrant) error
	// Run has the target run it. The answer is EvRunning or EvRefused; EvSilent says that there was none.
	Run(ctx context.Context, v *migrant)
	// Undo has the source have the VM as it was before, whatever has been done, and the target forget it. It posts EvSourceRuns, EvPoweredOff, or
	// EvSourceUnsure while the source does not say so; then the target keeps what it has.
	Undo(ctx context.Context, v *migrant, a handover.Action)
}

// preCopy passes VMs that run on their source until nearly all of their memory is there, or as much as the operator waits for: then their stream is
// that of a post-copy.
type preCopy struct{ *Evacuation }

func (e preCopy) Prepare(ctx context.Context, v *migrant) error {
	if err := mirroring(e).follow(ctx, v); err != nil {
		return err
	}
	return e.askPrepare(v)
}

func (e preCopy) Transfer(ctx context.Context, v *migrant) error {
	if err := e.record(v, handover.RecConverge); err != nil {
		return err
	}
	return converging(e).converge(ctx, v)
}

func (e preCopy) Release(ctx context.Context, v *migrant) error {
	if v.tookOver.Load() {
		return postCopying(e).release(ctx, v)
	}
	return v.giveShut(ctx)
}

func (e preCopy) Run(ctx context.Context, v *migrant) { handing(e).run(ctx, v) }

func (e preCopy) Undo(ctx context.Context, v *migrant, a handover.Action) {
	handing(e).takeBack(ctx, v, a)
}
