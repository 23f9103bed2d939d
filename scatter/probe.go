package scatter

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/pki"
)

// prober opens the data plane to targets without moving anything, to see what reaches them.
type prober struct {
	cfg    CheckConfig
	id     [8]byte
	links  []*link
	sender *multicast.Sender
	found  []Finding
}

// ProbeTargets connects to each target and sees whether datagrams reach it, by a group and by unicast.
func ProbeTargets(ctx context.Context, cfg CheckConfig) ([]Finding, error) {
	if !cfg.GroupBase.IsValid() {
		cfg.GroupBase = netip.MustParseAddr("239.77.0.0")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	local, err := interfaceAddr(cfg.Interface, cfg.GroupBase)
	if err != nil {
		return nil, err
	}
	p := &prober{cfg: cfg}
	rand.Read(p.id[:])
	defer p.close()
	conf := multicast.SenderConfig{Interface: cfg.Interface, Local: local, Evacuation: p.id, Window: windowBytes, Log: cfg.Log,
		Pacer: multicast.NewPacer(0, 0), Control: p.multicastTo, Unreachable: func(string, error) {}, Confirmed: func(multicast.ChannelID, uint64) {}}
	rand.Read(conf.Key[:])
	if p.sender, err = multicast.NewSender(conf); err != nil {
		return nil, err
	}
	begin := control.Begin{Key: conf.Key[:], Source: local, Window: windowBytes}
	group := cfg.GroupBase
	for i, t := range cfg.Targets {
		p.probe(ctx, i, t, begin, group)
		group = group.Next()
	}
	return p.found, ctx.Err()
}

func (p *prober) probe(ctx context.Context, i int, t TargetAddr, begin control.Begin, group netip.Addr) {
	l, err := openLink(ctx, dialer{target: t, tlsDir: p.cfg.TLSDir, evacuation: hex.EncodeToString(p.id[:]), sent: new(atomic.Int64)})
	if err != nil {
		remedy := "start 'scatter recv' there, and see its log"
		if _, ok := errors.AsType[*pki.Error](err); ok {
			remedy = "" // the error has its own
		}
		p.add(t.String(), foundError("control connection", remedy, "%v", err))
		return
	}
	p.links = append(p.links, l)
	l.serve(len(p.links)-1, p)
	p.add(l.name(), foundOK("control connection", "up, room for %d MiB of guests, QEMU %s", l.welcome.Memory>>20, orNone(l.welcome.QEMU)))
	if err := begun(ctx, l, p.sender, begin); err != nil {
		p.add(l.name(), foundError("datagrams", "see the log of 'scatter recv' there", "%v", err))
		return
	}
	before := p.sender.Stats().Fallbacks
	err = p.sender.Open(ctx, multicast.Channel{ID: multicast.ChannelID(i + 1), Group: netip.AddrPortFrom(group, groupPort), Members: []string{l.name()}})
	switch {
	case err != nil:
		p.add(l.name(), foundError("datagrams", "let UDP from this host pass to the target (firewall, routing, MTU)",
			"no datagram reaches it, neither by group %s nor by unicast: its VMs would go over the control path", group))
	case p.sender.Stats().Fallbacks > before:
		p.add(l.name(), foundWarning("multicast", "switch IGMP snooping on together with a querier in this VLAN (or both off), allow UDP to "+group.String()+
			" in firewalls, and join through the right --interface on the target",
			"group %s does not reach it, unicast does: it would get every shared page by itself", group))
	default:
		p.add(l.name(), foundOK("multicast", "group %s reaches it", group))
	}
}

func orNone(s string) string {
	if s == "" {
		return "not installed"
	}
	return s
}

func (p *prober) add(host string, f Finding) {
	f.Host = host
	p.found = append(p.found, f)
}

func (p *prober) multicastTo(target string, msg []byte) error {
	for _, l := range p.links {
		if l.name() == target {
			return l.conn.Send(control.Multicast{Body: msg})
		}
	}
	return fmt.Errorf("target %s: unknown", target)
}

func (p *prober) fromTarget(int, control.Message) {}

func (p *prober) multicastFrom(host int, body []byte) {
	if err := p.sender.HandleControl(p.links[host].name(), body); err != nil {
		p.cfg.Log.Warn("report not understood", "host", p.links[host].name(), "err", err)
	}
}

func (p *prober) linkLost(host int, err error) { p.sender.Eject(p.links[host].name(), err) }

func (p *prober) close() {
	if p.sender != nil {
		p.sender.Close()
	}
	for _, l := range p.links {
		l.close()
	}
}
