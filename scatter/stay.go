package scatter

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// stayer is a VM that this evacuation leaves where it is, since it cannot move.
type stayer struct {
	name string
	why  []Blocker
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
func blockersOf(vm string, err error) []Blocker {
	var found problems
	found.add(err)
	for i := range found.list {
		b := &found.list[i]
		if b.VM == "" {
			b.VM, b.Problem = vm, strings.TrimPrefix(b.Problem, "vm "+vm+": ")
		}
	}
	return found.list
}

// leave takes the VMs that have blockers out of the evacuation; why has those of each VM. They stay, and the others go,
// unless the operator wants all or none. It is an error when none is left.
func (e *evacuation) leave(why [][]Blocker) error {
	var kept []*sourceVM
	var numbers []int
	for i, v := range e.vms {
		if len(why[i]) == 0 {
			kept, numbers = append(kept, v), append(numbers, i)
			continue
		}
		e.stays = append(e.stays, stayer{v.name(), why[i]})
		e.leftChanged = e.leftChanged || v.unsettled()
		v.close()
	}
	if len(e.stays) > 0 && (e.cfg.AllOrNone || len(kept) == 0) {
		blocked := &BlockedError{e.blockers()}
		e.vms, e.stays = kept, nil
		return blocked
	}
	for i, v := range e.vms {
		if len(why[i]) > 0 {
			e.tellStays(v.name(), why[i])
		}
	}
	e.vms = kept
	for i, v := range e.vms {
		v.index = i
	}
	e.refused.renumber(numbers)
	return nil
}

// tellStays tells why a VM stays, and that it does.
func (e *evacuation) tellStays(name string, why []Blocker) {
	for _, b := range why {
		b.VM = ""
		e.tell(Event{Type: "blocker", VM: name, Host: b.Host, Message: Blocker{Problem: b.Problem, Remedy: b.Remedy}.String()})
	}
	e.tell(Event{Type: "vm", VM: name, Stage: stays.String(), Message: stayer{name, why}.cause()})
}

// blockers is what hinders the VMs that stay.
func (e *evacuation) blockers() (all []Blocker) {
	for _, s := range e.stays {
		all = append(all, s.why...)
	}
	return all
}

// stayer finds a VM among those that stay.
func (e *evacuation) stayer(name string) *stayer {
	if i := slices.IndexFunc(e.stays, func(s stayer) bool { return s.name == name }); i >= 0 {
		return &e.stays[i]
	}
	return nil
}

// exclude leaves out the VMs that the operator does not want to move. They are no part of the evacuation. The names are returned.
func (e *evacuation) exclude() (out []string) {
	matched := make([]bool, len(e.cfg.Exclude))
	e.vms = slices.DeleteFunc(e.vms, func(v *sourceVM) bool {
		hit := false
		for i, pattern := range e.cfg.Exclude {
			ok, _ := path.Match(pattern, v.name()) // its form was checked
			matched[i], hit = matched[i] || ok, hit || ok
		}
		if hit {
			out = append(out, v.name())
			v.close()
		}
		return hit
	})
	for i, ok := range matched {
		if !ok {
			e.tell(Event{Type: "warning", Message: "exclude " + e.cfg.Exclude[i] + ": no VM is called so"})
		}
	}
	for i, v := range e.vms {
		v.index = i
	}
	return out
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
func (e *evacuation) staysByPlan() [][]Blocker {
	why := make([][]Blocker, len(e.vms))
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
