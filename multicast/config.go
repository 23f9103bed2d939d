package multicast

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/scatter-vm/scatter/multicast/sender"
	"github.com/scatter-vm/scatter/multicast/udp"
	"github.com/scatter-vm/scatter/multicast/wire"
)

const (
	// DefaultWindow is the default of SenderConfig.Window and ReceiverConfig.Window, in bytes.
	DefaultWindow = 32 << 20
	// MaxWindow is the largest window, in bytes.
	MaxWindow = 1 << 30

	maxMTU = 9216
)

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

	timing *sender.Timing // of tests; nil: the default
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

// socket is what the state has to know of the socket.
func (c *SenderConfig) socket(conn *udp.Sender) (sender.Socket, error) {
	mtu := c.MTU
	if mtu == 0 {
		mtu = min(conn.MTU(), maxMTU)
	}
	headers := udp.Headers(conn.Local())
	packet := mtu - (headers - 14)
	if packet-wire.Overhead < wire.MinSymbol || mtu > maxMTU {
		return sender.Socket{}, fmt.Errorf("sender: MTU %d: out of bounds", mtu)
	}
	return sender.Socket{
		Packet: packet, Headers: headers, Burst: udp.MaxBurst, Segments: udp.MaxSegments, Joint: conn.Segments(),
	}, nil
}

// state makes the state of a sender with that socket.
func (c *SenderConfig) state(socket sender.Socket) (*sender.State, error) {
	t := sender.DefaultTiming()
	if c.timing != nil {
		t = *c.timing
	}
	if c.ProbeTimeout > 0 {
		t.Probe = c.ProbeTimeout
	}
	st, err := sender.New(sender.Config{
		Timing: t, Keys: sender.Keys{Secret: c.Key, Evacuation: c.Evacuation, Salt: salt},
		Window: c.Window, Socket: socket, SlowRatio: c.SlowRatio,
	})
	if err != nil {
		return nil, err
	}
	st.Allow(float64(c.Pacer.given()))
	return st, nil
}

func salt() (b [wire.SaltSize]byte) {
	_, _ = rand.Read(b[:]) // never fails
	return b
}

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
