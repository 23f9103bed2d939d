package inspect

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/multicast/probe"
	"github.com/scatter-vm/scatter/multicast/udp"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pki"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// How long probes of a target go on that do not all come through. Before the hold, lost membership reports are repeated by the
// target's system within a second; after it, nothing is to come that has not come at once.
const (
	probeTime = 3 * time.Second
	againTime = time.Second
	probeGap  = 20 * time.Millisecond // doubles up to maxGap
	maxGap    = 400 * time.Millisecond
)

// smallSegment passes every network: the connection stands where full packets get lost, so that this can be told.
const smallSegment = 536

// probedAtOnce bounds the targets that probes are sent to at a time.
const probedAtOnce = 4

// ProbeTargets connects to each target and finds out which datagrams reach it: by groups and by unicast, of which sizes, and
// whether it also gets those that are none of its business. The findings are in the order of the targets.
func ProbeTargets(ctx context.Context, cfg Config) ([]Finding, error) {
	if !cfg.GroupBase.IsValid() {
		cfg.GroupBase = netip.MustParseAddr("239.77.0.0")
	}
	if !cfg.GroupBase.IsMulticast() {
		return nil, fmt.Errorf("group base %v: must be a multicast address", cfg.GroupBase)
	}
	if cfg.Hold < 0 || cfg.Hold > model.MaxHold {
		return nil, fmt.Errorf("hold %v: must be up to %v", cfg.Hold, model.MaxHold)
	}
	cfg.GroupPort = cmp.Or(cfg.GroupPort, model.DefaultGroupPort)
	if _, err := wire.LocalAddr(cfg.Interface, cfg.Local, cfg.GroupBase, nil); err != nil {
		return nil, err
	}
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	turns := make(chan struct{}, probedAtOnce)
	found := make([][]Finding, len(cfg.Targets))
	for i, t := range cfg.Targets {
		p := &prober{cfg: cfg, turns: turns, answers: make(chan control.Message, 1)}
		p.o = observation{iface: cfg.Interface, mtu: ifi.MTU, hold: cfg.Hold, groups: probeGroups(cfg.GroupBase, i)}
		wg.Go(func() { found[i] = p.findings(ctx, t) })
	}
	wg.Wait()
	var all []Finding
	for _, f := range found {
		all = append(all, f...)
	}
	return all, ctx.Err()
}

// probeGroups are the groups for target i. The one that it does not join is none that an evacuation would have it join.
func probeGroups(base netip.Addr, i int) (groups [probe.Unicast]netip.Addr) {
	groups[probe.AnySource] = GroupAt(base, 2*i)
	groups[probe.SourceSpecific] = GroupAt(base, 2*i+1)
	groups[probe.Stranger] = GroupAt(base, 2*i+model.MaxGroups)
	return groups
}

// GroupAt is the nth address from base on; behind the last one of IPv4 come the first ones that may be used (239.0.0.0/8).
func GroupAt(base netip.Addr, n int) netip.Addr {
	const first, end = 239 << 24, 240 << 24
	b := base.AsSlice()
	last := b[len(b)-4:]
	at := uint64(binary.BigEndian.Uint32(last)) + uint64(n)
	if base.Is4() && at >= end {
		at = at - end + first
	}
	binary.BigEndian.PutUint32(last, uint32(at))
	group, _ := netip.AddrFromSlice(b)
	return group
}

// prober observes what reaches one target.
type prober struct {
	cfg     Config
	local   netip.Addr
	turns   chan struct{} // holds an element for each that sends
	link    *wire.Link
	answers chan control.Message
	lost    context.CancelCauseFunc // ends the wait for answers
	o       observation
}

// findings connects, observes and judges.
func (p *prober) findings(ctx context.Context, t model.TargetAddr) []Finding {
	var id [8]byte
	rand.Read(id[:])
	l, err := wire.Open(ctx, wire.Dialer{Target: t, TLSDir: p.cfg.TLSDir, Local: p.cfg.Local, Segment: smallSegment, Evacuation: hex.EncodeToString(id[:]), Sent: new(atomic.Int64)})
	if err != nil {
		remedy := "start 'scatter recv' there, and see its log"
		if _, ok := errors.AsType[*pki.Error](err); ok {
			remedy = "" // the error has its own
		}
		return about(t.String(), foundError("control connection", remedy, "%v", err))
	}
	defer l.Close()
	p.link = l
	if p.local, err = wire.LocalAddr(p.cfg.Interface, p.cfg.Local, p.cfg.GroupBase, []*wire.Link{l}); err != nil {
		return about(t.String(), foundError("datagrams", "see 'ip address'", "%v", err))
	}
	ctx, p.lost = context.WithCancelCause(ctx)
	defer p.lost(nil)
	l.Serve(0, p)
	up := foundOK("control connection", "up, room for %d MiB of guests, QEMU %s", l.Welcome.Memory>>20, orNone(l.Welcome.QEMU))
	if err := p.observe(ctx); err != nil {
		return about(l.Name(), up, foundError("datagrams", "see the log of 'scatter recv' there; both hosts need the same scatter", "%v", err))
	}
	return about(l.Name(), append([]Finding{up}, p.o.judge()...)...)
}

// about says which host findings are about.
func about(host string, found ...Finding) []Finding {
	for i := range found {
		found[i].Host = host
	}
	return found
}

func orNone(s string) string {
	if s == "" {
		return "not installed"
	}
	return s
}

// observe has the target listen, and sends probes; a second time after the hold.
func (p *prober) observe(ctx context.Context) error {
	s, err := p.listen(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if p.o.before, err = p.send(ctx, s, control.Counted{}, probeTime); err != nil || p.o.hold == 0 {
		return err
	}
	if err := system.Pause(ctx, p.o.hold); err != nil {
		return err
	}
	p.o.after, err = p.send(ctx, s, p.o.before, againTime)
	return err
}

// listen asks the target to listen, and opens the socket for the probes.
func (p *prober) listen(ctx context.Context) (*probe.Sender, error) {
	var key probe.Key
	rand.Read(key[:])
	groups := &p.o.groups
	err := p.ask(ctx, control.Listen{Key: key[:], Source: p.local, AnySource: groups[probe.AnySource],
		SourceSpecific: groups[probe.SourceSpecific], Port: p.cfg.GroupPort, Seconds: int(model.MaxListen / time.Second)}, &p.o.there)
	if err != nil {
		return nil, err
	}
	if p.o.there.Error != "" {
		return nil, fmt.Errorf("it cannot listen: %s", p.o.there.Error)
	}
	to := [probe.Paths]netip.AddrPort{probe.Unicast: p.o.there.Datagram}
	for path, g := range groups {
		to[path] = netip.AddrPortFrom(g, p.cfg.GroupPort)
	}
	s, err := probe.NewSender(udp.Options{Interface: p.cfg.Interface, Local: p.local}, key, to)
	if err == nil {
		p.o.packets, p.o.cuts = s.Packets(), s.Cuts()
	}
	return s, err
}

// send sends rounds of probes until all that should come has come since the earlier count, or for a while.
func (p *prober) send(ctx context.Context, s *probe.Sender, earlier control.Counted, atMost time.Duration) (now control.Counted, err error) {
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return now, context.Cause(ctx)
	}
	end := time.Now().Add(atMost)
	for gap := probeGap; ; gap = min(2*gap, maxGap) {
		if err := s.Round(); err != nil {
			return now, err
		}
		if err := system.Pause(ctx, gap); err != nil {
			return now, err
		}
		if err := p.ask(ctx, control.Count{}, &now); err != nil {
			return now, err
		}
		if p.o.complete(now, earlier) || time.Now().After(end) {
			for path := range p.o.failed {
				p.o.failed[path] = s.Err(probe.Path(path))
			}
			return now, nil
		}
	}
}

// ask sends a message and waits for its answer, a *control.Listening or *control.Counted.
func (p *prober) ask(ctx context.Context, m control.Message, answer any) error {
	if err := p.link.Conn.Send(m); err != nil {
		return err
	}
	select {
	case got := <-p.answers:
		switch want := answer.(type) {
		case *control.Listening:
			if a, ok := got.(control.Listening); ok {
				*want = a
				return nil
			}
		case *control.Counted:
			if a, ok := got.(control.Counted); ok {
				*want = a
				return nil
			}
		}
		return fmt.Errorf("it answered %s to %s", got.Type(), m.Type())
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(wire.HelloTimeout):
		return fmt.Errorf("it does not answer %s", m.Type())
	}
}

func (p *prober) FromTarget(_ int, m control.Message) {
	select {
	case p.answers <- m:
	default: // one question at a time has one answer
	}
}

func (p *prober) MulticastFrom(int, []byte) {}

func (p *prober) LinkLost(_ int, err error) { p.lost(err) }
