package model

import (
	"fmt"
	"time"
)

// StallError says that a VM dirties its memory faster than the link can carry.
type StallError struct {
	VM        string
	Predicted time.Duration
	Limit     time.Duration
}

func (e *StallError) Error() string {
	return fmt.Sprintf("vm %s dirties memory faster than the link can carry: its pause would last about %v, %v is allowed (--downtime, --on-stall throttle or pause)",
		e.VM, e.Predicted.Round(time.Millisecond), e.Limit)
}
