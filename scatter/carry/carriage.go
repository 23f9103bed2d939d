package carry

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/ledger"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/source"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// Carriage is how contents get to the targets.
type Carriage struct {
	source.Planned
	Sender    *multicast.Sender
	Tracker   *ledger.Tracker
	Claims    ledger.Claims                    // on pages that others than bulk send as well; nil: nobody does
	Ahead     Ahead                            // what bulk is to send before all else; nil: nothing is ever
	toTargets atomic.Pointer[multicast.Sender] // sender, for the goroutines of the links
}

// OpenDataPlane hands out the key and learns where the targets take datagrams.
func (e *Carriage) OpenDataPlane(ctx context.Context) error {
	local, err := wire.LocalAddr(e.Cfg.Interface, e.Cfg.Local, e.Cfg.GroupBase, e.Links)
	if err != nil {
		return err
	}
	conf := multicast.SenderConfig{
		Interface: e.Cfg.Interface, Local: local, Evacuation: e.ID, Pacer: e.Pacer, Window: model.WindowBytes,
		SlowRatio: e.Cfg.SlowRatio, MTU: e.Cfg.MTU, DSCP: e.Cfg.DSCP, Plain: e.Cfg.NoGSO,
		Log:     warnTo(e.Tell),
		Control: e.multicastTo, Unreachable: e.unreachable,
	}
	rand.Read(conf.Key[:])
	host := make([]int, len(e.VMs))
	for i, v := range e.VMs {
		host[i] = v.Host
	}
	e.Tracker = ledger.NewTracker(host, e.Layout, e.Held, func(vm int) { e.Post(handover.Event{Kind: handover.EvBulkDone, VM: vm}) })
	conf.Confirmed, conf.Left = e.Tracker.Confirmed, e.detached
	if e.Sender, err = multicast.NewSender(conf); err != nil {
		return err
	}
	e.Tracker.Sender = e.Sender
	e.toTargets.Store(e.Sender)
	for i, l := range e.Links {
		if err := begun(ctx, l, e.Sender, control.Begin{Key: conf.Key[:], Source: local, Window: model.WindowBytes}); err != nil {
			e.LinkLost(i, err)
		}
	}
	return nil
}

// begun opens the data plane to one target.
func begun(ctx context.Context, l *wire.Link, s *multicast.Sender, m control.Begin) error {
	if err := l.Conn.Send(m); err != nil {
		return err
	}
	select {
	case b := <-l.Begun:
		return s.AddTarget(l.Welcome.Name, b.Datagram)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(wire.HelloTimeout):
		return fmt.Errorf("target %s did not answer", l.Welcome.Name)
	}
}

// RunBulk sends the contents. What it could not send, converge will.
func (e *Carriage) RunBulk(ctx context.Context) {
	b := &bulk{e: e, schedule: e.Schedule, tracker: e.Tracker}
	err := b.run(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	// Bulk is an accelerator: what it could not send, converge will, for VMs that are not done yet.
	e.Tell(model.Event{Type: "warning", Message: err.Error()})
	for _, v := range e.VMs {
		e.goBlind(v)
	}
}

// goBlind: nothing is known of what the target holds of this VM. Its bulk is over, converge sends all.
func (e *Carriage) goBlind(v *source.VM) {
	v.Blind.Store(true)
	e.Tracker.GiveUp(v.Index)
}

// unreachable is multicast's word that no datagram reaches a target.
func (e *Carriage) unreachable(target string, err error) {
	e.Tell(model.Event{Type: "warning", Host: target, Message: fmt.Sprintf("datagrams do not reach target %s, its VMs go over the control path: %v", target, err)})
	for _, v := range e.VMs {
		if e.HostName(v.Host) == target {
			e.goBlind(v)
		}
	}
}

// detached is multicast's word that a target is no member of a channel any more, whose group was too fast for it.
func (e *Carriage) detached(ch multicast.ChannelID, target string, missing []uint64, next uint64) {
	if host := slices.IndexFunc(e.Links, func(l *wire.Link) bool { return l.Name() == target }); host >= 0 {
		e.Tracker.Detach(ch, host, missing, next)
	}
}

func (e *Carriage) multicastTo(target string, msg []byte) error {
	for _, l := range e.Links {
		if l.Welcome.Name == target {
			return l.Conn.Send(control.Multicast{Body: msg})
		}
	}
	return fmt.Errorf("target %s: unknown", target)
}

// MulticastFrom takes a target's word about datagrams.
func (e *Carriage) MulticastFrom(host int, body []byte) {
	s := e.toTargets.Load()
	if s == nil {
		return
	}
	if err := s.HandleControl(e.Links[host].Welcome.Name, body); err != nil {
		e.Log.Warn("report not understood", "host", e.Links[host].Welcome.Name, "err", err) // if it is for that, it is ejected
	}
}

// LinkLost is called once per link, when its target is lost.
func (e *Carriage) LinkLost(host int, err error) {
	e.Tell(model.Event{Type: "warning", Host: e.Links[host].Welcome.Name, Message: err.Error()})
	if s := e.toTargets.Load(); s != nil {
		s.Eject(e.Links[host].Welcome.Name, err)
	}
	e.Refused.HostLost(host, err)
	e.Post(handover.Event{Kind: handover.EvTargetLost, Host: host, Err: err})
}

// gather reads pages of one VM. When its QEMU is gone the VM fails, not the bulk of the others.
func (e *Carriage) gather(v *source.VM, p *vmPages, dst []byte) {
	if len(p.refs) == 0 {
		return
	}
	if !v.Gone.Load() {
		err := v.Mem.GatherTo(p.refs, p.to, dst)
		if err == nil {
			return
		}
		v.Gone.Store(true)
		e.Post(handover.Event{Kind: handover.EvFailed, VM: v.Index, Err: fmt.Errorf("vm %s: %w", v.Name(), err)})
	}
	for _, i := range p.to {
		clear(dst[int(i)*model.PageSize : int(i+1)*model.PageSize])
	}
}
