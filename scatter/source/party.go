package source

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/scatter-vm/scatter/qemu/image"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// Party is who takes part.
type Party struct {
	run
	VMs      []*VM    // that move
	Stays    []stayer // that do not
	Links    []*wire.Link
	Listener wire.Listener // for what targets say

	sums      image.Sums // of backing files, which VMs have in common
	Unsettled bool       // a VM that stays has other settings than it had
}

// HostName is the name of a target; "" for none (-1).
func (e *Party) HostName(host int) string {
	if host < 0 {
		return ""
	}
	return e.Links[host].Welcome.Name
}

// Discover opens the VMs and the targets.
func (e *Party) Discover(ctx context.Context) error {
	var found, held model.Problems
	e.VMs = make([]*VM, len(e.Cfg.VMs))
	e.Links = make([]*wire.Link, len(e.Cfg.Targets))
	var g sync.WaitGroup
	for i, socket := range e.Cfg.VMs {
		g.Go(func() {
			v, err := DiscoverVM(ctx, i, socket)
			e.VMs[i] = v
			if b, ok := errors.AsType[model.Blocker](err); ok {
				held.Add(b)
			} else {
				found.Add(err)
			}
		})
	}
	for i, t := range e.Cfg.Targets {
		g.Go(func() {
			l, err := wire.Open(ctx, wire.Dialer{Target: t, TLSDir: e.Cfg.TLSDir, Local: e.Cfg.Local, Dscp: e.Cfg.DSCP, Evacuation: e.Name(), Sent: &e.ControlBytes})
			e.Links[i] = l
			found.Add(err)
		})
	}
	g.Wait()
	e.VMs = slices.DeleteFunc(e.VMs, func(v *VM) bool { return v == nil })
	e.Links = slices.DeleteFunc(e.Links, func(l *wire.Link) bool { return l == nil })
	for i, l := range e.Links {
		l.Serve(i, e.Listener)
	}
	excluded := e.exclude()
	if len(e.VMs) == 0 && len(excluded) > 0 {
		found.Add(errNobodyLeft)
	}
	for _, v := range e.VMs {
		found.Add(v.elsewhere())
	}
	e.tellApart()
	for _, v := range e.VMs {
		v.Policy, v.travel = e.Cfg.policy(v.Name()), e.Cfg.Disks
	}
	found.NamesOf("VMs", "name each guest differently (-name guest=)", model.NamesOf(e.VMs, (*VM).Name))
	found.NamesOf("targets", "give each target its own certificate and --name", model.NamesOf(e.Links, (*wire.Link).Name))
	checkPlaces(&found, e.Cfg.Place, append(model.NamesOf(e.VMs, (*VM).Name), excluded...), e.Links)
	if err := found.Err(); err != nil {
		return err
	}
	for _, b := range append(held.List, e.Cfg.Held...) {
		if e.excluded(b.VM) {
			continue
		}
		s := stayer{b.VM, []model.Blocker{b}, handover.Stays}
		e.Stays = append(e.Stays, s)
		e.tellStays(s)
	}
	return e.openJournal()
}

// tellApart gives VMs without a name of their own others where they would have the same, and says what VMs are called whose own name cannot
// be used.
func (e *Party) tellApart() {
	of := make(map[string]int)
	for _, v := range e.VMs {
		of[v.Name()]++
	}
	for _, v := range e.VMs {
		if of[v.Name()] > 1 {
			v.Facts.TellApart()
		}
		if v.Facts.Own != v.Name() {
			e.Log.Info("vm", "vm", v.Name(), "own name", v.Facts.Own, "socket", v.Facts.Socket)
		}
	}
}
