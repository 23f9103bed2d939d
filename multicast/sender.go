package multicast

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/multicast/udp"
	"github.com/scatter-vm/scatter/multicast/wire"
)

const (
	// DefaultWindow is the default of SenderConfig.Window and ReceiverConfig.Window, in bytes.
	DefaultWindow = 32 << 20
	// MinWindow is the smallest window that a target may have, in bytes: the least one is what all have.
	MinWindow = 2 << 20
	// MaxWindow is the largest window, in bytes.
	MaxWindow = 1 << 30

	maxMTU       = 9216
	tickInterval = 5 * time.Millisecond
	burstTime    = time.Millisecond // what a burst takes of the link, where that is less than MaxBurst
	minBurst     = 4                // datagrams
)

// ErrClosed says that the Sender or Receiver has been closed.
var ErrClosed = errors.New("multicast: closed")

// ErrBroken says that the Sender can send nothing any more.
var ErrBroken = errors.New("multicast: broken")

// SenderConfig is what a Sender needs. The callbacks are called one at a time and in order, from a goroutine of the
// Sender, and never with a lock held; they may call AddTarget, Eject, HandleControl and Stats, but must not wait for
// room or confirmation (Send, Open, Flush, Close).
type SenderConfig struct {
	Interface  string     // where groups are sent
	Local      netip.Addr // address to send from; zero: the interface's first
	MTU        int        // of the path; 0 = of the interface
	TTL        int        // of multicast datagrams; 0 = 16
	DSCP       int        // of all datagrams, 0 to 63
	Plain      bool       // without segmentation by the kernel or the network card
	Key        [32]byte   // of the evacuation; the key of the datagrams is derived from it and a random salt
	Evacuation [8]byte
	Pacer      *Pacer // nil: one of its own, with automatic rate
	Window     int    // bytes of blocks that may wait for confirmation; 0 = DefaultWindow. Bounds the memory

	// Control sends a message to a target on its control path: reliable, in order. An error ejects the target.
	Control func(target string, message []byte) error
	// Confirmed tells that every live member has placed the block. The payload is the caller's again.
	Confirmed func(channel ChannelID, block uint64)
	// Unreachable tells that the Sender has ejected a target, and why.
	Unreachable func(target string, err error)
	// Left tells that a channel's group was too fast for a target, which is no longer a member: of the blocks below next
	// it has not placed those of lacks, and from next on it gets none. From now on Confirmed does not speak for it. What it
	// lacks can be sent by another channel, best in the background: a target with one worker has done with this channel
	// before it places blocks of one that is opened later. nil: targets do not leave.
	Left func(channel ChannelID, target string, lacks []uint64, next uint64)

	ProbeTimeout time.Duration // how long each path to a member is probed; 0 = 3 s
	// SlowRatio is the share of what the others of a group get below which a member leaves the channel: after some seconds,
	// or sooner when half the window waits for it, or nobody waits for anything else. 0 = DefaultSlowRatio, negative: it never does.
	SlowRatio float64
	Log       *slog.Logger // nil: discarded
	// In runs open where sockets are to be opened, another network namespace for example; nil: as it is.
	In func(open func() error) error
}

func (c *SenderConfig) complete() error {
	if c.Control == nil {
		return errors.New("sender: Control is nil")
	}
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	if c.Window < MinWindow || c.Window > MaxWindow {
		return fmt.Errorf("sender: window %d: must be %d to %d", c.Window, MinWindow, MaxWindow)
	}
	if c.SlowRatio > 1 {
		return fmt.Errorf("sender: slow ratio %v: must be at most 1", c.SlowRatio)
	}
	if c.Pacer == nil {
		c.Pacer = NewPacer(0, 0)
	}
	if c.Confirmed == nil {
		c.Confirmed = func(ChannelID, uint64) {}
	}
	if c.Unreachable == nil {
		c.Unreachable = func(string, error) {}
	}
	if c.Left == nil {
		c.SlowRatio = -1
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Sender is the source's end. Its methods are safe for concurrent use.
type Sender struct {
	cfg    SenderConfig
	conn   *udp.Sender
	port   *udp.Port // nil: not to be had
	origin time.Time
	ctx    context.Context
	cancel context.CancelCauseFunc
	wake   chan struct{} // something to send
	told   chan struct{} // events to dispatch
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	state   *sendState
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
	s := &Sender{
		cfg: cfg, conn: conn, origin: time.Now(),
		wake: make(chan struct{}, 1), told: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	if s.state, err = newSendState(cfg, conn); err != nil {
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

func newSendState(cfg SenderConfig, conn *udp.Sender) (*sendState, error) {
	mtu := cfg.MTU
	if mtu == 0 {
		mtu = min(conn.MTU(), maxMTU)
	}
	packet := mtu - (udp.Headers(conn.Local()) - 14)
	if packet-wire.Overhead < wire.MinSymbol || mtu > maxMTU {
		return nil, fmt.Errorf("sender: MTU %d: out of bounds", mtu)
	}
	t := defaultTiming()
	if cfg.ProbeTimeout > 0 {
		t.probe = cfg.ProbeTimeout
	}
	st, err := makeSendState(t, keys{secret: cfg.Key, evacuation: cfg.Evacuation, random: salt}, cfg.Window, packet)
	if err != nil {
		return nil, err
	}
	st.joint = conn.Segments()
	st.allow(float64(cfg.Pacer.given()))
	if cfg.SlowRatio != 0 {
		st.slowRatio = cfg.SlowRatio
	}
	return st, nil
}

func salt() (b [wire.SaltSize]byte) {
	_, _ = rand.Read(b[:]) // never fails
	return b
}

func (s *Sender) now() instant { return time.Since(s.origin) }

// update changes the state, and wakes whoever has to act on it.
func (s *Sender) update(change func(now instant)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.now())
	s.stir()
}

func (s *Sender) stir() {
	close(s.changed)
	s.changed = make(chan struct{})
	poke(s.wake)
	if len(s.state.events) > 0 {
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
func (s *Sender) await(ctx context.Context, ready func(now instant) (done bool, err error)) error {
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

func (s *Sender) try(ready func(now instant) (bool, error)) (<-chan struct{}, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, false, s.broken
	}
	done, err := ready(s.now())
	return s.changed, done, err
}

// channel finds an open channel; the lock is held.
func (s *Sender) channel(id ChannelID) (*channel, error) {
	ch := s.state.channels[id]
	if ch == nil || ch.opening {
		return nil, fmt.Errorf("channel %d: %w", id, ErrUnknown)
	}
	if ch.live() == 0 {
		return nil, fmt.Errorf("channel %d: %w", id, ErrNoMembers)
	}
	return ch, nil
}

// AddTarget makes a target known, with the address that its Receiver gives as UnicastAddr.
func (s *Sender) AddTarget(name string, unicast netip.AddrPort) (err error) {
	if err := s.family(unicast); err != nil {
		return fmt.Errorf("target %s: %w", name, err)
	}
	s.update(func(instant) { err = s.state.addTarget(name, unicast) })
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
	s.update(func(now instant) { err = s.state.receive(now, target, message) })
	return err
}

// Open announces a channel, and returns when every member has answered a probe by the group or by unicast, or has been
// ejected. ErrNoMembers: none is left.
func (s *Sender) Open(ctx context.Context, c Channel) error {
	if err := s.family(c.Group); c.Group.IsValid() && err != nil {
		return fmt.Errorf("channel %d: %w", c.ID, err)
	}
	var ch *channel
	var err error
	s.update(func(now instant) { ch, err = s.state.openChannel(now, c) })
	if err != nil {
		return err
	}
	err = s.await(ctx, func(instant) (bool, error) { return !ch.opening, nil })
	if err == nil {
		s.mu.Lock()
		_, err = s.channel(c.ID)
		s.mu.Unlock()
	}
	if err != nil {
		s.update(func(instant) { s.state.closeChannel(ch) })
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
	err = s.await(ctx, func(instant) (bool, error) {
		ch, err := s.channel(id)
		if err != nil || !s.state.room(ch, len(payload)) {
			return false, err
		}
		number = s.state.enqueue(ch, payload)
		poke(s.wake)
		return true, nil
	})
	return number, err
}

// Flush returns when every live member of the channel has placed all its blocks. ErrNoMembers: none is live.
func (s *Sender) Flush(ctx context.Context, id ChannelID) error {
	return s.await(ctx, func(instant) (bool, error) {
		ch, err := s.channel(id)
		return err == nil && !ch.outstanding(), err
	})
}

// CloseChannel makes the members leave. Blocks that are not confirmed are given up: Flush first.
func (s *Sender) CloseChannel(id ChannelID) error {
	err := fmt.Errorf("channel %d: %w", id, ErrUnknown)
	s.update(func(instant) {
		if ch := s.state.channels[id]; ch != nil && !ch.opening {
			s.state.closeChannel(ch)
			err = nil
		}
	})
	return err
}

// Eject takes a target out of all channels, so that nothing waits for it. Unreachable is not called.
func (s *Sender) Eject(target string, cause error) {
	s.update(func(now instant) {
		if s.state.eject(now, target) {
			s.cfg.Log.Warn("target ejected", "target", target, "cause", cause)
		}
	})
}

// Stats is what has been done so far.
func (s *Sender) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state.snapshot()
	st.SendErrors = s.errors
	return st
}

// Waiting is how many blocks have datagrams that wait for the link, counted once for each stream that carries them.
func (s *Sender) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.repairs.len() + s.state.fresh.len()
}

// Close ends the Sender. Blocks that are not confirmed are given up, and calls that wait return ErrClosed.
func (s *Sender) Close() error {
	s.cancel(ErrClosed)
	err := s.conn.Close()
	s.wg.Wait()
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
	var b burst
	for s.ctx.Err() == nil {
		if !s.fill(&b) {
			select {
			case <-s.wake:
			case <-s.ctx.Done():
			}
			continue
		}
		if s.cfg.Pacer.wait(s.ctx, b.onWire(), b.priority, nap) != nil {
			return
		}
		if err := s.conn.Send(b.to, b.bytes, b.size, !b.apart); err != nil {
			s.refused(b.to, err)
		}
	}
}

// fill takes the next burst from the state.
func (s *Sender) fill(b *burst) bool {
	rate, _ := s.cfg.Pacer.Rate()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.rate = float64(rate)
	s.state.burst = min(udp.MaxBurst, max(minBurst*s.state.packet, int(float64(rate)*burstTime.Seconds())))
	ok, err := s.state.next(s.now(), b)
	if err != nil {
		s.broken = fmt.Errorf("%w: %w", ErrBroken, err)
		s.stir()
	}
	return ok && err == nil
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
	due := s.now() >= s.state.paced.next
	s.mu.Unlock()
	if due && s.port != nil {
		sent, _ = s.port.Sent()
	}
	return sent
}

func (s *Sender) tick(port uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.link, s.state.port = s.cfg.Pacer.Sent(), port
	s.state.allow(float64(s.cfg.Pacer.given()))
	s.state.tick(s.now())
	s.cfg.Pacer.adjust(int64(s.state.auto.rate))
	if s.state.ready() {
		poke(s.wake)
	}
	if len(s.state.events) > 0 {
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
		events := s.state.takeEvents()
		s.mu.Unlock()
		for _, e := range events {
			s.act(e)
		}
	}
}

func (s *Sender) act(e event) {
	switch e.kind {
	case sendControl:
		if err := s.cfg.Control(e.target, e.message); err != nil {
			s.update(func(instant) {
				if t := s.state.targets[e.target]; t != nil {
					s.state.lost(s.now(), t, fmt.Errorf("control path: %w", err))
				}
			})
		}
	case confirmed:
		s.cfg.Confirmed(e.channel, e.block)
	case unreachable:
		s.cfg.Log.Warn("target lost", "target", e.target, "err", e.err)
		s.cfg.Unreachable(e.target, e.err)
	case left:
		s.cfg.Log.Warn("target is served by unicast instead of multicast",
			"target", e.target, "channel", uint32(e.channel), "reason", e.err)
		s.cfg.Left(e.channel, e.target, e.lacks, e.block)
	case fellBack:
		s.cfg.Log.Warn("target is served by unicast instead of multicast",
			"target", e.target, "channel", uint32(e.channel), "reason", e.err)
	case apart:
		s.cfg.Log.Warn("bursts that the kernel or the network card cuts up do not reach the target, datagrams one by one do: it gets those, which costs this host CPU",
			"target", e.target)
	}
}
