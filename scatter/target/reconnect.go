package target

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
)

// rescuing gives a VM its pages whose QEMU has lost the way that it got them by: its receiver was killed, say. Such a QEMU often cannot be asked to
// open another one, for what would answer waits for a page itself. So the pages are put in place past it, by its own userfaultfd; once they are all
// there it answers, and is told that there are no more.
type rescuing struct{ *guest }

// reconnect opens that way, where it is needed. full: nothing is lacked any more.
func (g rescuing) reconnect(ctx context.Context) (full bool, err error) {
	g.rejoin.Lock()
	defer g.rejoin.Unlock()
	_, ram, in := g.grip.held()
	if in != nil || g.ramThere.Load() {
		return g.ramThere.Load(), nil
	}
	if ram == nil {
		if ram, err = g.memory(); err != nil {
			return false, err
		}
	}
	lacks, err := ram.Rescue()
	switch {
	case errors.Is(err, qemu.ErrNoUserfault): // it has had the last page, or waits for none yet
	case err != nil:
		return false, err
	default:
		g.log.Info("waits for pages again", "lacks", lacks)
		if lacks > 0 {
			return false, nil
		}
	}
	return true, g.conclude(ctx)
}

// memory takes hold of the memory of a VM that another receiver has started, by what that has written down.
func (g rescuing) memory() (*pages.RAM, error) {
	rec := g.life.Record()
	if rec.RAM == nil {
		return nil, errors.New("the journal does not tell where its memory is")
	}
	var found []qemu.RAMBlock
	var blocks []system.RAMBlock
	for i, b := range rec.RAM.Blocks {
		found = append(found, qemu.RAMBlock{ID: b.ID, Index: i, Length: b.Length, MaxLength: b.Length, Host: b.Host, Migratable: true})
		blocks = append(blocks, system.RAMBlock{Name: b.ID, Length: b.Length, Index: i})
	}
	mem, err := qemu.OpenMemory(rec.PID, found)
	if err != nil {
		return nil, err
	}
	ram := pages.NewRAM(blocks, mem, false)
	if !g.grip.take(func(h *grip) { h.ram = ram }) {
		ram.Close()
		return nil, errors.New("the target stops")
	}
	return ram, nil
}

// conclude tells QEMU that there are no more pages, and has it run the VM, if it was not told so before. It has answered when conclude returns.
func (g rescuing) conclude(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fullTimeout)
	defer cancel()
	_, ram, _ := g.grip.held()
	rec := g.life.Record()
	if _, err := g.monitor(ctx); err != nil {
		return err
	}
	if err := g.endStream(ctx, ram, rec); err != nil {
		return err
	}
	if _, err := (running(g)).letRun(rec.StateToRun()); err != nil {
		return err
	}
	filling(g).there(&g.ramThere)
	return nil
}

// monitor takes hold of the monitor of a VM that another receiver has started. It answers once it waits for no page.
func (g rescuing) monitor(ctx context.Context) (hypervisor.Target, error) {
	if vm, _, _ := g.grip.held(); vm != nil {
		return vm, nil
	}
	proc, vm, err := g.r.host.Reopen(ctx, g.life.Record(), true)
	if err != nil {
		return nil, err
	}
	proc.Close() // the one that is held stays
	if !g.grip.take(func(h *grip) { h.vm = vm }) {
		vm.Close()
		return nil, errors.New("the target stops")
	}
	return vm, nil
}

// endStream resumes the stream, only to end it (migration/savevm.c, loadvm_postcopy_handle_resume). There is none to be ended where QEMU has had all.
func (g rescuing) endStream(ctx context.Context, ram *pages.RAM, rec handover.Record) error {
	vm, _, _ := g.grip.held()
	in, err := vm.RecoverIncoming(ctx)
	if err != nil || in == nil {
		return err
	}
	defer in.Close()
	defer context.AfterFunc(ctx, func() { in.Close() })()
	w := stream.NewWriter(in)
	w.SetRAM(rec.RAM.Section, rec.RAM.Footers, ram.Listed())
	if err := errors.Join(w.Command(stream.CmdPostcopyResume, nil), w.Flush()); err != nil {
		return err
	}
	if err := awaitReturn(in, stream.ReturnResumeAck); err != nil {
		return fmt.Errorf("QEMU does not go on: %w", err)
	}
	if err := errors.Join(w.Finish(), w.Flush()); err != nil {
		return err
	}
	if err := awaitReturn(in, stream.ReturnShut); err != nil {
		return fmt.Errorf("QEMU does not say that it has all of its pages: %w", err)
	}
	return nil
}

// awaitReturn reads what QEMU says up to a message of a kind: it asks for pages again that it has got meanwhile.
func awaitReturn(in net.Conn, kind stream.ReturnKind) error {
	for {
		m, err := stream.ReadReturn(in)
		switch {
		case err != nil:
			return system.NoEOF(err)
		case m.Kind == kind && (kind != stream.ReturnShut || m.Value == 0):
			return nil
		case m.Kind == stream.ReturnShut:
			return errors.New("it has failed")
		}
	}
}

// retake takes hold of a VM that lacks pages, whose monitor may not answer before it has them.
func (g rescuing) retake(ctx context.Context, rec handover.Record) error {
	proc, _, err := g.r.host.Reopen(ctx, rec, false)
	if err != nil {
		return err
	}
	g.grip.proc = proc
	g.lacking.Store(true)
	g.life.Resume(life.Filling, rec)
	return lazily(g).retake(rec)
}
