package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
)

// startTimeout bounds the start of a QEMU until it waits for pages.
const startTimeout = 60 * time.Second

// receiving takes a guest from nothing to a VM that is complete and paused.
type receiving struct{ *guest }

// prepare starts the QEMU, hands it the head of the stream and tells the source that it waits for pages.
func (g receiving) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := errors.Join(qemu.CheckName(g.p.Name), system.CheckBlocks(g.p.Blocks, g.p.Memory)); err != nil {
		return err
	}
	if err := g.r.journalRoom(); err != nil {
		return err
	}
	if err := g.makeDisks(ctx); err != nil {
		return err
	}
	ram, err := g.launch(ctx)
	if err != nil {
		return err
	}
	if err := g.openIncoming(ctx, ram); err != nil {
		return err
	}
	zero, err := ram.Zero()
	if err != nil {
		return err
	}
	ram.Open()
	if err := g.life.Change(life.Starting, life.Waiting, "", nil); err != nil {
		return g.givenUp(err)
	}
	g.log.Info("waits for pages", "direct", ram.Direct())
	return g.conn.Send(control.Prepared{VM: g.key.vm, Zero: zero, DisksFirst: lazily(g).find(ctx)})
}

// givenUp tells why a guest is not in the state that it should be in.
func (g receiving) givenUp(err error) error {
	if cause := g.life.Why(); cause != nil {
		return cause
	}
	return err
}

// note writes down that the guest is being prepared, and what has become known of it.
func (g receiving) note(amend func(*handover.Record)) error {
	err := g.life.Change(life.Starting, life.Starting, handover.RecPrepare, amend)
	if _, ok := errors.AsType[life.StateError](err); ok {
		return g.givenUp(err)
	}
	return err
}

// launch starts the QEMU, by ourselves or by the launcher that the operator named, and takes hold of its RAM.
func (g receiving) launch(ctx context.Context) (*pages.RAM, error) {
	proc, vm, err := g.r.host.Start(ctx, g.p)
	if err != nil {
		return nil, err
	}
	g.pid.Store(int64(proc.PID))
	if !g.grip.take(func(h *grip) { h.proc, h.vm = proc, vm }) {
		g.end() // it was given up when there was nothing yet to be ended
		return nil, g.life.Why()
	}
	running(g).watch()
	facts, err := vm.Describe(ctx)
	if err != nil {
		return nil, err
	}
	if err := g.note(func(rec *handover.Record) { rec.Socket, rec.PID = proc.Socket, proc.PID }); err != nil {
		return nil, err
	}
	blocks, err := system.MatchNamed(g.p.Blocks, facts.Blocks)
	if err != nil {
		return nil, err
	}
	mem, err := qemu.OpenMemory(facts.PID, facts.Blocks)
	if err != nil {
		g.log.Warn("guest memory cannot be reached, pages go through QEMU's incoming socket, and nothing can be verified", "err", err)
		mem = nil
	}
	ram := pages.NewRAM(blocks, mem, !g.r.cfg.NoDirect)
	if !g.grip.take(func(h *grip) { h.ram = ram }) {
		ram.Close()
		return nil, g.life.Why()
	}
	return ram, nil
}

// openIncoming opens the way into QEMU, writes the head of the stream and waits until QEMU has taken it:
// it has then accepted the machine type and the RAM blocks.
func (g receiving) openIncoming(ctx context.Context, ram *pages.RAM) error {
	vm, _, _ := g.grip.held()
	in, err := vm.MigrateIncoming(ctx)
	if err != nil {
		return err
	}
	if !g.grip.take(func(h *grip) { h.in = in }) {
		in.Close()
		return g.life.Why()
	}
	g.wg.Go(func() { g.readReturn(in) })
	w := stream.NewWriter(in)
	ram.Connect(in, w)
	if err := system.WriteHead(w, g.p.Header); err != nil {
		return fmt.Errorf("QEMU did not take the head of the stream: %w", err)
	}
	select {
	case <-g.prepared:
		return nil
	case <-vm.Done():
		return fmt.Errorf("QEMU ended: %s", g.grip.process().Tail())
	case <-ctx.Done():
		return fmt.Errorf("QEMU does not answer: %w", context.Cause(ctx))
	}
}

// readReturn reads what QEMU says about the load, until it closes the socket.
func (g receiving) readReturn(in net.Conn) {
	asked := "" // the block of the last request
	for {
		m, err := stream.ReadReturn(in)
		if err != nil {
			g.grip.lose(in)
			if s := g.where(); s != control.StateAborted && s != control.StateRunning && s != control.StateFilling {
				err = g.lastWords(fmt.Errorf("QEMU closed the incoming socket: %w", system.NoEOF(err)))
			}
			g.fail(err)
			return
		}
		switch {
		case m.Kind == stream.ReturnPong && m.Value == system.HeadPing:
			happen(g.prepared)
		case m.Kind == stream.ReturnPong && m.Value == dropPing:
			happen(g.dropped)
		case m.Kind == stream.ReturnPong && m.Value == takePing:
			g.wg.Go(g.loaded) // it asks QEMU, which may wait for a page that it asks us for
		case m.Kind == stream.ReturnReqPagesID, m.Kind == stream.ReturnReqPages:
			if m.Kind == stream.ReturnReqPagesID {
				asked = m.Block
			}
			filling(g).wants(asked, m)
		case m.Kind == stream.ReturnShut && m.Value == 0 && g.lacking.Load():
			filling(g).there(&g.ramThere)
			return
		case m.Kind == stream.ReturnShut && m.Value == 0:
			g.loaded()
			return
		case m.Kind == stream.ReturnShut:
			g.fail(fmt.Errorf("QEMU could not load the VM: %s", g.grip.process().Tail()))
			return
		}
	}
}

// happen closes what waits for an answer of QEMU, which may come twice. Only who reads the answers does so.
func happen(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// newUnpacker is what reads frames that a source has compressed, none of which becomes longer than a frame may be.
func newUnpacker() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(control.MaxFrame), zstd.WithDecoderLowmem(true))
}

// loaded: from here on the VM waits for the source's word, so the journal must know of it first. It does nothing to a guest that was given up
// meanwhile.
func (g receiving) loaded() {
	if err := g.grip.stored().AwaitLetGo(); err != nil {
		g.fail(err)
		return
	}
	err := g.life.Change(life.Streaming, life.Loaded, handover.RecLoaded, func(rec *handover.Record) {
		if rec.PostCopy = g.lacking.Load(); rec.PostCopy {
			_, ram, _ := g.grip.held()
			rec.RAM = ram.Recorded()
			lazily(g).note(rec)
		}
	})
	if _, other := errors.AsType[life.StateError](err); other {
		return
	}
	if err != nil {
		g.fail(err)
		return
	}
	g.log.Info("loaded")
	_ = g.conn.Send(loadedMessage(g.guest)) // a lost source asks
}

// feed copies the guest's stream from its connection to QEMU. It returns when the source ends it, in post-copy when QEMU has all pages.
func (g receiving) feed(ctx context.Context, c *control.Conn) error {
	if err := g.life.Change(life.Waiting, life.Streaming, "", nil); err != nil {
		return fmt.Errorf("vm %s: does not wait for its stream", g.p.Name)
	}
	if !g.grip.take(func(h *grip) { h.stream = c }) {
		return fmt.Errorf("vm %s: was given up: %w", g.p.Name, g.life.Why())
	}
	_, ram, in := g.grip.held()
	ram.Stop() // from the first byte of the stream on, bulk comes too late
	disks := g.grip.stored()
	disks.Stop()
	z, err := newUnpacker()
	if err != nil {
		return err
	}
	defer z.Close()
	var buf []byte
	for {
		m, err := c.Receive()
		if err != nil {
			err = fmt.Errorf("vm %s: its stream broke off: %w", g.p.Name, system.NoEOF(err))
			g.fail(err)
			return err
		}
		switch m := m.(type) {
		case control.Data:
			_, err = in.Write(m.Body)
		case control.Packed:
			if buf, err = z.DecodeAll(m.Body, buf[:0]); err == nil {
				_, err = in.Write(buf)
			}
		case control.Lacks:
			err = g.lacks(ram, m)
		case control.TakeOver:
			err = filling(g).drop(ctx, m.Bulk)
		case control.Pages:
			err = disks.Take(m.Body)
		case control.PackedPages:
			if buf, err = z.DecodeAll(m.Body, buf[:0]); err == nil {
				err = disks.Take(buf)
			}
		case control.Sync:
			asked := time.Now()
			err = disks.Sync(m.Last, func(err error) { g.synced(asked, err) })
		case control.DataEnd:
			if g.complete.Store(true); !g.lacking.Load() {
				return nil
			}
			if err = filling(g).take(); err == nil {
				return filling(g).takePages(ctx, c)
			}
		default:
			err = fmt.Errorf("unexpected %s", m.Type())
		}
		if err != nil {
			err = g.lastWords(fmt.Errorf("vm %s: stream: %w", g.p.Name, err))
			g.fail(err)
			return err
		}
	}
}

// lacks takes a part of what the VM is going to lack.
func (g receiving) lacks(ram *pages.RAM, m control.Lacks) error {
	region, ok := m.Region()
	if !ok {
		return errors.New("malformed lacks")
	}
	lack := ram.Lack
	if region >= len(g.p.Blocks) {
		lack = g.grip.lazily().Lack
	}
	for first, n := range m.Runs() {
		if err := lack(region, first, n); err != nil {
			return err
		}
	}
	return nil
}

// sendDigest digests the loaded guest's RAM, and the disks that came with it, but for what is to be skipped.
func (g receiving) sendDigest(ctx context.Context, c *control.Conn, skip []control.Span) error {
	_, ram, _ := g.grip.held()
	if s := g.life.Now(); s != life.Loaded || ram == nil {
		return fmt.Errorf("vm %s: cannot be digested: it is %s", g.p.Name, s)
	}
	sums, err := ram.Digest(ctx, skip)
	if err == nil {
		var more [][]byte
		more, err = g.grip.stored().Digest(ctx)
		sums = append(sums, more...)
	}
	if err != nil {
		return fmt.Errorf("vm %s: cannot be digested: %w", g.p.Name, err)
	}
	return c.Send(control.Digested{VM: g.key.vm, Sums: sums})
}
