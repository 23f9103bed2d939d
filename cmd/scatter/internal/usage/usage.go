// Package usage tells mistakes of the caller from all that can go wrong besides.
package usage

import "fmt"

// Error is a mistake in flags, the environment or a file that they name, found before anything was touched.
type Error struct{ Err error }

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is the mistake itself.
func (e *Error) Unwrap() error { return e.Err }

// Errorf words a mistake as fmt.Errorf does.
func Errorf(format string, args ...any) error { return &Error{fmt.Errorf(format, args...)} }
