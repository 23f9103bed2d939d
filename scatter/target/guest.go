package target

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
)

// guest is a VM on its target: where it stands, what is held of its QEMU, and how it ends. What takes it in is receiving, what lets it live
// here running.
type guest struct {
	r    *receiver
	key  guestKey
	p    control.Prepare
	log  *slog.Logger
	conn *control.Conn // to the source, to tell what happens by itself; nil if it was adopted

	life *life.Life
	grip grip

	pid      atomic.Int64  // of its QEMU; 0 before
	complete atomic.Bool   // its stream has ended in order
	unseen   atomic.Bool   // launching, and nobody waits any more for QEMU to say that it runs
	lacking  atomic.Bool   // it takes over, or has, without all of its pages
	ramThere atomic.Bool   // of these, its QEMU has all
	disks    atomic.Bool   // of these, its disks are all there
	prepared chan struct{} // closed when QEMU has taken the head of the stream
	dropped  chan struct{} // closed when QEMU has dropped what it is going to lack
	full     chan struct{} // closed when QEMU has all of its pages, in post-copy
	fullOnce sync.Once     // closes it
	rejoin   sync.Mutex    // held while it gets another way to its pages
	closing  chan struct{} // closed by release

	forgotten bool           // guarded by r.mu
	wg        sync.WaitGroup // the reader of the return path, the watcher of the process
}

func newGuest(r *receiver, key guestKey, p control.Prepare, conn *control.Conn) *guest {
	rec := handover.Record{Evacuation: key.evacuation, Peer: key.source, VM: key.vm, Name: p.Name, Memory: p.Memory, VCPUs: p.VCPUs}
	return &guest{r: r, key: key, p: p, conn: conn, life: life.New(r.journal, rec), prepared: make(chan struct{}), dropped: make(chan struct{}), full: make(chan struct{}), closing: make(chan struct{}),
		log: r.log.With("vm", p.Name, "source", key.source, "evacuation", key.evacuation)}
}

func (k sessionKey) id() (id [8]byte) {
	hex.Decode(id[:], []byte(k.evacuation)) // checked when the connection was accepted
	return id
}

// where translates the state for those who ask.
func (g *guest) where() control.VMState {
	switch s := g.life.Now(); {
	case s == life.Streaming && g.complete.Load():
		return control.StateLoading
	case s == life.Loaded && g.lacking.Load():
		return control.StateLacking
	case s == life.Loaded:
		return control.StateLoaded
	case s == life.Filling && (g.lives() || !g.disks.Load()): // what its guest has written is on both hosts
		return control.StateFilling
	case s == life.Launching && g.lacking.Load():
		return control.StateFilling // its QEMU may wait for a page before it says that it runs
	case s == life.Launching:
		return control.StateLaunching
	case s == life.Running && g.lives():
		return control.StateRunning
	case s == life.Filling || s == life.Running || s == life.Ended:
		return control.StateEnded
	case s == life.Aborted:
		return control.StateAborted
	}
	return control.StateHeld
}

// lives tells whether the QEMU of a guest that runs lives this moment: its end may not have been noticed yet.
func (g *guest) lives() bool { return g.grip.process().Alive() }

// fail gives the guest up by itself and tells the source.
func (g *guest) fail(err error) {
	if g.giveUp(err, life.Streaming) {
		g.log.Warn("failed", "err", err)
		_ = g.conn.Send(control.Failed{VM: g.key.vm, Error: err.Error()})
	}
}

// abort is the source's word that the VM stays there. It does nothing once Run was received.
func (g *guest) abort(err error) {
	if g.giveUp(err, life.Loaded) {
		g.log.Info("given up", "cause", err)
	}
}

// abortAndWait is abort for a source that is about to run the VM again: it returns when the QEMU holds no locks any more.
func (g *guest) abortAndWait(err error) {
	g.abort(err)
	if proc := g.grip.process(); g.life.Now() == life.Aborted && proc != nil {
		proc.Wait(system.KillWait)
	}
}

// orphan is called when the source is lost: a guest that is not loaded is given up, a loaded one waits.
func (g *guest) orphan(err error) {
	if g.giveUp(err, life.Streaming) {
		g.log.Info("given up", "cause", err)
	}
}

// giveUp ends the guest if its state is at most last, and says whether it did.
func (g *guest) giveUp(err error, last life.State) bool {
	given, jerr := g.life.GiveUp(err, last)
	if jerr != nil {
		g.log.Error("journal", "err", jerr)
	}
	if given {
		g.end()
	}
	return given
}

// end kills the QEMU. Name and room are given back once it has ended: a large one takes its time to die, and the blocks of
// other guests must not wait for it.
func (g *guest) end() {
	g.grip.letGo()
	proc := g.grip.process()
	if proc == nil {
		g.gone()
		return
	}
	proc.SignalKill()
	g.wg.Go(func() {
		proc.Reap()
		g.gone()
	})
}

// release lets go of the guest when the receiver stops.
func (g *guest) release() {
	g.orphan(errors.New("the target stops"))
	close(g.closing)
	if g.life.Now() < life.Ended {
		g.grip.letGo()
	}
	g.wg.Wait()
	g.grip.stored().Wait()
	if proc := g.grip.process(); proc != nil {
		proc.Close()
	}
}

// lastWords adds to the end of a connection to the guest's QEMU what that has to say about it.
func (g *guest) lastWords(err error) error {
	proc := g.grip.process()
	ended := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
	if proc == nil || !ended {
		return err
	}
	proc.Wait(system.LastWords)
	if tail := proc.Tail(); tail != "" {
		return fmt.Errorf("QEMU could not load the VM: %s (%w)", tail, err)
	}
	return err
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
	return max(g.p.Memory, system.BlockBytes(g.p.Blocks)-freeBlocks, leastCharge) + lazily{g}.takes()
}
