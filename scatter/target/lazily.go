package target

import (
	"context"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/system"
)

// lazily gives a guest its disks after it runs, where it takes over without some of its pages.
type lazily struct{ *guest }

// takes is the room that is needed to know which pages of its disks are there, in bytes.
func (g lazily) takes() int64 {
	if !g.p.PostCopy {
		return 0
	}
	return disk.MarksRoom(g.p.Disks)
}

// find finds how its disks are led past their images, if they may have to be. It tells why they must be there before it runs; "": they need not.
func (g lazily) find(ctx context.Context) (why string) {
	store := g.grip.stored()
	if store == nil || !g.p.PostCopy {
		return ""
	}
	inodes, err := store.Inodes()
	if err != nil {
		return err.Error()
	}
	vm, _, _ := g.grip.held()
	routes, err := vm.FindRoutes(ctx, inodes)
	if err != nil {
		return err.Error()
	}
	g.hold(disk.NewLazy(store, routes, g.r.cfg.RunDir, g.p.Name, filling(g).ask))
	return ""
}

func (g lazily) hold(l *disk.Lazy) {
	if !g.grip.take(func(h *grip) { h.lazy = l }) {
		l.Close()
	}
}

// note writes down what somebody else has to know to go on with them.
func (g lazily) note(rec *handover.Record) {
	l := g.grip.lazily()
	if rec.Marks = l.Marks(); rec.Marks == "" {
		return
	}
	for i, r := range l.Routes() {
		rec.Disks[i].Name, rec.Disks[i].Bytes, rec.Disks[i].Route = g.p.Disks[i].Path, g.p.Disks[i].Bytes, &r
	}
}

// begin has the guest lack what was said that it does.
func (g lazily) begin() error {
	lacks, err := g.grip.lazily().Begin()
	if g.disks.Store(!lacks); lacks && err == nil {
		g.follow()
	}
	return err
}

// follow has the guest read and write the images of its disks once they are all there.
func (g lazily) follow() {
	l := g.grip.lazily()
	g.wg.Go(func() {
		if !l.Await() {
			return
		}
		routes := func(ctx context.Context) (hypervisor.Routes, error) {
			if !g.lives() {
				return nil, nil
			}
			return rescuing(g).monitor(ctx)
		}
		if l.KeepLeadingBack(g.r.life, routes, func(err error) {
			g.log.Error("its disks are there, and it does not use them: this is tried again", "err", err)
		}) == nil {
			filling(g).there(&g.disks)
		}
	})
}

// blocks are the disks, to a source that has to find its own. It calls them so itself (source.VM.Compared).
func (g lazily) blocks() []control.Block {
	var disks []system.RAMBlock
	for i, d := range g.life.Record().Disks {
		if d.Route != nil {
			disks = append(disks, system.DiskBlock(d.Name, d.Bytes, i))
		}
	}
	return system.NamedBlocks(disks)
}

// retake takes hold of the disks of a guest that an earlier receiver had. Whether they are led past their images by now is not known.
func (g lazily) retake(rec handover.Record) error {
	if !system.Exists(rec.Marks) { // "", or removed when they were there
		g.disks.Store(true)
		return nil
	}
	store, l, err := disk.Reopen(len(rec.RAM.Blocks), rec.Disks, g.r.cfg.RunDir, rec.Name, filling(g).ask)
	if err != nil {
		return err
	}
	g.grip.take(func(h *grip) { h.disks = store })
	g.hold(l)
	if err := l.Serve(); err != nil {
		return err
	}
	g.follow()
	return nil
}
