// Package clock is the time of the protocol's two state machines, which have no clock: whoever drives them tells it.
package clock

import "time"

// Instant is the time since the start of a sender or a receiver.
type Instant = time.Duration

// Never is no instant.
const Never = Instant(-1)
