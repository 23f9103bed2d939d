package policy

import (
	"fmt"
	"strings"
)

// Error is an option of a command line that the launch policy refuses.
type Error struct {
	Option string // such as -netdev, or "binary"
	Value  string // the part of its value that was judged, shortened
	Reason string
}

func (e *Error) Error() string { return "launch policy: " + e.text() }

func (e *Error) text() string {
	if e.Value == "" {
		return fmt.Sprintf("%s: %s", e.Option, e.Reason)
	}
	return fmt.Sprintf("%s %q: %s", e.Option, e.Value, e.Reason)
}

// maxRefusals is how many refusals are spelled out.
const maxRefusals = 20

// Errors are all options of one command line that the launch policy refuses, at least one.
type Errors []*Error

func (e Errors) Error() string {
	var words []string
	for _, one := range e[:min(len(e), maxRefusals)] {
		words = append(words, one.text())
	}
	if more := len(e) - maxRefusals; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return "launch policy: " + strings.Join(words, "; ")
}

// Unwrap gives each of them.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// refusals takes an error of the policy apart.
func refusals(err error) Errors {
	switch e := err.(type) {
	case nil:
		return nil
	case *Error:
		return Errors{e}
	case interface{ Unwrap() []error }:
		var all Errors
		for _, one := range e.Unwrap() {
			all = append(all, refusals(one)...)
		}
		return all
	}
	return Errors{{Option: "command line", Reason: err.Error()}}
}
