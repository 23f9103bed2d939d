package qemu

import "fmt"

// LaunchError is a QEMU, or an operator's launcher, that did not come up.
type LaunchError struct {
	Name string
	Err  error
	Tail string // last lines of what it wrote to stderr
}

func (e *LaunchError) Error() string {
	if e.Tail == "" {
		return fmt.Sprintf("vm %s: launch: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("vm %s: launch: %v; it said: %s", e.Name, e.Err, e.Tail)
}

func (e *LaunchError) Unwrap() error { return e.Err }
