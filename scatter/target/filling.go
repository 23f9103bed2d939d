package target

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
)

// What QEMU is asked on its way into post-copy, beside HeadPing.
const (
	dropPing = system.HeadPing + 1 // it has dropped what it is going to lack
	takePing = system.HeadPing + 2 // it has taken the device state, and waits for pages
)

// filling gives a guest its pages that takes over without some of them (post-copy).
type filling struct{ *guest }

// drop has QEMU drop what the source has said that it lacks, before it gets the device state.
func (g filling) drop(ctx context.Context, bulk bool) error {
	if !g.p.PostCopy {
		return errors.New("was not prepared to take over without pages")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	vm, ram, _ := g.grip.held()
	if err := lazily(g).begin(); err != nil {
		return err
	}
	if err := ram.Drop(dropPing, bulk); err != nil {
		return err
	}
	select {
	case <-g.dropped:
		g.lacking.Store(true)
		return nil
	case <-vm.Done():
		return fmt.Errorf("QEMU ended: %s", g.grip.process().Tail())
	case <-ctx.Done():
		return fmt.Errorf("QEMU does not answer: %w", context.Cause(ctx))
	}
}

// take asks QEMU to say when it has taken the device state, of which all has been written.
func (g filling) take() error {
	_, ram, _ := g.grip.held()
	if err := ram.Ping(takePing); err != nil {
		return err
	}
	if lacks, _ := ram.Lacking(); len(lacks) > 0 {
		return nil
	}
	return ram.Finish() // it lacks nothing from the beginning
}

// fill gives QEMU pages, and its disks. After the last one it returns true, once all is well.
func (g filling) fill(ctx context.Context, body []byte) (full bool, err error) {
	left, err := g.fillRAM(ctx, body)
	if err != nil {
		return false, err
	}
	more, err := g.grip.lazily().Fill(body)
	if err != nil || left+more > 0 {
		return false, err
	}
	return true, g.awaitFull(ctx)
}

// fillRAM gives QEMU pages, and tells how many are left. One that has ended needs none.
func (g filling) fillRAM(ctx context.Context, body []byte) (left int, err error) {
	if g.ramThere.Load() {
		return 0, nil
	}
	_, ram, _ := g.grip.held()
	left, err = ram.Fill(body)
	switch {
	case err != nil && !g.disks.Load() && g.grip.process().Wait(system.LastWords):
		return 0, nil // whoever watches it sees that, too
	case err == nil && left == 0 && ram.Rescued():
		return 0, rescuing(g).conclude(ctx)
	}
	return left, err
}

// fullTimeout bounds how long QEMU may take to say that it has all pages, once they were written.
const fullTimeout = 60 * time.Second

func (g filling) awaitFull(ctx context.Context) error {
	if g.disks.Load() { // to make those safe takes as long as the storage does
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, fullTimeout)
		defer cancel()
	}
	select {
	case <-g.full:
		return nil
	case <-g.closing:
		return errors.New("the target stops")
	case <-ctx.Done():
		return fmt.Errorf("QEMU does not say that it has all of its pages: %w", context.Cause(ctx))
	}
}

// wants tells the source which pages QEMU asks for.
func (g filling) wants(block string, m stream.Return) {
	_, ram, _ := g.grip.held()
	if ram == nil {
		return
	}
	if body := ram.Want(block, m.Start, m.Length); len(body) > 0 {
		g.ask(body)
	}
}

// ask asks the source for pages.
func (g filling) ask(body []byte) {
	if c := g.grip.feeder(); c != nil {
		_ = c.Send(control.Wants{Body: body}) // one that is lost is told when it comes again
	}
}

// there notes that QEMU has all pages, or that its disks are all there; with the other one, all is.
func (g filling) there(what *atomic.Bool) {
	what.Store(true)
	if g.ramThere.Load() && g.disks.Load() {
		g.done()
	}
}

// done: nothing is lacked. Whether the VM runs already does not matter.
func (g filling) done() {
	g.lacking.Store(false)
	whole := func(rec *handover.Record) { rec.PostCopy = false }
	err := g.life.Change(life.Loaded, life.Loaded, handover.RecLoaded, whole)
	if _, other := errors.AsType[life.StateError](err); other {
		err = g.life.Change(life.Filling, life.Running, handover.RecDone, whole)
	}
	if _, other := errors.AsType[life.StateError](err); err != nil && !other {
		g.log.Error("journal", "err", err)
		_ = g.life.Change(life.Filling, life.Running, "", nil) // it does run, and has all
	}
	if c := g.grip.feeder(); c != nil {
		_ = c.Send(g.filled()) // a source that is lost asks
	}
	g.fullOnce.Do(func() { close(g.full) })
	if g.life.Now() == life.Running {
		running(g).settle()
		g.grip.release()
	}
}

// filled says so to the source.
func (g filling) filled() control.Filled {
	m := control.Filled{VM: g.key.vm}
	if _, ram, _ := g.grip.held(); ram != nil {
		w, disks := ram.Waits(), g.grip.lazily().Waits()
		w.Add(&disks)
		n, median, most := w.Told()
		m.Waits, m.Median, m.Most = n, ms(median), ms(most)
		g.log.Info("has all of its pages", "waits", n, "median", median, "most", most)
	}
	return m
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// feed takes the pages that a VM lacks which runs here, over a connection that was made for them.
func (g filling) feed(ctx context.Context, c *control.Conn) error {
	if s := g.life.Now(); s != life.Filling && s != life.Launching {
		return fmt.Errorf("vm %s: does not wait for pages: it is %s", g.p.Name, s)
	}
	full, err := rescuing(g).reconnect(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", g.p.Name, err)
	}
	if full && g.disks.Load() {
		return nil // the source asks again
	}
	_, ram, _ := g.grip.held()
	if old := g.grip.feedBy(c); old != nil {
		old.Close()
	}
	lacks, asked := ram.Lacking()
	if full {
		lacks, asked.Body = nil, nil
	}
	disks, more := g.grip.lazily().Lacking()
	for _, m := range append(lacks, disks...) {
		if err := c.Send(m); err != nil {
			return err
		}
	}
	if err := c.Send(control.TakeOver{Blocks: append(system.NamedBlocks(ram.Blocks), lazily(g).blocks()...)}); err != nil {
		return err
	}
	if asked.Body = append(asked.Body, more...); len(asked.Body) > 0 {
		if err := c.Send(asked); err != nil {
			return err
		}
	}
	return g.takePages(ctx, c)
}

// takePages takes pages until there are all, and says so.
func (g filling) takePages(ctx context.Context, c *control.Conn) error {
	z, err := newUnpacker()
	if err != nil {
		return err
	}
	defer z.Close()
	var buf []byte
	for full := false; !full; {
		m, err := c.Receive()
		select {
		case <-g.full: // bulk has brought the last ones
			return nil
		default:
		}
		if err != nil {
			return fmt.Errorf("vm %s: its pages broke off: %w", g.p.Name, system.NoEOF(err))
		}
		body := buf
		switch m := m.(type) {
		case control.Pages:
			body = m.Body
		case control.PackedPages:
			if buf, err = z.DecodeAll(m.Body, buf[:0]); err != nil {
				return fmt.Errorf("vm %s: its pages: %w", g.p.Name, err)
			}
			body = buf
		default:
			return fmt.Errorf("vm %s: unexpected %s", g.p.Name, m.Type())
		}
		if full, err = g.fill(ctx, body); err != nil {
			return g.lastWords(fmt.Errorf("vm %s: its pages: %w", g.p.Name, err))
		}
	}
	return nil
}
