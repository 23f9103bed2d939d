package multicast

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/scatter-vm/scatter/multicast/receiver"
	"github.com/scatter-vm/scatter/multicast/udp"
)

// Bounds of the sockets of a Receiver for groups. One carries 20 groups where the system's limit has not been raised.
const (
	MaxSockets = 64
	maxIdle    = 2 // that are kept although they have joined nothing: the next group may be there soon
)

// errSockets says that a source wants more groups and ports than fit into MaxSockets.
var errSockets = fmt.Errorf("more than %d sockets for groups", MaxSockets)

// groups keeps the sockets that have joined groups: as many as it takes, for the system limits how many groups one may
// join.
type groups struct {
	options udp.Options
	source  netip.Addr
	started func(*udp.Receiver) // a new socket wants a reader

	mu      sync.Mutex // guards what follows
	sockets map[uint16][]*udp.Receiver
	joined  map[netip.AddrPort]*membership
	joins   uint32
	leaves  uint32
	dropped uint32 // datagrams, by the kernel at sockets that are closed
	closed  bool
}

// membership is a group that has been joined, for one or more channels.
type membership struct {
	socket   *udp.Receiver
	source   netip.Addr
	channels map[*receiver.Channel]bool
}

// join joins the channel's group, unless another channel has.
func (g *groups) join(c *receiver.Channel, anySource bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	if m := g.joined[c.Group()]; m != nil {
		m.channels[c] = true
		return nil
	}
	m := &membership{source: g.source, channels: map[*receiver.Channel]bool{c: true}}
	if anySource {
		m.source = netip.Addr{}
	}
	if err := g.enter(c.Group(), m); err != nil {
		return err
	}
	g.joined[c.Group()] = m
	g.joins++
	return nil
}

// enter finds a socket with room for another group, and joins. If the source cannot be named, it is not.
func (g *groups) enter(group netip.AddrPort, m *membership) error {
	err := g.enterFrom(group, m)
	if err != nil && m.source.IsValid() {
		m.source = netip.Addr{}
		err = g.enterFrom(group, m)
	}
	return err
}

func (g *groups) enterFrom(group netip.AddrPort, m *membership) error {
	for _, m.socket = range g.sockets[group.Port()] {
		if err := m.socket.Join(group.Addr(), m.source); !errors.Is(err, udp.ErrFull) {
			return err
		}
	}
	if g.count() >= MaxSockets {
		return errSockets
	}
	var err error
	if m.socket, err = udp.NewGroupReceiver(g.options, group.Port()); err != nil {
		return err
	}
	if err = m.socket.Join(group.Addr(), m.source); err != nil {
		m.socket.Close()
		return err
	}
	g.sockets[group.Port()] = append(g.sockets[group.Port()], m.socket)
	g.started(m.socket)
	return nil
}

// leave leaves the channel's group, unless another channel needs it. again: even then, because a join follows.
func (g *groups) leave(c *receiver.Channel, again bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.joined[c.Group()]
	if m == nil || g.closed {
		return
	}
	delete(m.channels, c)
	if len(m.channels) > 0 && !again {
		return
	}
	_ = m.socket.Leave(c.Group().Addr(), m.source) // the membership ends with the socket at the latest
	g.leaves++
	if len(m.channels) == 0 {
		delete(g.joined, c.Group())
		g.tidy()
		return
	}
	if err := m.socket.Join(c.Group().Addr(), m.source); err != nil {
		delete(g.joined, c.Group())
		return
	}
	g.joins++
}

func (g *groups) count() (n int) {
	for _, list := range g.sockets {
		n += len(list)
	}
	return n
}

// tidy closes sockets that have joined nothing, but for some.
func (g *groups) tidy() {
	used := make(map[*udp.Receiver]bool)
	for _, m := range g.joined {
		used[m.socket] = true
	}
	idle := 0
	for port, list := range g.sockets {
		g.sockets[port] = slices.DeleteFunc(list, func(s *udp.Receiver) bool {
			if used[s] {
				return false
			}
			if idle++; idle <= maxIdle {
				return false
			}
			g.dropped += s.Overflow()
			s.Close()
			return true
		})
		if len(g.sockets[port]) == 0 {
			delete(g.sockets, port)
		}
	}
}

// open is how many sockets there are.
func (g *groups) open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count()
}

// overflow is how many datagrams the kernel has dropped at all sockets.
func (g *groups) overflow() (n uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n = g.dropped
	for _, list := range g.sockets {
		for _, s := range list {
			n += s.Overflow()
		}
	}
	return n
}

// changes is how often groups were joined and left.
func (g *groups) changes() (joins, leaves uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.joins, g.leaves
}

// close closes all sockets, which leaves the groups.
func (g *groups) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, list := range g.sockets {
		for _, s := range list {
			s.Close()
		}
	}
}
