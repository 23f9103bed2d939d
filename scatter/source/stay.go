package source

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
)

// stayer is a VM that this evacuation leaves where it is, since it cannot move.
type stayer struct {
	Name  string
	why   []model.Blocker
	State handover.State // stays, or ended: its QEMU has ended meanwhile
}

// Cause is all that hinders it, on one line.
func (s stayer) Cause() string {
	var all []string
	for _, b := range s.why {
		b.VM = ""
		all = append(all, b.String())
	}
	return strings.Join(all, "; ")
}

// blockersOf makes blockers of what hinders a VM; nil for none.
func blockersOf(vm string, err error) []model.Blocker {
	var found model.Problems
	found.Add(err)
	for i := range found.List {
		b := &found.List[i]
		if b.VM == "" {
			b.VM, b.Problem = vm, strings.TrimPrefix(b.Problem, "vm "+vm+": ")
		}
	}
	return found.List
}

// leave takes the VMs that have blockers out of the evacuation; why has those of each VM. They stay, and the others go,
// unless the operator wants all or none. It is an error when none is left.
func (e *Party) leave(why [][]model.Blocker) error {
	var kept []*VM
	for i, v := range e.VMs {
		if len(why[i]) == 0 {
			kept = append(kept, v)
			continue
		}
		e.Stays = append(e.Stays, stayer{v.Name(), why[i], v.WhereItIs()})
		e.recordStays(v)
		v.Close()
	}
	if len(e.Stays) > 0 && (e.Cfg.AllOrNone || len(kept) == 0) {
		blocked := &model.BlockedError{Blockers: e.Blockers()}
		e.VMs, e.Stays = kept, nil
		return blocked
	}
	for i, v := range e.VMs {
		if len(why[i]) > 0 {
			e.tellStays(*e.stayer(v.Name()))
		}
	}
	e.VMs = kept
	for i, v := range e.VMs {
		v.Index = i
	}
	return nil
}

// WhereItIs is the state of a VM that leaves the evacuation.
func (v *VM) WhereItIs() handover.State {
	if v.Proc != nil && !v.Proc.Alive() {
		return handover.Ended
	}
	return handover.Stays
}

// tellStays tells why a VM stays, and that it does.
func (e *Party) tellStays(s stayer) {
	for _, b := range s.why {
		b.VM = ""
		e.Tell(model.Event{Type: "blocker", VM: s.Name, Host: b.Host, Message: model.Blocker{Problem: b.Problem, Remedy: b.Remedy}.String()})
	}
	e.Tell(model.Event{Type: "vm", VM: s.Name, Stage: s.State.String(), Message: s.Cause()})
}

// Blockers is what hinders the VMs that stay.
func (e *Party) Blockers() (all []model.Blocker) {
	for _, s := range e.Stays {
		all = append(all, s.why...)
	}
	return all
}

// stayer finds a VM among those that stay.
func (e *Party) stayer(name string) *stayer {
	if i := slices.IndexFunc(e.Stays, func(s stayer) bool { return s.Name == name }); i >= 0 {
		return &e.Stays[i]
	}
	return nil
}

// exclude leaves out the VMs that the operator does not want to move. They are no part of the evacuation. The names are returned.
func (e *Party) exclude() (out []string) {
	e.VMs = slices.DeleteFunc(e.VMs, func(v *VM) bool {
		hit := e.excluded(v.Name())
		if hit {
			out = append(out, v.Name())
			v.Close()
		}
		return hit
	})
	for _, pattern := range e.Cfg.Exclude {
		if !slices.ContainsFunc(out, func(name string) bool { return matches(pattern, name) }) {
			e.Tell(model.Event{Type: "warning", Message: "exclude " + pattern + ": no VM is called so"})
		}
	}
	for i, v := range e.VMs {
		v.Index = i
	}
	return out
}

// excluded tells whether the operator does not want to move a VM of this name.
func (e *Party) excluded(name string) bool {
	return slices.ContainsFunc(e.Cfg.Exclude, func(pattern string) bool { return matches(pattern, name) })
}

// matches is path.Match for a pattern whose form was checked.
func matches(pattern, name string) bool {
	ok, _ := path.Match(pattern, name)
	return ok
}

// checkPatterns checks the form of patterns for names.
func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return fmt.Errorf("exclude %q: %w", p, path.ErrBadPattern)
		}
	}
	return nil
}

// staysByPlan is what a kept plan says of VMs that cannot move, unless it was changed so that they do.
func (e *Party) staysByPlan() [][]model.Blocker {
	why := make([][]model.Blocker, len(e.VMs))
	if e.Cfg.Plan == nil {
		return why
	}
	for i, v := range e.VMs {
		if e.Cfg.Plan.Placement[v.Name()] != "" {
			continue
		}
		for _, b := range e.Cfg.Plan.Stays {
			if b.VM == v.Name() {
				b.Problem = "the plan leaves it here: " + b.Problem
				why[i] = append(why[i], b)
			}
		}
	}
	return why
}

// errNobodyLeft: all were excluded.
var errNobodyLeft = errors.New("every VM is excluded")
