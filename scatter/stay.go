package scatter

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
	name  string
	why   []model.Blocker
	state handover.State // stays, or ended: its QEMU has ended meanwhile
}

// cause is all that hinders it, on one line.
func (s stayer) cause() string {
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
func (e *party) leave(why [][]model.Blocker) error {
	var kept []*sourceVM
	for i, v := range e.vms {
		if len(why[i]) == 0 {
			kept = append(kept, v)
			continue
		}
		e.stays = append(e.stays, stayer{v.name(), why[i], v.whereItIs()})
		e.recordStays(v)
		v.close()
	}
	if len(e.stays) > 0 && (e.cfg.AllOrNone || len(kept) == 0) {
		blocked := &model.BlockedError{Blockers: e.blockers()}
		e.vms, e.stays = kept, nil
		return blocked
	}
	for i, v := range e.vms {
		if len(why[i]) > 0 {
			e.tellStays(*e.stayer(v.name()))
		}
	}
	e.vms = kept
	for i, v := range e.vms {
		v.index = i
	}
	return nil
}

// whereItIs is the state of a VM that leaves the evacuation.
func (v *sourceVM) whereItIs() handover.State {
	if v.proc != nil && !v.proc.Alive() {
		return handover.Ended
	}
	return handover.Stays
}

// tellStays tells why a VM stays, and that it does.
func (e *party) tellStays(s stayer) {
	for _, b := range s.why {
		b.VM = ""
		e.tell(model.Event{Type: "blocker", VM: s.name, Host: b.Host, Message: model.Blocker{Problem: b.Problem, Remedy: b.Remedy}.String()})
	}
	e.tell(model.Event{Type: "vm", VM: s.name, Stage: s.state.String(), Message: s.cause()})
}

// blockers is what hinders the VMs that stay.
func (e *party) blockers() (all []model.Blocker) {
	for _, s := range e.stays {
		all = append(all, s.why...)
	}
	return all
}

// stayer finds a VM among those that stay.
func (e *party) stayer(name string) *stayer {
	if i := slices.IndexFunc(e.stays, func(s stayer) bool { return s.name == name }); i >= 0 {
		return &e.stays[i]
	}
	return nil
}

// exclude leaves out the VMs that the operator does not want to move. They are no part of the evacuation. The names are returned.
func (e *party) exclude() (out []string) {
	e.vms = slices.DeleteFunc(e.vms, func(v *sourceVM) bool {
		hit := e.excluded(v.name())
		if hit {
			out = append(out, v.name())
			v.close()
		}
		return hit
	})
	for _, pattern := range e.cfg.Exclude {
		if !slices.ContainsFunc(out, func(name string) bool { return matches(pattern, name) }) {
			e.tell(model.Event{Type: "warning", Message: "exclude " + pattern + ": no VM is called so"})
		}
	}
	for i, v := range e.vms {
		v.index = i
	}
	return out
}

// excluded tells whether the operator does not want to move a VM of this name.
func (e *party) excluded(name string) bool {
	return slices.ContainsFunc(e.cfg.Exclude, func(pattern string) bool { return matches(pattern, name) })
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
func (e *party) staysByPlan() [][]model.Blocker {
	why := make([][]model.Blocker, len(e.vms))
	if e.cfg.Plan == nil {
		return why
	}
	for i, v := range e.vms {
		if e.cfg.Plan.Placement[v.name()] != "" {
			continue
		}
		for _, b := range e.cfg.Plan.Stays {
			if b.VM == v.name() {
				b.Problem = "the plan leaves it here: " + b.Problem
				why[i] = append(why[i], b)
			}
		}
	}
	return why
}

// errNobodyLeft: all were excluded.
var errNobodyLeft = errors.New("every VM is excluded")
