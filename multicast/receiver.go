package multicast

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/multicast/fec"
	"github.com/scatter-vm/scatter/multicast/udp"
)

// ReceiverConfig is what a Receiver needs.
type ReceiverConfig struct {
	Interface  string     // where groups are joined
	Local      netip.Addr // address for unicast datagrams; zero: the interface's first
	Ports      [2]uint16  // of which those datagrams come to one, first and last; zero: any
	Source     netip.Addr // the source's address, for source-specific joins; zero: any source
	Key        [32]byte   // of the evacuation
	Evacuation [8]byte
	Window     int // bytes of blocks held until they are delivered; 0 = DefaultWindow. Bounds the memory

	// Control sends a message to the source on the control path: reliable, in order. Called from one goroutine of the
	// Receiver at a time. It may block; reports are put together when it returns.
	Control func(message []byte) error
	// Deliver places a block; it is confirmed to the source when Deliver has returned nil. The payload is borrowed for
	// the call. Blocks come as they are complete, not always in the order of their numbers, and each one once. An error
	// makes the source eject this target.
	Deliver func(channel ChannelID, block uint64, payload []byte) error
	Workers int    // calls of Deliver at the same time; 0 = 1
	Begin   func() // called by each worker before it begins, to give its thread a priority for example; nil: nothing
	// Quick says that Deliver only copies, and waits for nothing. It is called where the datagrams are read then, one block at a time while it
	// is still in the processor's cache, and Workers has no effect. The reading waits for it: leave it false where Deliver may take longer
	// than some milliseconds.
	Quick bool

	Log *slog.Logger // nil: discarded
	// In runs open where sockets are to be opened, another network namespace for example; nil: as it is.
	In func(open func() error) error
}

func (c *ReceiverConfig) complete() error {
	if c.Control == nil || c.Deliver == nil {
		return errors.New("receiver: Control or Deliver is nil")
	}
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	if c.Window < MinWindow || c.Window > MaxWindow {
		return fmt.Errorf("receiver: window %d: must be %d to %d", c.Window, MinWindow, MaxWindow)
	}
	switch {
	case c.Quick:
		c.Workers = 0
	case c.Workers < 1:
		c.Workers = 1
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Receiver is a target's end. Its methods are safe for concurrent use, but messages must be handled in their order.
type Receiver struct {
	cfg     ReceiverConfig
	unicast *udp.Receiver
	groups  *groups
	origin  time.Time
	done    chan struct{}
	wake    chan struct{} // something to tell the source
	wg      sync.WaitGroup

	delivering sync.Mutex // guards decoder, and is held while a reader delivers
	decoder    fec.Decoder

	mu      sync.Mutex // guards what follows
	state   *recvState
	outbox  [][]byte
	planned instant // when the next report is made
	jobs    queue[recvEvent]
	arrived *sync.Cond // jobs, or closed
	closed  bool
	lossy   func() bool // tests: datagrams for which it says so are dropped
}

// NewReceiver opens the unicast socket and starts the goroutines of a Receiver.
func NewReceiver(cfg ReceiverConfig) (*Receiver, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	options := udp.Options{Interface: cfg.Interface, Local: cfg.Local, Ports: cfg.Ports, In: cfg.In}
	unicast, err := udp.NewReceiver(options)
	if err != nil {
		return nil, err
	}
	options.Local = unicast.Addr().Addr()
	r := &Receiver{
		cfg: cfg, unicast: unicast, origin: time.Now(), done: make(chan struct{}), wake: make(chan struct{}, 1),
		state: newRecvState(defaultTiming(), cfg.Key, cfg.Evacuation, cfg.Window),
	}
	r.arrived = sync.NewCond(&r.mu)
	r.groups = &groups{
		options: options, source: cfg.Source, started: func(s *udp.Receiver) { r.read(s, false) },
		sockets: map[uint16][]*udp.Receiver{}, joined: map[netip.AddrPort]*membership{},
	}
	r.read(unicast, true)
	r.wg.Go(r.talk)
	for range cfg.Workers {
		r.wg.Go(r.work)
	}
	return r, nil
}

func (r *Receiver) now() instant { return time.Since(r.origin) }

// UnicastAddr is where unicast datagrams are received: tell the source for AddTarget.
func (r *Receiver) UnicastAddr() netip.AddrPort { return r.unicast.Addr() }

// HandleControl takes in a message that the Sender passed to its Control for this target. An error tells that the
// source does not keep to the protocol. The message is borrowed for the call.
func (r *Receiver) HandleControl(message []byte) error {
	r.mu.Lock()
	err := r.state.control(r.now(), message)
	todo := r.sort(r.state.takeEvents())
	r.mu.Unlock()
	for _, e := range todo {
		r.membership(e)
	}
	return err
}

// sort puts replies and complete blocks in their queues and gives back the rest; the lock is held.
func (r *Receiver) sort(events []recvEvent) (rest []recvEvent) {
	for _, e := range events {
		switch e.kind {
		case reply:
			r.outbox = append(r.outbox, e.message)
		case deliver:
			r.jobs.push(e)
			r.arrived.Signal()
		case join, leave:
			rest = append(rest, e)
		}
	}
	due := r.state.due()
	if len(r.outbox) > 0 || due != never && due < r.planned {
		r.planned = due
		poke(r.wake)
	}
	return rest
}

// membership joins or leaves a group.
func (r *Receiver) membership(e recvEvent) {
	defer r.tellChanges()
	if e.kind == leave {
		r.groups.leave(e.channel, e.again)
		return
	}
	err := r.groups.join(e.channel, e.any)
	if err == nil {
		return
	}
	r.cfg.Log.Warn("group not joined", "group", e.channel.group, "err", err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.refuse(e.channel, false, err)
	r.sort(r.state.takeEvents())
}

// tellChanges has the source told how often groups were joined and left, if that is news.
func (r *Receiver) tellChanges() {
	joins, leaves := r.groups.changes()
	r.mu.Lock()
	defer r.mu.Unlock()
	if joins == r.state.report.Joins && leaves == r.state.report.Leaves {
		return
	}
	r.state.report.Joins, r.state.report.Leaves = joins, leaves
	r.state.changed, r.state.prompt = true, true
	poke(r.wake)
}

// read takes datagrams from a socket until it is closed.
func (r *Receiver) read(s *udp.Receiver, unicast bool) {
	r.wg.Go(func() {
		for {
			err := s.Wait()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				r.pause()
				continue
			}
			if complete := r.take(s, unicast); complete && r.cfg.Quick {
				r.deliverAll()
			}
		}
	})
}

// pause keeps a socket that has an error from keeping a processor busy.
func (r *Receiver) pause() {
	select {
	case <-r.done:
	case <-time.After(10 * time.Millisecond):
	}
}

// take takes in what has been read, and tells whether blocks are complete.
func (r *Receiver) take(s *udp.Receiver, unicast bool) (complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	s.Each(func(datagram []byte) {
		if r.lossy == nil || !r.lossy() {
			r.state.receive(now, datagram, unicast)
		}
	})
	r.sort(r.state.takeEvents())
	return r.jobs.len() > 0
}

// deliverAll delivers what is complete, where the datagrams are read: of a group or of unicast, one at a time.
func (r *Receiver) deliverAll() {
	r.delivering.Lock()
	defer r.delivering.Unlock()
	for r.deliver(&r.decoder, false) {
	}
}

// work delivers complete blocks until the end.
func (r *Receiver) work() {
	if r.cfg.Begin != nil {
		r.cfg.Begin()
	}
	var decoder fec.Decoder
	for r.deliver(&decoder, true) {
	}
}

// deliver delivers a complete block, and may wait for one. false: there is none, or the Receiver is closed.
func (r *Receiver) deliver(decoder *fec.Decoder, wait bool) bool {
	job, ok := r.job(wait)
	if !ok {
		return false
	}
	payload, err := job.block.restore(decoder)
	if err == nil {
		err = r.cfg.Deliver(job.channel.id, uint64(job.number), payload)
	}
	r.finish(job, err)
	return true
}

func (r *Receiver) job(wait bool) (recvEvent, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for wait && r.jobs.len() == 0 && !r.closed {
		r.arrived.Wait()
	}
	if r.closed || r.jobs.len() == 0 {
		return recvEvent{}, false
	}
	return r.jobs.pop(), true
}

func (r *Receiver) finish(job recvEvent, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.cfg.Log.Error("block not placed", "channel", uint32(job.channel.id), "block", job.number, "err", err)
		r.state.refuse(job.channel, true, err)
	} else {
		r.state.placed(job.channel, job.block)
	}
	r.sort(r.state.takeEvents())
}

// talk sends replies at once and reports when they are due.
func (r *Receiver) talk() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.wake:
		case <-timer.C:
		case <-r.done:
			return
		}
		messages, wait := r.say()
		for _, m := range messages {
			if err := r.cfg.Control(m); err != nil {
				r.cfg.Log.Warn("message to the source not sent", "err", err)
			}
		}
		timer.Reset(wait)
	}
}

// say gives the messages that are to be sent now, and how long to wait for the next report.
func (r *Receiver) say() (messages [][]byte, wait time.Duration) {
	overflow := r.groups.overflow() + r.unicast.Overflow()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	messages, r.outbox = r.outbox, nil
	due := r.state.due()
	if due != never && now >= due {
		r.state.report.Overflow = overflow
		messages = append(messages, r.state.reportNow(now))
		due = r.state.due()
	}
	if due == never {
		r.planned = now + time.Hour
		return messages, time.Hour
	}
	r.planned = due
	return messages, max(due-now, time.Microsecond)
}

// Stats is what has been seen so far.
func (r *Receiver) Stats() ReceiverStats {
	overflow, sockets := r.groups.overflow()+r.unicast.Overflow(), r.groups.open()+1
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.state.stats
	st.Overflow, st.Held, st.Sockets = uint64(overflow), r.state.pool.used, sockets
	return st
}

// Close leaves all groups and ends the Receiver. It waits for Deliver and Control to return; complete blocks that have
// not been delivered are dropped.
func (r *Receiver) Close() error {
	r.mu.Lock()
	already := r.closed
	r.closed = true
	r.arrived.Broadcast()
	r.mu.Unlock()
	if already {
		return nil
	}
	close(r.done)
	r.groups.close()
	err := r.unicast.Close()
	r.wg.Wait()
	return err
}
