package multicast

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/multicast/clock"
	"github.com/scatter-vm/scatter/multicast/sender"
	"github.com/scatter-vm/scatter/multicast/udp"
)

const (
	tickInterval = 5 * time.Millisecond
	burstTime    = time.Millisecond // what a burst takes of the link, where that is less than MaxBurst
	minBurst     = 4                // datagrams
)

// ErrClosed says that the Sender or Receiver has been closed.
var ErrClosed = errors.New("multicast: closed")

// ErrBroken says that the Sender can send nothing any more.
var ErrBroken = errors.New("multicast: broken")

// Sender is the source's end. Its methods are safe for concurrent use.
type Sender struct {
	cfg    SenderConfig
	conn   *udp.Sender
	port   *udp.Port // nil: not to be had
	packet int       // largest payload
	origin time.Time
	ctx    context.Context
	cancel context.CancelCauseFunc
	wake   chan struct{} // something to send
	told   chan struct{} // events to dispatch
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	state   *sender.State
	changed chan struct{} // closed when waiting calls should look again
	broken  error         // why nothing can be sent any more
	errors  uint64        // bursts that the kernel refused
}

// NewSender opens the socket and starts the goroutines of a Sender.
func NewSender(cfg SenderConfig) (*Sender, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	conn, err := udp.NewSender(udp.Options{Interface: cfg.Interface, Local: cfg.Local, TTL: cfg.TTL, DSCP: cfg.DSCP, Plain: cfg.Plain, In: cfg.In})
	if err != nil {
		return nil, err
	}
	s, err := newSender(cfg, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	if s.port, err = udp.OpenPort(udp.Options{Interface: cfg.Interface, In: cfg.In}); err != nil {
		cfg.Log.Info("other traffic of the interface is not seen", "err", err)
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.wg.Go(s.transmit)
	s.wg.Go(s.dispatch)
	s.wg.Go(s.ticks)
	return s, nil
}

// newSender has no goroutines yet.
func newSender(cfg SenderConfig, conn *udp.Sender) (*Sender, error) {
	socket, err := cfg.socket(conn)
	if err != nil {
		return nil, err
	}
	state, err := cfg.state(socket)
	if err != nil {
		return nil, err
	}
	return &Sender{
		cfg: cfg, conn: conn, origin: time.Now(), packet: socket.Packet, state: state,
		wake: make(chan struct{}, 1), told: make(chan struct{}, 1), changed: make(chan struct{}),
	}, nil
}

func (s *Sender) now() clock.Instant { return time.Since(s.origin) }

// update changes the state, and wakes whoever has to act on it.
func (s *Sender) update(change func(now clock.Instant)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.now())
	s.stir()
}

func (s *Sender) stir() {
	close(s.changed)
	s.changed = make(chan struct{})
	poke(s.wake)
	if s.state.Pending() {
		poke(s.told)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// await calls ready with the lock held until it says done or gives an error.
func (s *Sender) await(ctx context.Context, ready func(now clock.Instant) (done bool, err error)) error {
	for {
		changed, done, err := s.try(ready)
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

func (s *Sender) try(ready func(now clock.Instant) (bool, error)) (<-chan struct{}, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, false, s.broken
	}
	done, err := ready(s.now())
	return s.changed, done, err
}

// channel finds an open channel; the lock is held.
func (s *Sender) channel(id ChannelID) (*sender.Outbound, error) {
	ch := s.state.Channel(id)
	if ch == nil || ch.Opening() {
		return nil, fmt.Errorf("channel %d: %w", id, ErrUnknown)
	}
	if ch.Live() == 0 {
		return nil, fmt.Errorf("channel %d: %w", id, ErrNoMembers)
	}
	return ch, nil
}

// AddTarget makes a target known, with the address that its Receiver gives as UnicastAddr.
func (s *Sender) AddTarget(name string, unicast netip.AddrPort) (err error) {
	if err := s.family(unicast); err != nil {
		return fmt.Errorf("target %s: %w", name, err)
	}
	s.update(func(clock.Instant) { err = s.state.AddTarget(name, unicast) })
	return err
}

// family wants an address of the family that the socket is of.
func (s *Sender) family(a netip.AddrPort) error {
	if a.Addr().Is4() != s.conn.Local().Is4() {
		return fmt.Errorf("%v cannot be reached from %v", a, s.conn.Local())
	}
	return nil
}

// HandleControl takes in a message that the target's Receiver passed to its Control. An error tells that the target
// does not keep to the protocol, for which it is ejected, or is not known. The message is borrowed for the call.
func (s *Sender) HandleControl(target string, message []byte) (err error) {
	s.update(func(now clock.Instant) { err = s.state.Receive(now, target, message) })
	return err
}

// Open announces a channel, and returns when every member has answered a probe by the group or by unicast, or has been
// ejected. ErrNoMembers: none is left.
func (s *Sender) Open(ctx context.Context, c Channel) error {
	if err := s.family(c.Group); c.Group.IsValid() && err != nil {
		return fmt.Errorf("channel %d: %w", c.ID, err)
	}
	var ch *sender.Outbound
	var err error
	s.update(func(now clock.Instant) { ch, err = s.state.Open(now, c) })
	if err != nil {
		return err
	}
	err = s.await(ctx, func(clock.Instant) (bool, error) { return !ch.Opening(), nil })
	if err == nil {
		s.mu.Lock()
		_, err = s.channel(c.ID)
		s.mu.Unlock()
	}
	if err != nil {
		s.update(func(clock.Instant) { s.state.Close(ch) })
	}
	return err
}

// Send takes a block over for all members of an open channel and returns its number: 0, 1, 2... in each channel. It
// waits while the window is full. payload must stay as it is until the block is confirmed, or the channel or the Sender
// is closed. ErrNoMembers: nobody is left to send to.
func (s *Sender) Send(ctx context.Context, id ChannelID, payload []byte) (number uint64, err error) {
	if len(payload) == 0 || len(payload) > MaxBlock {
		return 0, fmt.Errorf("channel %d: block of %d bytes: must be 1 to %d", id, len(payload), MaxBlock)
	}
	err = s.await(ctx, func(clock.Instant) (bool, error) {
		ch, err := s.channel(id)
		if err != nil || !s.state.Room(ch, len(payload)) {
			return false, err
		}
		number = s.state.Send(ch, payload)
		poke(s.wake)
		return true, nil
	})
	return number, err
}

// Flush returns when every live member of the channel has placed all its blocks. ErrNoMembers: none is live.
func (s *Sender) Flush(ctx context.Context, id ChannelID) error {
	return s.await(ctx, func(clock.Instant) (bool, error) {
		ch, err := s.channel(id)
		return err == nil && !ch.Outstanding(), err
	})
}

// CloseChannel makes the members leave. Blocks that are not confirmed are given up: Flush first.
func (s *Sender) CloseChannel(id ChannelID) error {
	err := fmt.Errorf("channel %d: %w", id, ErrUnknown)
	s.update(func(clock.Instant) {
		if ch := s.state.Channel(id); ch != nil && !ch.Opening() {
			s.state.Close(ch)
			err = nil
		}
	})
	return err
}

// Eject takes a target out of all channels, so that nothing waits for it. Unreachable is not called.
func (s *Sender) Eject(target string, cause error) {
	s.update(func(now clock.Instant) {
		if s.state.Eject(now, target) {
			s.cfg.Log.Warn("target ejected", "target", target, "cause", cause)
		}
	})
}

// Stats is what has been done so far.
func (s *Sender) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state.Stats()
	st.SendErrors = s.errors
	return st
}

// Waiting is how many blocks have datagrams that wait for the link, counted once for each stream that carries them.
func (s *Sender) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Waiting()
}

// Close ends the Sender. Blocks that are not confirmed are given up, and calls that wait return ErrClosed.
func (s *Sender) Close() error {
	s.cancel(ErrClosed)
	err := s.conn.Close()
	s.wg.Wait()
	s.cfg.Pacer.leave(s)
	if s.port != nil {
		s.port.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = ErrClosed
	}
	return err
}

// transmit sends what the state has to send, as fast as the pacer lets it.
func (s *Sender) transmit() {
	if err := ownThread(); err != nil {
		s.cfg.Log.Info("the sender has no priority over other threads, and may not reach the rate where processors are scarce", "err", err)
	}
	var b sender.Burst
	for s.ctx.Err() == nil {
		if !s.fill(&b) {
			select {
			case <-s.wake:
			case <-s.ctx.Done():
			}
			continue
		}
		if s.cfg.Pacer.wait(s.ctx, b.OnWire(), priority(&b), nap) != nil {
			return
		}
		s.mu.Lock()
		s.state.Depart(s.now(), &b)
		s.mu.Unlock()
		if err := s.conn.Send(b.To, b.Bytes, b.Size, !b.Apart); err != nil {
			s.refused(b.To, err)
		}
	}
}

// fill takes the next burst from the state.
func (s *Sender) fill(b *sender.Burst) bool {
	rate, _ := s.cfg.Pacer.Rate()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.SetRate(float64(rate), min(udp.MaxBurst, max(minBurst*s.packet, int(float64(rate)*burstTime.Seconds()))))
	ok, err := s.state.Next(s.now(), b)
	if err != nil {
		s.broken = fmt.Errorf("%w: %w", ErrBroken, err)
		s.stir()
	}
	return ok && err == nil
}

func priority(b *sender.Burst) Priority {
	if b.Urgent {
		return Urgent
	}
	return Bulk
}

// refused counts a burst that the kernel did not take. Its datagrams are as good as lost, and repaired like these.
func (s *Sender) refused(to netip.AddrPort, err error) {
	s.mu.Lock()
	s.errors++
	first := s.errors == 1
	s.mu.Unlock()
	if first && s.ctx.Err() == nil {
		s.cfg.Log.Warn("datagrams refused by the kernel", "to", to, "err", err)
	}
}

// ticks lets the state act on time.
func (s *Sender) ticks() {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.tick(s.countPort())
		case <-s.ctx.Done():
			return
		}
	}
}

// countPort is the number of bytes that have left by the interface, when the tick to come wants to know; 0 = not known.
func (s *Sender) countPort() (sent uint64) {
	s.mu.Lock()
	due := s.state.Considers(s.now())
	s.mu.Unlock()
	if due && s.port != nil {
		sent, _ = s.port.Sent()
	}
	return sent
}

func (s *Sender) tick(port uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Count(s.cfg.Pacer.Sent(), port)
	s.state.Allow(float64(s.cfg.Pacer.given()))
	s.state.Tick(s.now())
	s.cfg.Pacer.adjust(s, int64(s.state.Rate()))
	if s.state.Ready() {
		poke(s.wake)
	}
	if s.state.Pending() {
		s.stir()
	}
}

// dispatch calls the callbacks, in the order of events.
func (s *Sender) dispatch() {
	for {
		select {
		case <-s.told:
		case <-s.ctx.Done():
			return
		}
		s.mu.Lock()
		events := s.state.TakeEvents()
		s.mu.Unlock()
		for _, e := range events {
			s.act(e)
		}
	}
}

func (s *Sender) act(e sender.Event) {
	switch e.Kind {
	case sender.Control:
		if err := s.cfg.Control(e.Target, e.Message); err != nil {
			s.update(func(now clock.Instant) { s.state.Lose(now, e.Target, fmt.Errorf("control path: %w", err)) })
		}
	case sender.Confirmed:
		s.cfg.Confirmed(e.Channel, e.Block)
	case sender.Unreachable:
		s.cfg.Log.Warn("target lost", "target", e.Target, "err", e.Err)
		s.cfg.Unreachable(e.Target, e.Err)
	case sender.Left:
		s.cfg.Log.Warn("target is served by unicast instead of multicast",
			"target", e.Target, "channel", uint32(e.Channel), "reason", e.Err)
		s.cfg.Left(e.Channel, e.Target, e.Lacks, e.Block)
	case sender.FellBack:
		s.cfg.Log.Warn("target is served by unicast instead of multicast",
			"target", e.Target, "channel", uint32(e.Channel), "reason", e.Err)
	case sender.Apart:
		s.cfg.Log.Warn("bursts that the kernel or the network card cuts up do not reach the target, datagrams one by one do: it gets those, which costs this host CPU",
			"target", e.Target)
	}
}
