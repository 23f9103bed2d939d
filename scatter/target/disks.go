package target

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/reclaim"
)

// mostNewDisks bounds the disks of one VM.
const mostNewDisks = 64

// makeDisks notes that the guest is being prepared, and makes the disks that come with it. The journal knows of them before.
func (g receiving) makeDisks(ctx context.Context) error {
	if len(g.p.Disks) > mostNewDisks {
		return fmt.Errorf("%d disks, which are more than %d", len(g.p.Disks), mostNewDisks)
	}
	var all []disk.New
	var noted []handover.RecordDisk
	for _, d := range g.p.Disks {
		path, err := g.r.cfg.Policy.NewFile(d.Path, g.r.cfg.RunDir)
		if err != nil {
			return err
		}
		n, err := disk.NewOf(d, path, func(name string) (string, error) { return g.r.cfg.Policy.ReadFile(name, g.r.cfg.RunDir) })
		if err == nil {
			err = g.r.tries.LookBelow(d) // again: it may have changed since preflight
		}
		if err != nil {
			return err
		}
		all, noted = append(all, n), append(noted, handover.RecordDisk{Path: path})
	}
	if err := g.note(func(rec *handover.Record) { rec.Disks = noted }); err != nil || len(all) == 0 {
		return err
	}
	store, err := disk.Create(len(g.p.Blocks), all)
	if err != nil {
		return err
	}
	inodes, err := store.Inodes()
	if err == nil {
		made := make([]handover.RecordDisk, len(all))
		for i, d := range noted {
			made[i] = handover.RecordDisk{Path: d.Path, Inode: inodes[i]}
		}
		err = g.note(func(rec *handover.Record) { rec.Disks = made })
	}
	if err != nil {
		return errors.Join(err, store.Remove())
	}
	if !g.grip.take(func(h *grip) { h.disks = store }) {
		store.Close()
		return g.life.Why() // whoever has given it up removes them
	}
	return store.Format(ctx)
}

// gone removes the disks that were made for a guest which was given up, and gives its name and room back. Its QEMU has ended.
func (g *guest) gone() {
	defer g.r.forget(g)
	g.grip.lazily().Drop()
	if err := reclaim.RemoveDisks(g.life.Record()); err != nil {
		g.log.Error("disks that were made for it are left", "err", err)
	}
}

// synced tells the source that what has come of the guest's disks is safe, which it was asked for at a time.
func (g receiving) synced(asked time.Time, err error) {
	if err != nil {
		g.fail(err)
		return
	}
	g.log.Debug("disks are safe", "took", time.Since(asked))
	_ = g.conn.Send(control.Synced{VM: g.key.vm}) // a lost source asks no more
}
