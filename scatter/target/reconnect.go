package target

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/pageset"
	"github.com/scatter-vm/scatter/scatter/system"
)

// reconnect gives a VM that lacks pages another way to get them, if it has lost the one that it had: to a receiver that was killed, say.
func (g filling) reconnect(ctx context.Context) error {
	g.rejoin.Lock()
	defer g.rejoin.Unlock()
	vm, ram, in := g.grip.held()
	if in != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	in, err := vm.RecoverIncoming(ctx)
	if err != nil {
		return err
	}
	lacks, w, err := g.resume(ctx, ram, in)
	if err != nil {
		in.Close()
		return err
	}
	if !g.grip.take(func(h *grip) { h.in = in }) {
		in.Close()
		return errors.New("the target stops")
	}
	ram.Connect(in, w)
	ram.Resume(lacks)
	g.wg.Go(func() { receiving(g).readReturn(in) })
	g.log.Info("waits for pages again", "lacks", lacks.Len())
	if lacks.Len() == 0 {
		return ram.Finish()
	}
	return nil
}

// resume asks QEMU which pages have come, and has it go on (migration/savevm.c, loadvm_postcopy_handle_resume). What was placed past its socket,
// before it took over, it does not know of: that is seen in its memory.
func (g filling) resume(ctx context.Context, ram *pages.RAM, in net.Conn) (*pageset.Set, *stream.Writer, error) {
	deadline, _ := ctx.Deadline()
	if err := in.SetDeadline(deadline); err != nil {
		return nil, nil, err
	}
	rec := g.life.record()
	w := stream.NewWriter(in)
	w.SetRAM(rec.Section, rec.Footers, ram.Listed())
	has := ram.NewSet()
	for i, b := range ram.Blocks {
		if err := errors.Join(w.Command(stream.CmdRecvBitmap, append([]byte{byte(len(b.Name))}, b.Name...)), w.Flush()); err != nil {
			return nil, nil, err
		}
		m, err := answerOf(in, stream.ReturnRecvBitmap)
		if err != nil || m.Block != b.Name {
			return nil, nil, errors.Join(fmt.Errorf("QEMU does not say what it has of ram block %s", b.Name), err)
		}
		addBitmap(has, i, b.Pages(), m.Bitmap)
	}
	if err := ram.AddPresent(has); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(w.Command(stream.CmdPostcopyResume, nil), w.Flush()); err != nil {
		return nil, nil, err
	}
	if _, err := answerOf(in, stream.ReturnResumeAck); err != nil {
		return nil, nil, fmt.Errorf("QEMU does not go on: %w", err)
	}
	return has.Complement(), w, in.SetDeadline(time.Time{})
}

// answerOf is QEMU's next message of a kind; it may ask for pages meanwhile, and does so again later.
func answerOf(in net.Conn, kind stream.ReturnKind) (stream.Return, error) {
	for {
		m, err := stream.ReadReturn(in)
		if err != nil || m.Kind == kind {
			return m, err
		}
	}
}

// addBitmap adds the pages of a region whose bits are set.
func addBitmap(s *pageset.Set, region int, n uint32, bitmap []byte) {
	for word := 0; 8*word+8 <= len(bitmap); word++ {
		bits := binary.LittleEndian.Uint64(bitmap[8*word:])
		for i := range uint32(64) {
			if p := uint32(word)*64 + i; p < n && bits&(1<<i) != 0 {
				s.Add(pageset.Page{Region: region, Page: p})
			}
		}
	}
}

// retakeMemory takes hold of the memory of a VM that lacks pages, for a receiver that did not start it.
func (g filling) retakeMemory(ctx context.Context) error {
	vm, _, _ := g.grip.held()
	facts, err := vm.Describe(ctx)
	if err != nil {
		return err
	}
	mem, err := qemu.OpenMemory(facts.PID, facts.Blocks)
	if err != nil {
		return err
	}
	var blocks []system.RAMBlock
	for i, b := range facts.Blocks {
		if b.Migratable {
			blocks = append(blocks, system.RAMBlock{Name: b.ID, Length: b.Length, Index: i, Hidden: b.Host == 0})
		}
	}
	ram := pages.NewRAM(blocks, mem, false)
	if !g.grip.take(func(h *grip) { h.ram = ram }) {
		ram.Close()
		return errors.New("the target stops")
	}
	return nil
}
