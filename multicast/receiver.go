package multicast

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/multicast/clock"
	"github.com/scatter-vm/scatter/multicast/fec"
	"github.com/scatter-vm/scatter/multicast/fifo"
	"github.com/scatter-vm/scatter/multicast/receiver"
	"github.com/scatter-vm/scatter/multicast/udp"
)

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
	state   *receiver.State
	outbox  [][]byte
	planned clock.Instant // when the next report is made
	jobs    fifo.Queue[receiver.Event]
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
		state: receiver.New(receiver.DefaultTiming(), cfg.Key, cfg.Evacuation, cfg.Window),
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

func (r *Receiver) now() clock.Instant { return time.Since(r.origin) }

// UnicastAddr is where unicast datagrams are received: tell the source for AddTarget.
func (r *Receiver) UnicastAddr() netip.AddrPort { return r.unicast.Addr() }

// HandleControl takes in a message that the Sender passed to its Control for this target. An error tells that the
// source does not keep to the protocol. The message is borrowed for the call.
func (r *Receiver) HandleControl(message []byte) error {
	r.mu.Lock()
	err := r.state.Control(r.now(), message)
	todo := r.sort(r.state.TakeEvents())
	r.mu.Unlock()
	for _, e := range todo {
		r.membership(e)
	}
	return err
}

// sort puts replies and complete blocks in their queues and gives back the rest; the lock is held.
func (r *Receiver) sort(events []receiver.Event) (rest []receiver.Event) {
	for _, e := range events {
		switch e.Kind {
		case receiver.Reply:
			r.outbox = append(r.outbox, e.Message)
		case receiver.Deliver:
			r.jobs.Push(e)
			r.arrived.Signal()
		case receiver.Join, receiver.Leave:
			rest = append(rest, e)
		}
	}
	due := r.state.Due()
	if len(r.outbox) > 0 || due != clock.Never && due < r.planned {
		r.planned = due
		poke(r.wake)
	}
	return rest
}

// membership joins or leaves a group.
func (r *Receiver) membership(e receiver.Event) {
	defer r.tellChanges()
	if e.Kind == receiver.Leave {
		r.groups.leave(e.Channel, e.Again)
		return
	}
	err := r.groups.join(e.Channel, e.AnySource)
	if err == nil {
		return
	}
	r.cfg.Log.Warn("group not joined", "group", e.Channel.Group(), "err", err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Refuse(e.Channel, false, err)
	r.sort(r.state.TakeEvents())
}

// tellChanges has the source told how often groups were joined and left, if that is news.
func (r *Receiver) tellChanges() {
	joins, leaves := r.groups.changes()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state.Memberships(joins, leaves) {
		poke(r.wake)
	}
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
			r.state.Receive(now, datagram, unicast)
		}
	})
	r.sort(r.state.TakeEvents())
	return r.jobs.Len() > 0
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
	payload, err := job.Block.Restore(decoder)
	if err == nil {
		err = r.cfg.Deliver(job.Channel.ID(), uint64(job.Number), payload)
	}
	r.finish(job, err)
	return true
}

func (r *Receiver) job(wait bool) (receiver.Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for wait && r.jobs.Len() == 0 && !r.closed {
		r.arrived.Wait()
	}
	if r.closed || r.jobs.Len() == 0 {
		return receiver.Event{}, false
	}
	return r.jobs.Pop(), true
}

func (r *Receiver) finish(job receiver.Event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.cfg.Log.Error("block not placed", "channel", uint32(job.Channel.ID()), "block", job.Number, "err", err)
		r.state.Refuse(job.Channel, true, err)
	} else {
		r.state.Placed(job.Channel, job.Block)
	}
	r.sort(r.state.TakeEvents())
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
	due := r.state.Due()
	if due != clock.Never && now >= due {
		messages = append(messages, r.state.ReportNow(now, overflow))
		due = r.state.Due()
	}
	if due == clock.Never {
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
	st := r.state.Stats()
	st.Overflow, st.Sockets = uint64(overflow), sockets
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
