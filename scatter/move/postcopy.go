package move

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/carry"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/fill"
	"github.com/scatter-vm/scatter/scatter/filter"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/pageset"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
)

// start has a VM take over without what remains, unless another one is exposed: then it goes on.
func (e postCopying) start(ctx context.Context, v *migrant) error {
	if !e.mayBeExposed(v) {
		return nil
	}
	e.standstill.Begin(v.Index)
	v.takesOver.Store(true)
	return v.StartPostcopy(ctx)
}

// mayBeExposed tells whether a VM may live on both hosts now: one at a time does, unless more is asked for.
func (e postCopying) mayBeExposed(v *migrant) bool {
	return v.Mode == model.ModePost || v.hurried.Load() || e.exposed.Begin(v.Index)
}

// hurry has a VM take over as soon as it can, or stops it where it must not.
func (e postCopying) hurry(ctx context.Context, v *migrant) error {
	if !v.Policy.Prepares() {
		return e.pause(ctx, v)
	}
	v.hurried.Store(true)
	return nil
}

// leavesOut tells whether what a VM has dirtied since bulk is left to post-copy: it would be dirtied again before its first pass is over.
func (e postCopying) leavesOut(v *migrant) bool {
	s := converging(e).steering(v)
	return s.Hybrid && s.Hopeless()
}

// barely is a rate at which a page does not fit into the time for which QEMU is held in pre-copy, in bytes/s. At none at all QEMU would not look what was
// written since it looked last, and complete.
const barely = 1000 * model.PageSize

// awaitTurn returns when no other VM is exposed, so that this one may be; start then finds that it is.
func (e postCopying) awaitTurn(ctx context.Context, v *migrant) error {
	for !e.mayBeExposed(v) {
		if err := system.Pause(ctx, exposedLook); err != nil {
			return err
		}
	}
	close(v.seen)
	return nil
}

// startWhenSeen is start for a VM of which nearly all pages were seen once, and some left to post-copy.
func (e postCopying) startWhenSeen(ctx context.Context, v *migrant) {
	select {
	case <-v.seen:
	case <-ctx.Done():
		return
	}
	if err := e.start(ctx, v); err != nil && ctx.Err() == nil {
		e.Post(handover.Event{Kind: handover.EvFailed, VM: v.Index, Err: err})
	}
}

// exposedLook is how often it is seen whether another VM is still exposed.
const exposedLook = 20 * time.Millisecond

// takeOver gives the target the VM's device state, of which the stream has come to the package, and says what it lacks; then it sends that. It returns
// once the target has all of it.
func (e postCopying) takeOver(ctx context.Context, v *migrant, f *filter.Filter, p *stream.Parser, out *carry.FrameWriter, qc net.Conn) error {
	lacks, warm, err := e.lacking(v, f)
	if err != nil {
		return err
	}
	if err := e.sayLacks(v, lacks, out); err != nil {
		return err
	}
	v.mu.Lock()
	v.lacked.Bytes = int64(lacks.Len()) * model.PageSize
	for r := range lacks.Runs() {
		if r.Region >= len(v.Blocks) {
			v.lacked.DiskBytes += int64(r.N) * model.PageSize
		}
	}
	v.mu.Unlock()
	v.tookOver.Store(true)
	v.filling.Store(true)
	defer v.filling.Store(false)
	v.tailBegun.Store(true)
	if err := e.sendPackage(v, p, out); err != nil {
		return fmt.Errorf("vm %s: device state: %w", v.Name(), err)
	}
	defer e.Pacer.Spare()()
	e.prepareFiller(v, out.Pack)
	v.filler.Begin(lacks, warm)
	if v.Mode == model.ModePost {
		v.filler.Hold(v.shared)
	}
	err = v.filler.Run(ctx, out.Conn)
	if err != nil && v.toldToRun.Load() {
		e.Log.Warn("its pages broke off", "vm", v.Name(), "err", err)
		err = e.keep(ctx, v)
	}
	if err != nil {
		return err
	}
	return e.full(ctx, v, qc)
}

// lacking is what the target lacks when it has taken over, of the VM's memory and of its disks, and what of that was written last.
func (e postCopying) lacking(v *migrant, f *filter.Filter) (lacks, warm *pageset.Set, err error) {
	lacks = pageset.New(system.PagesOf(v.Compared())...)
	warm = lacks.Empty()
	for to, from := range map[*pageset.Set]*pageset.Set{lacks: f.Absent, warm: f.Warm} {
		if from == nil {
			continue
		}
		for r := range from.Runs() {
			to.AddRun(r.Region, r.First, r.N)
		}
	}
	return lacks, warm, mirroring(e).lacking(v, lacks, warm)
}

// sayLacks names what the target lacks when it has taken over.
func (e postCopying) sayLacks(v *migrant, lacks *pageset.Set, out *carry.FrameWriter) error {
	if err := out.Flush(); err != nil {
		return err
	}
	for _, m := range pages.LacksOf(lacks, 0) {
		if err := out.Pacer.Wait(out.Ctx, int(planning.TCPBytes(int64(len(m.Body)))), multicast.Urgent); err != nil {
			return err
		}
		if err := out.Conn.Send(m); err != nil {
			return err
		}
	}
	return out.Conn.Send(control.TakeOver{Bulk: v.Mode == model.ModePost})
}

// sendPackage sends the device state. What the source's QEMU sends behind it is not read.
func (e postCopying) sendPackage(v *migrant, p *stream.Parser, out *carry.FrameWriter) error {
	state := &stateReader{v: v}
	w := io.MultiWriter(state, out)
	size, err := p.PackageSize()
	if err != nil {
		return err
	}
	if _, err := out.Write(stream.AppendPackaged(nil, size)); err != nil {
		return err
	}
	for left := size; left > 0; {
		it, err := p.Next()
		if err != nil {
			return system.NoEOF(err)
		}
		if it.Kind != stream.KindPackage {
			return fmt.Errorf("%s in a package", it.Kind)
		}
		if _, err := w.Write(it.Raw); err != nil {
			return err
		}
		left -= len(it.Raw)
	}
	v.setAtSwitch(state.State())
	if err := out.Flush(); err != nil {
		return err
	}
	return out.Conn.Send(control.DataEnd{})
}

// prepareFiller tells the VM's filler where its pages are and how they leave.
func (e postCopying) prepareFiller(v *migrant, pack fill.Packer) {
	v.filler.Mem, v.filler.Blocks, v.filler.Disks, v.filler.Pack, v.filler.Rate = v.Mem, v.Compared(), len(v.Disks), pack, e.Rate
	v.filler.Prefetch = e.Cfg.Prefetch
	v.filler.Pace = fillPace{e.Evacuation, v}
	if e.Claims != nil {
		v.filler.Claim = func(p pageset.Page) bool {
			at, ok := e.NumberOf(v.VM, p)
			return !ok || e.Claims.Claim(at)
		}
		v.filler.Forward = func(pages []pageset.Page) { e.forward(v, pages) }
	}
}

// forward has bulk send pages before others.
func (e postCopying) forward(v *migrant, pages []pageset.Page) {
	ahead := make([]dedup.Page, 0, len(pages))
	for _, p := range pages {
		if at, ok := e.NumberOf(v.VM, p); ok {
			ahead = append(ahead, at)
		}
	}
	e.Ahead.Forward(ahead)
}

// fillPace lets pages leave before bulk, and counts them.
type fillPace struct {
	*Evacuation
	v *migrant
}

func (p fillPace) Wait(ctx context.Context, n int) error {
	p.count(n)
	return p.Pacer.WaitNapping(ctx, int(planning.TCPBytes(int64(n))), multicast.Urgent)
}

func (p fillPace) Charge(n int) {
	p.count(n)
	p.Pacer.Charge(int(planning.TCPBytes(int64(n))))
}

func (p fillPace) count(n int) {
	p.meter.streams.Add(int64(n))
	p.v.convergeSent.Add(int64(n))
}

// sharedOf are a VM's pages whose contents have further owners: bulk brings such a content to all of them at once.
func (e postCopying) sharedOf(v *migrant) *pageset.Set {
	set := pageset.New(system.PagesOf(v.Compared())...)
	for p := range e.Index.Shared(e.Layout.Region(v.Regions).VM) {
		set.Add(e.PageOf(p))
	}
	return set
}

// sweep has a VM sent what bulk has not, which is done.
func (e postCopying) sweep(v *migrant) {
	blind := v.Blind.Load() || e.Sender.Stats().Targets[e.HostName(v.Host)].Ejected
	v.filler.Sweep(func(p pageset.Page) bool {
		at, ok := e.NumberOf(v.VM, p)
		return !blind && ok && e.Held.Sent(at)
	})
}

// release is the commit of a VM that takes over: its source QEMU, which waits for somebody to read on, is told that it may complete when that is done.
// It does not run the VM again, whatever becomes of the stream.
func (e postCopying) release(ctx context.Context, v *migrant) error {
	ctx, cancel := context.WithTimeout(ctx, system.QMPTimeout)
	defer cancel()
	info, err := v.QueryMigrate(ctx)
	if err != nil {
		return err
	}
	if !info.Status.PostCopy() {
		return fmt.Errorf("vm %s: its migration is %s, not in post-copy", v.Name(), info.Status)
	}
	return v.shut()
}

// keep sends a VM that runs on its target what it lacks, over new connections, or says that it cannot.
func (e postCopying) keep(ctx context.Context, v *migrant) error {
	d := e.Links[v.Host].Dialer
	err := v.filler.Keep(ctx, &d, v.Index, fill.Patience)
	if err != nil {
		err = fmt.Errorf("vm %s runs on %s, and lacks pages: %w", v.Name(), e.HostName(v.Host), err)
		e.Post(handover.Event{Kind: handover.EvUnfilled, VM: v.Index, Err: err})
	}
	return err
}

// fillAgain is keep for a VM whose stream has ended, unless that is being done.
func (e postCopying) fillAgain(ctx context.Context, v *migrant) {
	if v.filling.Swap(true) {
		return
	}
	defer v.filling.Store(false)
	e.prepareFiller(v, nil)
	if e.keep(ctx, v) != nil {
		return
	}
	e.nowFull(v)
	if err := v.EndMigration(ctx); err != nil {
		e.Log.Warn("its migration does not end", "vm", v.Name(), "err", err)
	}
	e.Post(handover.Event{Kind: handover.EvFilled, VM: v.Index})
}

// full: the target has all of a VM. Its source QEMU is allowed to say so.
func (e postCopying) full(ctx context.Context, v *migrant, qc net.Conn) error {
	e.nowFull(v)
	ctx, cancel := context.WithTimeout(ctx, completeFor)
	defer cancel()
	if err := v.Complete(ctx, qc); err != nil { // it is ended all the same
		e.Log.Warn("its migration does not end", "vm", v.Name(), "err", err)
	}
	e.Post(handover.Event{Kind: handover.EvFilled, VM: v.Index})
	return nil
}

// completeFor bounds how long a source QEMU may take to send into nothing what nobody wants any more.
const completeFor = time.Minute

// nowFull notes when.
func (e postCopying) nowFull(v *migrant) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.filled = time.Now()
}
