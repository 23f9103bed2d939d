package scatter

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// hostName is the name of a target; "" for none (-1).
func (e *party) hostName(host int) string {
	if host < 0 {
		return ""
	}
	return e.links[host].Welcome.Name
}

// discover opens the VMs and the targets.
func (e *party) discover(ctx context.Context) error {
	var found, held model.Problems
	e.vms = make([]*sourceVM, len(e.cfg.VMs))
	e.links = make([]*wire.Link, len(e.cfg.Targets))
	var g sync.WaitGroup
	for i, socket := range e.cfg.VMs {
		g.Go(func() {
			v, err := discoverVM(ctx, i, socket)
			e.vms[i] = v
			if b, ok := errors.AsType[model.Blocker](err); ok {
				held.Add(b)
			} else {
				found.Add(err)
			}
		})
	}
	for i, t := range e.cfg.Targets {
		g.Go(func() {
			l, err := wire.Open(ctx, wire.Dialer{Target: t, TLSDir: e.cfg.TLSDir, Local: e.cfg.Local, Dscp: e.cfg.DSCP, Evacuation: e.name(), Sent: &e.controlBytes})
			e.links[i] = l
			found.Add(err)
		})
	}
	g.Wait()
	e.vms = slices.DeleteFunc(e.vms, func(v *sourceVM) bool { return v == nil })
	e.links = slices.DeleteFunc(e.links, func(l *wire.Link) bool { return l == nil })
	for i, l := range e.links {
		l.Serve(i, e.listener)
	}
	excluded := e.exclude()
	if len(e.vms) == 0 && len(excluded) > 0 {
		found.Add(errNobodyLeft)
	}
	for _, v := range e.vms {
		found.Add(v.elsewhere())
	}
	e.tellApart()
	found.NamesOf("VMs", "name each guest differently (-name guest=)", model.NamesOf(e.vms, (*sourceVM).name))
	found.NamesOf("targets", "give each target its own certificate and --name", model.NamesOf(e.links, (*wire.Link).Name))
	checkPlaces(&found, e.cfg.Place, append(model.NamesOf(e.vms, (*sourceVM).name), excluded...), e.links)
	if err := found.Err(); err != nil {
		return err
	}
	for _, b := range append(held.List, e.cfg.Held...) {
		if e.excluded(b.VM) {
			continue
		}
		s := stayer{b.VM, []model.Blocker{b}, handover.Stays}
		e.stays = append(e.stays, s)
		e.tellStays(s)
	}
	return e.openJournal()
}

// tellApart gives VMs without a name of their own others where they would have the same, and says what VMs are called whose own name cannot
// be used.
func (e *party) tellApart() {
	of := make(map[string]int)
	for _, v := range e.vms {
		of[v.name()]++
	}
	for _, v := range e.vms {
		if of[v.name()] > 1 {
			v.vm.TellApart()
		}
		if v.vm.Own != v.name() {
			e.log.Info("vm", "vm", v.name(), "own name", v.vm.Own, "socket", v.vm.Socket)
		}
	}
}

// party is who takes part.
type party struct {
	run
	vms      []*sourceVM // that move
	stays    []stayer    // that do not
	links    []*wire.Link
	listener wire.Listener // for what targets say

	unsettled bool // a VM that stays has other settings than it had
}
