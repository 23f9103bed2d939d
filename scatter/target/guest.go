package target

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/system"
)

// guestState is where a target stands with a VM.
//
//	starting -> waiting -> streaming -> loaded <-> launching -> running -> ended
//	    \          \           \          \
//	     ------------------------------------> aborted
//
// From loaded on only the source's word changes the state, whatever happens to the connection. A QEMU that refuses to run the VM leaves
// it loaded: the copy may be the only one.
type guestState uint8

const (
	guestStarting  guestState = iota // QEMU is being started
	guestWaiting                     // takes bulk pages
	guestStreaming                   // takes the filtered stream; bulk pages come too late
	guestLoaded                      // complete and paused
	guestLaunching                   // Run was received, QEMU has not said yet that it runs
	guestRunning                     // it lives here
	guestEnded                       // it has lived here, and has ended
	guestAborted                     // nothing of it is left, and it never ran
)

// startTimeout bounds the start of a QEMU until it waits for pages.
const startTimeout = 60 * time.Second

// guest is a VM on its target.
type guest struct {
	r    *receiver
	key  guestKey
	p    control.Prepare
	log  *slog.Logger
	conn *control.Conn // to the source, to tell what happens by itself

	pid atomic.Int64 // of its QEMU; 0 before

	mu        sync.Mutex // guards the fields below
	state     guestState
	cause     error
	proc      *system.Process
	client    *qemu.Client
	ram       *pages.RAM    // nil before its QEMU has told it
	in        net.Conn      // QEMU's incoming socket
	stream    *control.Conn // from the source, once it streams
	complete  bool          // its stream has ended in order
	paused    bool          // it is not to be continued: it was paused on the source
	unseen    bool          // launching, and nobody waits any more for QEMU to say that it runs
	prepared  chan struct{}
	closing   chan struct{}  // closed by release
	forgotten bool           // guarded by r.mu
	wg        sync.WaitGroup // the reader of the return path, the watcher of the process
}

func newGuest(r *receiver, key guestKey, p control.Prepare, conn *control.Conn) *guest {
	return &guest{r: r, key: key, p: p, conn: conn, prepared: make(chan struct{}), closing: make(chan struct{}),
		log: r.log.With("vm", p.Name, "source", key.source, "evacuation", key.evacuation)}
}

func (k sessionKey) id() (id [8]byte) {
	hex.Decode(id[:], []byte(k.evacuation)) // checked when the connection was accepted
	return id
}

// prepare starts the QEMU, hands it the head of the stream and tells the source that it waits for pages.
func (g *guest) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := g.checkPrepare(); err != nil {
		return err
	}
	if err := g.r.journalRoom(); err != nil {
		return err
	}
	if err := g.record(handover.RecPrepare); err != nil {
		return err
	}
	if err := g.launch(ctx); err != nil {
		return err
	}
	if err := g.openIncoming(ctx); err != nil {
		return err
	}
	zero, err := g.ram.Zero()
	if err != nil {
		return err
	}
	g.mu.Lock()
	ok := g.state == guestStarting
	if ok {
		g.state = guestWaiting
		g.ram.Open()
	}
	g.mu.Unlock()
	if !ok {
		return g.cause
	}
	g.log.Info("waits for pages", "direct", g.ram.Direct())
	return g.conn.Send(control.Prepared{VM: g.key.vm, Zero: zero})
}

func (g *guest) checkPrepare() error {
	if err := qemu.CheckName(g.p.Name); err != nil {
		return err
	}
	for _, b := range g.p.Blocks {
		if b.Length%model.PageSize != 0 || b.Length/model.PageSize >= system.MaxGuestPages {
			return fmt.Errorf("ram block %.64q: length %d", b.ID, b.Length)
		}
	}
	if sum := g.blockBytes(); sum > g.p.Memory+1<<30 {
		return fmt.Errorf("ram blocks of %d bytes, but memory of %d", sum, g.p.Memory)
	}
	return nil
}

// blockBytes is the size of all RAM blocks, of which those that are too large are refused.
func (g *guest) blockBytes() (sum int64) {
	for _, b := range g.p.Blocks {
		sum += int64(min(b.Length, system.MaxGuestPages*model.PageSize))
	}
	return sum
}

// What a VM takes beside its memory without being charged for it, and the least that any is charged.
const (
	freeBlocks  = 256 << 20 // bytes of video memory, ROMs and the like
	leastCharge = 1 << 20
)

// takes is the room that the VM takes, in bytes.
func (g *guest) takes() int64 {
	if g.p.Memory < 0 {
		return g.p.Memory // is refused
	}
	return max(g.p.Memory, g.blockBytes()-freeBlocks, leastCharge)
}

// launch starts the QEMU, by ourselves or by the launcher that the operator named.
func (g *guest) launch(ctx context.Context) error {
	proc, client, err := g.r.start(ctx, g.p)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.proc, g.client = proc, client
	g.pid.Store(int64(proc.PID))
	given := g.state == guestAborted
	if given {
		g.end(g.cause)
	}
	g.mu.Unlock()
	if given {
		return g.cause
	}
	g.watchProcess()
	vm, err := client.Describe(ctx)
	if err != nil {
		return err
	}
	if err := g.setLimits(ctx, client); err != nil {
		return err
	}
	if err := g.record(handover.RecPrepare); err != nil { // again, now with the process
		return err
	}
	var listed []stream.RAMBlock
	for _, b := range g.p.Blocks {
		listed = append(listed, stream.RAMBlock{Name: b.ID, Length: b.Length})
	}
	blocks, err := system.MatchBlocks(listed, vm.Blocks)
	if err != nil {
		return err
	}
	for i, b := range blocks {
		if have := vm.Blocks[b.Index].MaxLength; b.Length > have {
			return fmt.Errorf("ram block %s: %d bytes, here at most %d", g.p.Blocks[i].ID, b.Length, have)
		}
	}
	mem, err := qemu.OpenMemory(vm.PID, vm.Blocks)
	if err != nil {
		g.log.Warn("guest memory cannot be reached, pages go through QEMU's incoming socket, and nothing can be verified", "err", err)
		mem = nil
	}
	return g.takeRAM(pages.NewRAM(blocks, mem, !g.r.cfg.NoDirect))
}

// takeRAM takes hold of the QEMU's RAM, unless the guest was given up meanwhile.
func (g *guest) takeRAM(ram *pages.RAM) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == guestAborted {
		ram.Close()
		return g.cause
	}
	g.ram = ram
	return nil
}

// openIncoming opens the way into QEMU, writes the head of the stream and waits until QEMU has taken it:
// it has then accepted the machine type and the RAM blocks.
func (g *guest) openIncoming(ctx context.Context) error {
	in, err := g.client.MigrateIncoming(ctx)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.in = in
	g.mu.Unlock()
	g.wg.Go(g.readReturn)
	w := stream.NewWriter(in)
	g.ram.Connect(in, w)
	if err := system.WriteHead(w, g.p.Header); err != nil {
		return fmt.Errorf("QEMU did not take the head of the stream: %w", err)
	}
	select {
	case <-g.prepared:
		return nil
	case <-g.client.Done():
		return fmt.Errorf("QEMU ended: %s", g.proc.Tail())
	case <-ctx.Done():
		return fmt.Errorf("QEMU does not answer: %w", context.Cause(ctx))
	}
}

// readReturn reads what QEMU says about the load, until it closes the socket.
func (g *guest) readReturn() {
	for {
		m, err := stream.ReadReturn(g.in)
		if err != nil {
			if s := g.where(); s != control.StateAborted && s != control.StateRunning {
				err = g.lastWords(fmt.Errorf("QEMU closed the incoming socket: %w", system.NoEOF(err)))
			}
			g.fail(err)
			return
		}
		switch {
		case m.Kind == stream.ReturnPong && m.Value == system.HeadPing:
			select {
			case <-g.prepared:
			default:
				close(g.prepared)
			}
		case m.Kind == stream.ReturnShut && m.Value == 0:
			g.loaded()
			return
		case m.Kind == stream.ReturnShut:
			g.fail(fmt.Errorf("QEMU could not load the VM: %s", g.proc.Tail()))
			return
		}
	}
}

// loaded: from here on the VM waits for the source's word, so the journal must know of it first.
func (g *guest) loaded() {
	if ok, err := g.enterLoaded(); err != nil {
		g.fail(err)
	} else if ok {
		g.log.Info("loaded")
		_ = g.conn.Send(g.loadedMessage()) // a lost source asks
	}
}

// enterLoaded does nothing to a guest that was given up meanwhile.
func (g *guest) enterLoaded() (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != guestStreaming {
		return false, nil
	}
	if err := g.recordLocked(handover.RecLoaded); err != nil {
		return false, err
	}
	g.state = guestLoaded
	return true, nil
}

// fail gives the guest up by itself and tells the source.
func (g *guest) fail(err error) {
	if g.giveUp(err, guestStreaming) {
		g.log.Warn("failed", "err", err)
		_ = g.conn.Send(control.Failed{VM: g.key.vm, Error: err.Error()})
	}
}

// feed copies the guest's stream from its connection to QEMU. It returns when the source ends it.
func (g *guest) feed(ctx context.Context, c *control.Conn) error {
	g.mu.Lock()
	ok := g.state == guestWaiting
	if ok {
		g.state = guestStreaming
	}
	in, ram := g.in, g.ram
	if ok {
		g.stream = c
	}
	g.mu.Unlock()
	if !ok {
		return fmt.Errorf("vm %s: does not wait for its stream", g.p.Name)
	}
	ram.Stop() // from the first byte of the stream on, bulk comes too late
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(control.MaxFrame), zstd.WithDecoderLowmem(true))
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
		case control.DataEnd:
			g.mu.Lock()
			g.complete = true
			g.mu.Unlock()
			return nil
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

// sendDigest digests the loaded guest's RAM, but for what is to be skipped.
func (g *guest) sendDigest(ctx context.Context, c *control.Conn, skip []control.Span) error {
	g.mu.Lock()
	state, ram := g.state, g.ram
	g.mu.Unlock()
	if state != guestLoaded || ram == nil {
		return fmt.Errorf("vm %s: cannot be digested: it is %s", g.p.Name, state)
	}
	sums, err := ram.Digest(ctx, skip)
	if err != nil {
		return fmt.Errorf("vm %s: cannot be digested: %w", g.p.Name, err)
	}
	return c.Send(control.Digested{VM: g.key.vm, Sums: sums})
}

func (g *guest) closeFiles() {
	if g.stream != nil {
		g.stream.Close()
	}
	if g.in != nil {
		g.in.Close()
	}
	if g.ram != nil {
		g.ram.Close()
	}
}

// abort is the source's word that the VM stays there. It does nothing once Run was received.
func (g *guest) abort(err error) {
	if g.giveUp(err, guestLoaded) {
		g.log.Info("given up", "cause", err)
	}
}

// abortAndWait is abort for a source that is about to run the VM again: it returns when the QEMU holds no locks any more.
func (g *guest) abortAndWait(err error) {
	g.abort(err)
	g.mu.Lock()
	proc, given := g.proc, g.state == guestAborted
	g.mu.Unlock()
	if given && proc != nil {
		proc.Wait(system.KillWait)
	}
}

// orphan is called when the source is lost: a guest that is not loaded is given up, a loaded one waits.
func (g *guest) orphan(err error) {
	if g.giveUp(err, guestStreaming) {
		g.log.Info("given up", "cause", err)
	}
}

// giveUp ends the guest if its state is at most last, and says whether it did.
func (g *guest) giveUp(err error, last guestState) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.giveUpLocked(err, last)
}

func (g *guest) giveUpLocked(err error, last guestState) bool {
	if g.state > last {
		return false
	}
	if jerr := g.recordLocked(handover.RecAbort); jerr != nil {
		g.log.Error("journal", "err", jerr)
	}
	g.end(err)
	return true
}

// end kills the QEMU. Name and room are given back once it has ended: a large one takes its time to die, and the blocks of
// other guests must not wait for it. g.mu is held.
func (g *guest) end(err error) {
	g.state, g.cause = guestAborted, err
	g.closeFiles()
	if g.client != nil {
		g.client.Close()
	}
	proc := g.proc
	if proc == nil {
		g.r.forget(g)
		return
	}
	proc.SignalKill()
	g.wg.Go(func() {
		proc.Reap()
		g.r.forget(g)
	})
}

// release lets go of the guest when the receiver stops.
func (g *guest) release() {
	g.orphan(errors.New("the target stops"))
	close(g.closing)
	g.mu.Lock()
	if g.state < guestEnded {
		g.closeFiles()
		if g.client != nil {
			g.client.Close()
		}
	}
	g.mu.Unlock()
	g.wg.Wait()
	if g.proc != nil {
		g.proc.Close()
	}
}

// where translates the state for those who ask.
func (g *guest) where() control.VMState {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.state == guestStreaming && g.complete:
		return control.StateLoading
	case g.state == guestLoaded:
		return control.StateLoaded
	case g.state == guestLaunching:
		return control.StateLaunching
	case g.runsNow():
		return control.StateRunning
	case g.state == guestRunning || g.state == guestEnded:
		return control.StateEnded
	case g.state == guestAborted:
		return control.StateAborted
	}
	return control.StateHeld
}

// runsNow tells whether the VM lives here this moment: its end may not have been noticed yet. g.mu is held.
func (g *guest) runsNow() bool { return g.state == guestRunning && g.proc.Alive() }

func (s guestState) String() string {
	return [...]string{"starting", "waiting", "streaming", "loaded", "launching", "running", "ended", "aborted"}[s]
}

func (g *guest) record(k handover.RecordKind) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.recordLocked(k)
}

func (g *guest) recordLocked(k handover.RecordKind) error {
	rec := handover.Record{Kind: k, Evacuation: g.key.evacuation, Peer: g.key.source, VM: g.key.vm, Name: g.p.Name, Paused: g.paused,
		Memory: g.p.Memory, VCPUs: g.p.VCPUs}
	if g.proc != nil {
		rec.Socket, rec.PID = g.proc.Socket, g.proc.PID
	}
	return g.r.journal.Append(rec)
}

// lastWords adds to the end of a connection to the guest's QEMU what that has to say about it.
func (g *guest) lastWords(err error) error {
	ended := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
	if g.proc == nil || !ended {
		return err
	}
	g.proc.Wait(system.LastWords)
	if tail := g.proc.Tail(); tail != "" {
		return fmt.Errorf("QEMU could not load the VM: %s (%w)", tail, err)
	}
	return err
}
