package move

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/fill"
	"github.com/scatter-vm/scatter/scatter/filter"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pageset"
	"github.com/scatter-vm/scatter/scatter/source"
	"github.com/scatter-vm/scatter/scatter/system"
)

// migrant is a VM that moves: its migration, and what is told of it.
type migrant struct {
	*source.VM
	way        Handover
	tookOver   atomic.Bool   // its stream is that of a post-copy: the target gets it without all of its pages
	leavesOut  bool          // what it has dirtied since bulk is left to post-copy; decided before it converges
	seen       chan struct{} // closed when all of its pages were seen that are left to post-copy
	hurried    atomic.Bool   // it takes over as soon as it can: a deadline is near
	filling    atomic.Bool   // it is being sent what it lacks
	filler     fill.Filler
	shared     *pageset.Set  // in mode post: what bulk brings to others as well
	pusher     *disk.Pusher  // of the disks that travel with it; nil: none do, or it takes over first
	disksFirst string        // why they must be there before it takes over; "": they need not
	takesOver  atomic.Bool   // its QEMU was told to have it take over
	lags       atomic.Bool   // it does without some of its disks
	synced     chan struct{} // the target has made them safe, as far as they had come
	zero       []bool        // by block: all zero on the target before bulk
	lingers    atomic.Bool   // it has left, and its QEMU did not quit
	pausing    sync.Mutex    // held while scatter stops it

	tailBegun    atomic.Bool                    // all of its RAM was sent, its devices are about to be
	toldToRun    atomic.Bool                    // the target was
	overdue      *time.Timer                    // of the present state; under mu
	loaded       atomic.Bool                    // the target has all of it
	disks        atomic.Pointer[control.Loaded] // what the target consists of
	convergeSent atomic.Int64                   // bytes

	mu        sync.Mutex         // guards the fields below
	migration net.Conn           // from QEMU, while it migrates
	stop      context.CancelFunc // ends the running converge
	ended     chan struct{}      // closed when it has ended
	filter    *filter.Filter

	pausedByUs bool   // scatter has stopped it, so it is to run on
	atSwitch   string // run state at the switch-over, as the stream tells it; "" before
	shutdown   string // why QEMU has shut the VM down; "" if it has not said so
	found      string // run state in which it was last seen, in QEMU's words

	stages    []model.StageTime
	stopped   time.Time // stopped for the switch-over
	ran       time.Time // target runs
	passes    int
	throttled taken
	digest    bool
	leftOut   []model.LeftOut // of the digest
	lacked    model.PostCopy  // bytes of pages that it lacked when it took over
	filled    time.Time       // it had all of them
	devices   *stream.Record  // their state, as it was sent; nil = not kept
	state     handover.State
	cause     error
}

// migrantsOf makes migrants of the VMs that move.
func migrantsOf(vms []*source.VM) []*migrant {
	all := make([]*migrant, len(vms))
	for i, v := range vms {
		all[i] = &migrant{VM: v, found: v.Facts.Status, seen: make(chan struct{}), synced: make(chan struct{}, 1)}
	}
	return all
}

// endMigration closes QEMU's migration socket, on which QEMU goes on by itself, and sees that the migration has ended.
func (v *migrant) endMigration(ctx context.Context) error {
	v.mu.Lock()
	c, stop, ended := v.migration, v.stop, v.ended
	v.migration = nil
	v.mu.Unlock()
	if c != nil {
		c.Close() // first: a QEMU that waits for us in its device state has a deaf monitor
	}
	if stop != nil {
		stop()
		<-ended
	}
	return v.VM.EndMigration(ctx)
}

// close ends a migration that is under way.
func (v *migrant) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.migration != nil {
		v.migration.Close()
	}
}

// shut tells the source QEMU that the target has it all.
func (v *migrant) shut() error {
	v.mu.Lock()
	c := v.migration
	v.mu.Unlock()
	if c == nil {
		return fmt.Errorf("vm %s: its migration is gone", v.Name())
	}
	if _, err := c.Write(stream.Return{Kind: stream.ReturnShut}.Append(nil)); err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	return nil
}

// giveShut is shut, and waits until the source QEMU has completed.
func (v *migrant) giveShut(ctx context.Context) error {
	if err := v.shut(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, system.QMPTimeout)
	defer cancel()
	return v.AwaitCompleted(ctx)
}

// pause stops a VM that would not converge otherwise, unless it is being taken back, or was stopped by others meanwhile. note is
// called before.
func (v *migrant) pause(ctx context.Context, note func() error) error {
	ctx, cancel := context.WithTimeout(ctx, system.QMPTimeout)
	defer cancel()
	v.pausing.Lock()
	defer v.pausing.Unlock()
	if v.Gone.Load() {
		return nil
	}
	status, err := v.Status(ctx)
	if err != nil || !status.Running {
		return err
	}
	if err := note(); err != nil {
		return err
	}
	v.mu.Lock()
	v.pausedByUs = true
	v.mu.Unlock()
	return v.Stop(ctx)
}

// takeBack ends the migration and sees that the VM is as others have left it: running, paused or suspended. It tells whether the
// guest has powered itself off. What QEMU refuses is tried again for as long as patience lasts.
func (v *migrant) takeBack(ctx context.Context, patience time.Duration) (off bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, system.QMPTimeout)
	defer cancel()
	if !v.Proc.Alive() {
		return false, fmt.Errorf("vm %s: its QEMU (process %d) has ended", v.Name(), v.Facts.PID)
	}
	if err := v.endMigration(ctx); err != nil {
		return false, err
	}
	v.pausing.Lock()   // from here on nobody stops it any more: gone is set
	v.pausing.Unlock() //lint:ignore SA2001 whoever was about to stop it is waited for
	for end := time.Now().Add(patience); ; {
		status, err := v.Status(ctx)
		if err == nil {
			var settled bool
			if settled, err = v.settle(ctx, status); settled {
				return status.Status == "shutdown", nil
			}
		}
		var refused *qemu.QMPError
		if err != nil && (!errors.As(err, &refused) || time.Now().After(end)) {
			return false, fmt.Errorf("vm %s: %w", v.Name(), err)
		}
		if err := system.Pause(ctx, 10*time.Millisecond); err != nil {
			return false, fmt.Errorf("vm %s: QEMU is %s after the migration was given up: %w", v.Name(), status.Status, err)
		}
	}
}

// settle continues a VM that the migration, or scatter, has stopped, and tells whether it stands as it should.
func (v *migrant) settle(ctx context.Context, status qemu.RunState) (bool, error) {
	switch status.Status {
	case "finish-migrate":
		return false, nil // it is about to go on by itself
	case "postmigrate":
		if v.standing().LeftPaused() {
			return true, nil
		}
	case "paused":
		if !v.standing().ByUs {
			return true, nil
		}
	default:
		return true, nil
	}
	return false, v.Cont(ctx)
}

// standing tells whether others than scatter had stopped the VM.
func (v *migrant) standing() handover.Standing {
	v.mu.Lock()
	defer v.mu.Unlock()
	return handover.Standing{AtSwitch: v.atSwitch, Paused: !handover.Runs(v.found), ByUs: v.pausedByUs}
}

func (v *migrant) setAtSwitch(state string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.atSwitch = state; state == "" {
		v.atSwitch = v.found // machine types before 2.4 do not tell
	}
}

func (v *migrant) shutDown(reason string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shutdown = reason
}

// isStopped tells whether the switch-over has begun.
func (v *migrant) isStopped() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.stopped.IsZero()
}

// awaitLoaded returns when the target has loaded the VM, or nobody waits for that any more.
func (v *migrant) awaitLoaded(ctx context.Context) error {
	for !v.loaded.Load() {
		if err := system.Pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// blind tells whether nothing is known of what the VM's target holds of it. Blocks that a target was ejected with count as confirmed, and the word of it may
// still be on its way.
func (e *Evacuation) blind(v *migrant) bool {
	return v.Blind.Load() || e.Sender.Stats().Targets[e.HostName(v.Host)].Ejected
}

// newFilter makes the filter for a VM whose bulk is confirmed.
func (v *migrant) newFilter(e *Evacuation, w *stream.Writer, qc net.Conn) *filter.Filter {
	f := &filter.Filter{Held: e.Held, Seed: e.Seed, Zero: v.zero, Blind: e.blind(v), Header: v.Header, W: w,
		Pong: func(n uint32) error {
			_, err := qc.Write(stream.Return{Kind: stream.ReturnPong, Value: n}.Append(nil))
			return err
		}}
	for i := range v.Blocks {
		f.First = append(f.First, e.Layout.First(v.Regions+i))
	}
	if sizes := system.PagesOf(v.Blocks); v.Policy.Prepares() {
		f.Lack(sizes)
		if v.leavesOut {
			f.Later = pageset.New(sizes...)
			f.Read = func(p pageset.Page, to []byte) error { return v.Mem.ReadPages(v.Blocks[p.Region].Index, p.Page, 1, to) }
		}
	}
	v.mu.Lock()
	v.filter = f
	v.mu.Unlock()
	return f
}

// look notes the VM's run state, unless it is one that its migration gives it.
func (v *migrant) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	status, err := v.Status(ctx)
	if err != nil || status.Status == "finish-migrate" || status.Status == "postmigrate" {
		return
	}
	v.mu.Lock()
	v.found = status.Status
	v.mu.Unlock()
}

func (v *migrant) resent() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.filter == nil {
		return 0
	}
	return v.filter.Resent.Load()
}
