package model

import (
	"errors"
	"sync"
)

// Problems collects blockers, so that all of them are told at once.
type Problems struct {
	mu   sync.Mutex
	List []Blocker
}

// Add takes a Blocker, or any other error, or several joined; nil is no problem.
func (p *Problems) Add(err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			p.Add(err)
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var b Blocker
	var many *BlockedError
	switch {
	case errors.As(err, &many):
		p.List = append(p.List, many.Blockers...)
	case errors.As(err, &b):
		p.List = append(p.List, b)
	default:
		p.List = append(p.List, Blocker{Problem: err.Error()})
	}
}

// Err is a *BlockedError, or nil.
func (p *Problems) Err() error {
	if len(p.List) == 0 {
		return nil
	}
	return &BlockedError{Blockers: p.List}
}

// NamesOf finds names that are used twice.
func (p *Problems) NamesOf(kind, remedy string, names []string) {
	seen := make(map[string]bool)
	for _, n := range names {
		if seen[n] {
			p.Add(Blocker{Problem: "two " + kind + " are called " + n, Remedy: remedy})
		}
		seen[n] = true
	}
}

// NamesOf are the names of what is in a list.
func NamesOf[T any](list []T, name func(T) string) []string {
	var out []string
	for _, v := range list {
		out = append(out, name(v))
	}
	return out
}

// Error makes a Blocker an error of its own.
func (b Blocker) Error() string { return b.String() }
