package move

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// verify compares the stopped VM on both sides: which disks it has always, all of its RAM if that is wanted, and of the disks that have come with it. These
// must be safe on the target by then.
func (e checking) verify(ctx context.Context, v *migrant) error {
	if err := mirroring(e).awaitSafe(ctx, v); err != nil {
		return err
	}
	if err := e.compareDisks(ctx, v); err != nil || !e.Cfg.Verify {
		return err
	}
	answer := make(chan control.Digested, 1)
	e.digestMu.Lock()
	e.digestOf[v.Index] = answer
	e.digestMu.Unlock()
	leftOut := e.writtenByLoad(ctx, v)
	if err := e.Links[v.Host].Conn.Send(control.Digest{VM: v.Index, Skip: spansOf(leftOut)}); err != nil {
		return err
	}
	ours, err := system.DigestRAM(ctx, v.Mem, v.Compared(), spansOf(leftOut))
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Minute):
		return fmt.Errorf("vm %s: target sent no digest", v.Name())
	case theirs := <-answer:
		if err := system.CompareDigests(v.Name(), v.Compared(), ours, theirs); err != nil {
			return err
		}
		v.mu.Lock()
		v.digest, v.leftOut = true, e.reportLeftOut(v, leftOut)
		v.mu.Unlock()
		return nil
	}
}

func (e checking) digested(m control.Digested) {
	e.digestMu.Lock()
	defer e.digestMu.Unlock()
	if c := e.digestOf[m.VM]; c != nil {
		c <- m
		delete(e.digestOf, m.VM)
	}
}

// compareDisks is the last look before commit: the target must have the disks and devices that the stopped VM has now. A
// difference means that the guest would go on with others.
func (e checking) compareDisks(ctx context.Context, v *migrant) error {
	ctx, cancel := context.WithTimeout(ctx, system.QMPTimeout)
	defer cancel()
	ours, err := v.Outline(ctx)
	if err != nil {
		return err
	}
	theirs := v.disks.Load()
	switch {
	case theirs == nil:
		err = errors.New("the target has not told what it has")
	case theirs.Error != "":
		err = fmt.Errorf("target: %s", theirs.Error)
	default:
		err = inventory.Compare(ours, hypervisor.OutlineTold(theirs.Disks, theirs.Devices), sameName(theirs))
	}
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	return nil
}

// sameName tells whether two names mean the same file, after what the target says of its names; nil if that cannot be told.
func sameName(m *control.Loaded) func(source, target string) bool {
	var p qemu.LaunchPolicy
	for _, r := range m.Rewrites {
		p.Rewrites = append(p.Rewrites, qemu.Rewrite{From: r.From, To: r.To})
	}
	if m.Renamed {
		return nil
	}
	return func(source, target string) bool {
		return p.RewriteDisk(source) == qemu.LaunchPolicy{}.RewriteDisk(target)
	}
}

// writtenByLoad finds what a load of this VM changes. What it cannot find out is compared.
func (e checking) writtenByLoad(ctx context.Context, v *migrant) []piece {
	v.mu.Lock()
	r := v.devices
	v.devices = nil // it is needed once
	v.mu.Unlock()
	if r == nil {
		return nil
	}
	devices, err := r.Devices()
	if err != nil {
		e.Log.Warn("what a load changes is not known", "vm", v.Name(), "err", err)
		return nil
	}
	var pieces []piece
	seen := make(map[uint64]bool)
	for _, d := range devices {
		for _, w := range loadWrites {
			at, ok := d.Number(w.register)
			if d.Name != "cpu" || !ok || at == 0 || at&w.flag != w.flag || seen[at] {
				continue
			}
			seen[at] = true
			found, err := v.pieces(ctx, at&^w.flag, w.bytes, w.why)
			if err != nil {
				e.Log.Warn("what a load changes is not known", "vm", v.Name(), "err", err)
			}
			pieces = append(pieces, found...)
		}
	}
	return pieces[:min(len(pieces), control.MaxSkips)]
}

// reportLeftOut says what was not compared.
func (e checking) reportLeftOut(v *migrant, pieces []piece) (out []model.LeftOut) {
	for _, p := range pieces {
		out = append(out, model.LeftOut{Block: v.Blocks[p.Block].Name, Offset: p.Offset, Bytes: p.Length, Why: p.why})
	}
	return out
}
