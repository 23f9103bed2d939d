package model

import (
	"fmt"
	"time"
)

// StallError says that a VM dirties its memory, or writes to disks that travel with it, faster than the link can carry.
type StallError struct {
	VM        string
	Disks     bool // these
	Predicted time.Duration
	Limit     time.Duration
}

func (e *StallError) Error() string {
	does, remedy := "dirties memory", "throttle or pause"
	if e.Disks {
		does, remedy = "writes to its disks", "pause"
	}
	return fmt.Sprintf("vm %s %s faster than the link can carry: its pause would last about %v, %v is allowed (--downtime, --on-stall %s)",
		e.VM, does, e.Predicted.Round(time.Millisecond), e.Limit, remedy)
}
