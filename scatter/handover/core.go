// Package handover decides where a VM may run. Core is a pure step function: events in, actions out, no clock, socket or goroutine; Decide is
// the one table for what went wrong, for live failures and for recovery alike; a History is what a journal's records tell of one VM.
package handover

import (
	"errors"
	"fmt"
	"slices"

	"github.com/scatter-vm/scatter/scatter/model"
)

// Core decides. It is a pure step function: no clock, no I/O, no goroutine. What becomes of a VM is decided by its coreVM, which knows of
// no other; what spans VMs is the core's: when bulk starts, who gets the converge slots, and whom a lost target or a cancel concerns.
type Core struct {
	VMs       []coreVM
	how       CoreOptions
	order     []int
	bulk      bool // AcBulk was given
	cancelled error
	hurries   bool // the deadline is near
}

// errUnplaced is why a VM stays that the plan has put nowhere.
var errUnplaced = errors.New("no target has room for it")

// CoreOptions is what the operator has said of it.
type CoreOptions struct {
	Parallel   int           // VMs that converge at one time
	OnStall    model.OnStall // what becomes of a VM that does not converge
	AtDeadline model.OnStall // what becomes of VMs that have not moved when there is just time enough for it: StallKeep, StallPause or StallPost
	KeepSource bool          // leave the source QEMU
	First      []bool        // by VM: it switches over before bulk, and lacks then what that brings; nil: none does
}

// NewCore makes a core for VMs placed on hosts (host[vm], -1 = it stays); order is the order in which
// ready VMs take converge slots.
func NewCore(host, order []int, how CoreOptions) *Core {
	how.Parallel = max(1, how.Parallel)
	c := &Core{order: order, how: how}
	for i, h := range host {
		c.VMs = append(c.VMs, coreVM{index: i, host: h, how: &how, first: how.First != nil && how.First[i]})
	}
	return c
}

// Start gives the first actions.
func (c *Core) Start() (out []Action) {
	for i := range c.VMs {
		if v := &c.VMs[i]; v.host < 0 {
			out = append(out, v.finish(Stays, errUnplaced)...)
		} else {
			out = append(out, v.enter(Preparing, AcPrepare)...)
		}
	}
	return out
}

// Done tells whether every VM has reached a final state.
func (c *Core) Done() bool {
	return !slices.ContainsFunc(c.VMs, func(v coreVM) bool { return !v.State.final() })
}

var errIllegal = errors.New("event does not fit the state")

// Step takes one event and returns what is to be done. An event that does not fit its VM's state
// changes nothing and is an error for the trace: late words of a target that was given up are normal.
func (c *Core) Step(e Event) (out []Action, err error) {
	switch e.Kind {
	case EvCancel:
		out = c.cancel(e.Err)
	case EvTargetLost:
		out = c.targetLost(e.Host, e.Err)
	case EvDeadline:
		out = c.deadline(e.Err)
	default:
		if e.VM < 0 || e.VM >= len(c.VMs) {
			return nil, fmt.Errorf("vm %d: %w", e.VM, errIllegal)
		}
		out, err = c.VMs[e.VM].step(e)
	}
	return append(out, c.schedule()...), err
}

// cancel takes back every VM that can be, once.
func (c *Core) cancel(err error) (out []Action) {
	if c.cancelled != nil {
		return nil
	}
	c.cancelled = err
	for i := range c.VMs {
		if v := &c.VMs[i]; v.State.retreats() && !v.gone {
			out = append(out, v.abort(err)...)
		}
	}
	return out
}

// deadline leaves the VMs here that have not begun to switch over, or sees that no more time goes by for them than what they have left takes.
func (c *Core) deadline(err error) (out []Action) {
	c.hurries = c.how.AtDeadline == model.StallPause || c.how.AtDeadline == model.StallPost
	for i := range c.VMs {
		if v := &c.VMs[i]; !c.hurries && v.State < Switching {
			out = append(out, v.abort(err)...)
		}
	}
	return out
}

// targetLost tells the VMs of a host.
func (c *Core) targetLost(host int, err error) (out []Action) {
	for i := range c.VMs {
		if v := &c.VMs[i]; v.host == host && host >= 0 {
			out = append(out, v.targetLost(err)...)
		}
	}
	return out
}

// schedule starts bulk once every target has answered, and fills free converge slots.
func (c *Core) schedule() (out []Action) {
	if c.bulkIsDue() {
		c.bulk = true
		out = append(out, Action{Kind: AcBulk})
	}
	busy := 0
	for _, v := range c.VMs {
		if v.State.inConverge() && !(v.first && v.State == Filling) {
			busy++
		}
	}
	for _, i := range c.order {
		if v := &c.VMs[i]; busy < c.how.Parallel && v.State == Ready {
			out = append(out, v.enter(Converging, AcConverge)...)
			busy++
		}
	}
	return append(out, c.hurry()...)
}

// hurry has VMs switch over with whatever they have left.
func (c *Core) hurry() (out []Action) {
	how := map[model.OnStall]actionKind{model.StallPause: AcPause, model.StallPost: AcTakeOver}
	for i := range c.VMs {
		if v := &c.VMs[i]; c.hurries && v.State == Converging && !v.hurried {
			v.hurried = true
			out = append(out, Action{Kind: how[c.how.AtDeadline], VM: i})
		}
	}
	return out
}

// bulkIsDue tells whether contents are to be sent now: once every target has answered, and those VMs have switched over that do so first.
func (c *Core) bulkIsDue() bool {
	if c.bulk || c.anyIn(Planned, Preparing) {
		return false
	}
	for i := range c.VMs {
		if v := &c.VMs[i]; v.first && v.State == Prepared {
			v.State = Ready
		}
	}
	return c.anyIn(Prepared, Filling) && !slices.ContainsFunc(c.VMs, func(v coreVM) bool { return v.first && v.State < Filling })
}

// anyIn tells whether a VM is in one of the states.
func (c *Core) anyIn(states ...State) bool {
	return slices.ContainsFunc(c.VMs, func(v coreVM) bool { return slices.Contains(states, v.State) })
}
