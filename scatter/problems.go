package scatter

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

// problems collects blockers, so that all of them are told at once.
type problems struct {
	mu   sync.Mutex
	list []Blocker
}

// add takes a Blocker, or any other error, or several joined; nil is no problem.
func (p *problems) add(err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			p.add(err)
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var b Blocker
	var many *BlockedError
	switch {
	case errors.As(err, &many):
		p.list = append(p.list, many.Blockers...)
	case errors.As(err, &b):
		p.list = append(p.list, b)
	default:
		p.list = append(p.list, Blocker{Problem: err.Error()})
	}
}

// err is a *BlockedError, or nil.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &BlockedError{p.list}
}

// namesOf finds names that are used twice.
func (p *problems) namesOf(kind, remedy string, names []string) {
	seen := make(map[string]bool)
	for _, n := range names {
		if seen[n] {
			p.add(Blocker{Problem: "two " + kind + " are called " + n, Remedy: remedy})
		}
		seen[n] = true
	}
}

// places checks that the operator's placement names VMs and hosts that exist.
func (p *problems) places(place map[string]string, vms []string, links []*link) {
	for _, vm := range sortedKeys(place) {
		if !slices.Contains(vms, vm) {
			p.add(Blocker{VM: vm, Problem: "is placed, but is not among the VMs to move"})
		}
		if !slices.ContainsFunc(links, func(l *link) bool { return l.welcome.Name == place[vm] }) {
			p.add(Blocker{VM: vm, Host: place[vm], Problem: "is placed on a host that is not among the targets"})
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func namesOf[T any](list []T, name func(T) string) []string {
	var out []string
	for _, v := range list {
		out = append(out, name(v))
	}
	return out
}

// Error makes a Blocker an error of its own.
func (b Blocker) Error() string { return b.String() }
