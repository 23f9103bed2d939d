package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/multicast/udp"
)

// Config is what a listener listens for.
type Config struct {
	Options udp.Options // where sockets are opened
	Key     Key
	Source  netip.Addr // of the probes
	// Groups to join. Datagrams of Stranger go to a third one.
	AnySource, SourceSpecific netip.Addr
	Port                      uint16        // of the groups
	For                       time.Duration // it stops listening by itself
}

func (c *Config) validate() error {
	for _, g := range []netip.Addr{c.AnySource, c.SourceSpecific} {
		if !g.IsMulticast() || g.IsLinkLocalMulticast() || g.IsInterfaceLocalMulticast() || g.Is4In6() || g.Zone() != "" {
			return fmt.Errorf("group %v: must be a multicast address that is not reserved for the link", g)
		}
		if g.Is4() != c.Source.Is4() {
			return fmt.Errorf("group %v and source %v: must be of one family", g, c.Source)
		}
	}
	if s := c.Source; !s.IsValid() || s.Is4In6() || s.IsMulticast() || s.IsUnspecified() {
		return fmt.Errorf("source %v: must be the address of a host", s)
	}
	if c.AnySource == c.SourceSpecific || c.Port == 0 || c.For <= 0 {
		return errors.New("groups must differ, port and time be positive")
	}
	return nil
}

// Listener counts what arrives. Its methods are safe for concurrent use.
type Listener struct {
	// NotJoined is why it is not a member of both groups, Blind why it does not see what passes the interface. nil: it is, it does.
	NotJoined, Blind error

	key     Key
	before  int // bytes of a packet before the payload
	unicast *udp.Receiver
	groups  *udp.Receiver
	tap     *tap
	tally   tally
	timer   *time.Timer
	wg      sync.WaitGroup
}

// Listen opens the sockets and joins the groups. An error means that nothing can be heard at all.
func Listen(c Config) (*Listener, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	l := &Listener{key: c.Key}
	var err error
	if l.unicast, err = udp.NewReceiver(c.Options); err != nil {
		return nil, err
	}
	l.before = headers(l.unicast.Addr().Addr())
	if l.groups, err = udp.NewGroupReceiver(c.Options, c.Port); err != nil {
		l.unicast.Close()
		return nil, err
	}
	l.NotJoined = errors.Join(join(l.groups, c.SourceSpecific, c.Source), join(l.groups, c.AnySource, netip.Addr{}))
	if l.tap, l.Blind = openTap(c.Options); l.Blind == nil {
		l.wg.Go(func() { l.tap.read(l.see) })
	}
	l.wg.Go(func() { l.hear(l.unicast) })
	l.wg.Go(func() { l.hear(l.groups) })
	l.timer = time.AfterFunc(c.For, l.closeSockets)
	return l, nil
}

func join(r *udp.Receiver, group, source netip.Addr) error {
	if err := r.Join(group, source); err != nil {
		return fmt.Errorf("join %v: %w", group, err)
	}
	return nil
}

// hear counts what a socket hears until it is closed.
func (l *Listener) hear(r *udp.Receiver) {
	for {
		err := r.Wait()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond) // an error that stays keeps no processor busy
			continue
		}
		r.Each(func(b []byte) { l.count(b, false) })
	}
}

func (l *Listener) see(payload []byte) { l.count(payload, true) }

func (l *Listener) count(b []byte, seen bool) {
	if d, ok := l.key.open(b, l.before); ok {
		l.tally.add(d, seen)
	}
}

// Addr is where datagrams of Unicast go.
func (l *Listener) Addr() netip.AddrPort { return l.unicast.Addr() }

// Buffer is the bytes that the system grants each socket for datagrams that wait.
func (l *Listener) Buffer() int { return l.groups.Buffer() }

// Merges tells whether the system hands datagrams over merged (UDP_GRO).
func (l *Listener) Merges() bool { return l.groups.Merges() }

// Counts is what has come so far.
func (l *Listener) Counts() []Count { return l.tally.counts() }

// Queries is how many queries of IGMP or MLD have passed the interface, and who sent the last one. They are not authenticated.
func (l *Listener) Queries() (n int, querier netip.Addr) {
	if l.tap == nil {
		return 0, netip.Addr{}
	}
	return l.tap.heard()
}

// Close stops listening.
func (l *Listener) Close() {
	l.timer.Stop()
	l.closeSockets()
	l.wg.Wait()
}

func (l *Listener) closeSockets() {
	l.unicast.Close()
	l.groups.Close()
	if l.tap != nil {
		l.tap.close()
	}
}
