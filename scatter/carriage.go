package scatter

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/ledger"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// openDataPlane hands out the key and learns where the targets take datagrams.
func (e *carriage) openDataPlane(ctx context.Context) error {
	local, err := wire.LocalAddr(e.cfg.Interface, e.cfg.Local, e.cfg.GroupBase, e.links)
	if err != nil {
		return err
	}
	conf := multicast.SenderConfig{
		Interface: e.cfg.Interface, Local: local, Evacuation: e.id, Pacer: e.pacer, Window: model.WindowBytes,
		SlowRatio: e.cfg.SlowRatio, MTU: e.cfg.MTU, DSCP: e.cfg.DSCP, Plain: e.cfg.NoGSO,
		Log:     slog.New(warnHandler{slog.DiscardHandler, e.tell}),
		Control: e.multicastTo, Unreachable: e.unreachable,
	}
	rand.Read(conf.Key[:])
	host := make([]int, len(e.vms))
	for i, v := range e.vms {
		host[i] = v.host
	}
	e.tracker = ledger.NewTracker(host, e.layout, e.held, func(vm int) { e.post(handover.Event{Kind: handover.EvBulkDone, VM: vm}) })
	conf.Confirmed, conf.Left = e.tracker.Confirmed, e.tooSlow
	if e.sender, err = multicast.NewSender(conf); err != nil {
		return err
	}
	e.tracker.Sender = e.sender
	e.toTargets.Store(e.sender)
	for i, l := range e.links {
		if err := begun(ctx, l, e.sender, control.Begin{Key: conf.Key[:], Source: local, Window: model.WindowBytes}); err != nil {
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

func (e *carriage) runBulk(ctx context.Context) {
	b := &bulk{e: e, schedule: e.schedule, tracker: e.tracker}
	err := b.run(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	// Bulk is an accelerator: what it could not send, converge will, for VMs that are not done yet.
	e.tell(model.Event{Type: "warning", Message: err.Error()})
	for _, v := range e.vms {
		e.goBlind(v)
	}
}

// goBlind: nothing is known of what the target holds of this VM. Its bulk is over, converge sends all.
func (e *carriage) goBlind(v *sourceVM) {
	v.blind.Store(true)
	e.tracker.GiveUp(v.index)
}

// unreachable is multicast's word that no datagram reaches a target.
func (e *carriage) unreachable(target string, err error) {
	e.tell(model.Event{Type: "warning", Host: target, Message: fmt.Sprintf("datagrams do not reach target %s, its VMs go over the control path: %v", target, err)})
	for _, v := range e.vms {
		if e.hostName(v.host) == target {
			e.goBlind(v)
		}
	}
}

// tooSlow is multicast's word that a target has left a channel whose group was too fast for it.
func (e *carriage) tooSlow(ch multicast.ChannelID, target string, lacks []uint64, next uint64) {
	if host := slices.IndexFunc(e.links, func(l *wire.Link) bool { return l.Name() == target }); host >= 0 {
		e.tracker.Leave(ch, host, lacks, next)
	}
}

func (e *carriage) multicastTo(target string, msg []byte) error {
	for _, l := range e.links {
		if l.Welcome.Name == target {
			return l.Conn.Send(control.Multicast{Body: msg})
		}
	}
	return fmt.Errorf("target %s: unknown", target)
}

func (e *carriage) MulticastFrom(host int, body []byte) {
	s := e.toTargets.Load()
	if s == nil {
		return
	}
	if err := s.HandleControl(e.links[host].Welcome.Name, body); err != nil {
		e.log.Warn("report not understood", "host", e.links[host].Welcome.Name, "err", err) // if it is for that, it is ejected
	}
}

// LinkLost is called once per link, when its target is lost.
func (e *carriage) LinkLost(host int, err error) {
	e.tell(model.Event{Type: "warning", Host: e.links[host].Welcome.Name, Message: err.Error()})
	if s := e.toTargets.Load(); s != nil {
		s.Eject(e.links[host].Welcome.Name, err)
	}
	e.refused.hostLost(host, err)
	e.post(handover.Event{Kind: handover.EvTargetLost, Host: host, Err: err})
}

// gather reads pages of one VM. When its QEMU is gone the VM fails, not the bulk of the others.
func (e *carriage) gather(v *sourceVM, p *vmPages, dst []byte) {
	if len(p.refs) == 0 {
		return
	}
	if !v.gone.Load() {
		err := v.mem.GatherTo(p.refs, p.to, dst)
		if err == nil {
			return
		}
		v.gone.Store(true)
		e.post(handover.Event{Kind: handover.EvFailed, VM: v.index, Err: fmt.Errorf("vm %s: %w", v.name(), err)})
	}
	for _, i := range p.to {
		clear(dst[int(i)*model.PageSize : int(i+1)*model.PageSize])
	}
}

// carriage is how contents get to the targets.
type carriage struct {
	planned
	sender    *multicast.Sender
	tracker   *ledger.Tracker
	toTargets atomic.Pointer[multicast.Sender] // sender, for the goroutines of the links
}
