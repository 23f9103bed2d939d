package receiver

import (
	"time"

	"github.com/scatter-vm/scatter/multicast/clock"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// arrivals is what has come by one path. What is reported is the sight some time ago: what was sent before and is not
// here by now is lost, not late.
type arrivals struct {
	current   sight
	candidate sight // to be settled next
	settled   sight
	since     clock.Instant // of the candidate
}

// sight is how much of a path has been heard.
type sight struct {
	highest uint64
	count   uint32
	at      clock.Instant
}

// note takes in a datagram.
func (a *arrivals) note(now clock.Instant, sequence uint64, reorder time.Duration) {
	a.current.count++
	if sequence > a.current.highest {
		a.current.highest, a.current.at = sequence, now
	}
	a.settle(now, reorder)
}

// settle moves the boundary between lost and late.
func (a *arrivals) settle(now clock.Instant, reorder time.Duration) {
	if now-a.since >= reorder {
		a.settled, a.candidate, a.since = a.candidate, a.current, now
	}
}

// settleAll says that what is not here is lost.
func (a *arrivals) settleAll(now clock.Instant) {
	a.settled, a.candidate, a.since = a.current, a.current, now
}

// path is what is reported of it, and whether that is all.
func (a *arrivals) path(now clock.Instant, reorder time.Duration) (p wire.Path, all bool) {
	a.settle(now, reorder)
	age := min((now - a.settled.at).Microseconds(), wire.MaxAge)
	return wire.Path{Highest: a.settled.highest, Count: a.settled.count, Age: uint32(age)}, a.settled.count == a.current.count
}
