package move

import (
	"context"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pageset"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
)

// follow begins to follow what the guest writes to the disks that travel with it. From here on bulk may read them: whatever changes behind it is known.
func (e mirroring) follow(ctx context.Context, v *migrant) error {
	if len(v.Disks) == 0 || v.Mode == model.ModePost { // which stands still before bulk
		return nil
	}
	images := v.Images()
	v.pusher = &disk.Pusher{Behind: disk.NewBehind(images.Pages()...), From: images, Held: e.Held, Seed: e.Seed, Thin: images.Thin(), Known: v.Pieces, Region: len(v.Blocks)}
	ctx, cancel := context.WithTimeout(ctx, system.QMPTimeout)
	defer cancel()
	for i, d := range v.Disks {
		if err := v.Mirror(ctx, d.Node, d.Bytes, v.pusher.Behind.Device(i)); err != nil {
			return err
		}
	}
	return nil
}

// catchUp sends what the target's disks lack after bulk, until what is left fits into the pause, and has the target make all of it safe. Then its
// memory may follow: QEMU switches over when that is there.
func (e mirroring) catchUp(ctx context.Context, v *migrant, conn *control.Conn) error {
	if v.pusher == nil {
		return nil
	}
	out, err := e.frames(ctx, v, conn)
	if err != nil {
		return err
	}
	v.pusher.Send = out.Pages
	if err := v.pusher.Sweep(e.blind(v)); err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	stuck := 0
	for before := v.pusher.Behind.Len(); ; {
		if err := v.pusher.Push(ctx, before); err != nil {
			return fmt.Errorf("vm %s: %w", v.Name(), err)
		}
		left := v.pusher.Behind.Len()
		if e.pauseOf(left) <= e.Cfg.Downtime/2 {
			if err := conn.Send(control.Sync{}); err != nil {
				return err
			}
			return e.awaitSafe(ctx, v)
		}
		if stuck++; left < before*9/10 {
			stuck = 0
		}
		if v.mayLag() && (stuck == hopeless || v.hurried.Load()) {
			return nil // what remains counts as what remains of its memory does
		}
		if stuck == hopeless {
			e.Post(handover.Event{Kind: handover.EvStalled, VM: v.Index, Err: &model.StallError{VM: v.Name(), Disks: true, Predicted: e.pauseOf(left), Limit: e.Cfg.Downtime}})
		}
		before = left
	}
}

// hopeless is how many times in a row no less is behind than before, until a VM counts as one that writes faster than the link carries.
const hopeless = 4

// pauseOf is how long so many pages take.
func (e mirroring) pauseOf(pages int) time.Duration {
	return time.Duration(float64(planning.TCPBytes(int64(pages)*model.PageSize)) / float64(max(1, e.RateOfOne())) * float64(time.Second))
}

// awaitSafe returns when the target says that all pages of the VM's disks that were sent before Sync outlive a crash of it.
func (e mirroring) awaitSafe(ctx context.Context, v *migrant) error {
	if v.pusher == nil || v.lags.Load() {
		return nil
	}
	select {
	case <-v.synced:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(syncAnswer):
		return fmt.Errorf("vm %s: target %s has not written its disks for %v", v.Name(), e.HostName(v.Host), syncAnswer)
	}
}

// syncAnswer bounds how long a target may write what its page cache holds of a VM's disks.
const syncAnswer = 60 * time.Second

// keepUp sends what the guest writes to its disks while its memory is brought over, until ctx ends.
func (e mirroring) keepUp(ctx context.Context, v *migrant) {
	if v.pusher == nil {
		return
	}
	if err := v.pusher.Run(ctx); err != nil {
		e.Post(handover.Event{Kind: handover.EvFailed, VM: v.Index, Err: fmt.Errorf("vm %s: %w", v.Name(), err)})
	}
}

// finish brings over the last of what the guest has written, which stands still, and lets QEMU go on with the switch-over. While the target loads the
// device state it makes the disks safe; that is waited for before the commit.
func (e mirroring) finish(ctx context.Context, v *migrant, conn *control.Conn) error {
	if v.pusher == nil {
		return v.Proceed(ctx) // somebody else has it wait
	}
	ctx, cancel := context.WithTimeoutCause(ctx, switchOverSilence, fmt.Errorf("vm %s: its disks were not there %v after it was stopped", v.Name(), switchOverSilence))
	defer cancel()
	began := time.Now()
	if err := v.EndMirrors(ctx); err != nil {
		return err
	}
	ended, left := time.Since(began), v.pusher.Behind.Len()
	if v.takesOver.Load() && v.mayLag() && e.pauseOf(left) > e.Cfg.Downtime/2 {
		v.lags.Store(true)
		return v.Proceed(ctx)
	}
	if err := e.drain(ctx, v, conn); err != nil {
		return err
	}
	err := v.Proceed(ctx)
	e.Log.Debug("disks are over", "vm", v.Name(), "mirrors_ended", ended, "pages", left, "all", time.Since(began))
	return err
}

// drain sends all that the target's disks lack, and has it made safe.
func (e mirroring) drain(ctx context.Context, v *migrant, conn *control.Conn) error {
	if err := v.pusher.Drain(ctx); err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	return conn.Send(control.Sync{Last: true})
}

// prepared is what follows from a target's word that it waits for a VM, and why that VM's disks must be there before it runs.
func (e mirroring) prepared(v *migrant, first string) handover.Event {
	if v.disksFirst = first; first != "" && v.Mode == model.ModePost {
		return handover.Event{Kind: handover.EvFailed, VM: v.Index, Err: fmt.Errorf("vm %s: target %s cannot run it before its disks are there: %.256s", v.Name(), e.HostName(v.Host), first)}
	}
	return handover.Event{Kind: handover.EvPrepared, VM: v.Index}
}

// mayLag tells whether the VM may run before all of its disks are there.
func (v *migrant) mayLag() bool { return v.Policy.Prepares() && v.disksFirst == "" }

// catchUpLate is drain for a VM that was to take over and whose QEMU has completed before it heard of that.
func (e mirroring) catchUpLate(ctx context.Context, v *migrant, conn *control.Conn) error {
	if !v.lags.Swap(false) {
		return nil
	}
	return e.drain(ctx, v, conn)
}

// lacking is what the target lacks of the VM's disks when it takes over, by region of the VM; warm are those of its pages that were written last.
func (e mirroring) lacking(v *migrant, lacks, warm *pageset.Set) error {
	if len(v.Disks) == 0 || v.pusher != nil && !v.lags.Load() {
		return nil
	}
	p := v.pusher
	if p == nil {
		images := v.Images()
		p = &disk.Pusher{Behind: disk.NewBehind(images.Pages()...), From: images, Held: e.Held, Seed: e.Seed, Known: v.Pieces}
		if err := p.Sweep(false); err != nil {
			return fmt.Errorf("vm %s: %w", v.Name(), err)
		}
		warm = nil
	}
	for r := range p.Rest().Runs() {
		lacks.AddRun(len(v.Blocks)+r.Region, r.First, r.N)
		if warm != nil {
			warm.AddRun(len(v.Blocks)+r.Region, r.First, r.N)
		}
	}
	return nil
}

// behind is how many bytes of its disks the target lacks.
func (e mirroring) behind(v *migrant) int64 {
	if v.pusher == nil {
		return 0
	}
	return int64(v.pusher.Behind.Len()) * model.PageSize
}
