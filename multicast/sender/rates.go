package sender

import (
	"slices"
	"time"

	"github.com/scatter-vm/scatter/multicast/congestion"
)

const (
	// headroom is how much a unicast stream's rate may exceed the link's: it is useless, but lets it follow growth.
	headroom = 1.25
	// DefaultSlowRatio is the part of what the others of a group get below which a member is too slow for it, if nothing else is said.
	DefaultSlowRatio = 0.5
	// slowTime is how long a member must get too little before it leaves its group; heldTime, when the others are about to
	// wait for it, or have all there is.
	slowTime = 2 * time.Second
	heldTime = 500 * time.Millisecond
	// backgroundShare is what all channels in the background take of the link while others have blocks under way.
	backgroundShare = 0.05
)

// rates considers now and then what members have seen lately: how fast the link and the unicast streams may be, who is too slow for its
// group, and how often targets are to report.
type rates struct {
	timing     *Timing
	roster     *roster
	channels   *channels
	membership *membership
	window     *window
	schedule   *schedule

	link    congestion.Link
	meter   congestion.Meter
	counted counters
	next    instant             // when it considers again
	samples []congestion.Sample // of all members
	crowded bool                // a channel that is not in the background has blocks under way
}

// counters are of bytes that have left.
type counters struct {
	own  uint64 // sent by the engine, as datagrams and otherwise
	port uint64 // by the interface, from whomever; 0 = not known
}

// due tells whether it is time to consider again.
func (r *rates) due(now instant) bool { return now >= r.next }

// consider adjusts the rate of each unicast stream and of the link, and finds members which a group is too fast for.
func (r *rates) consider(now instant) {
	if !r.due(now) {
		return
	}
	r.next = now + congestion.Interval
	r.samples = r.samples[:0]
	for _, o := range r.channels.open {
		for _, st := range o.streams() {
			if st.unicast {
				r.considerStream(now, st)
			} else {
				r.considerGroup(now, st)
			}
		}
	}
	r.roster.space(r.schedule.rate, r.timing.Report)
	t := r.meter.Since(now, r.counted.own, r.counted.port)
	if len(r.samples) > 0 {
		r.link.Consider(now, r.schedule.rate, r.samples, t)
	}
}

// sample adds what a member has seen to the samples, if it is enough.
func (r *rates) sample(m *member, now, blind instant) congestion.Sample {
	s := m.sample(now, blind)
	if !s.Empty() {
		r.samples = append(r.samples, s)
	}
	return s
}

// considerStream adjusts the rate of a unicast stream.
func (r *rates) considerStream(now instant, st *stream) {
	recent := r.sample(st.members[0], now, st.credit.pace.Blind())
	st.credit.pace.Limit(headroom * r.schedule.rate)
	if !recent.Empty() {
		st.credit.consider(now, recent)
	}
}

// considerGroup finds members that get much less than what the others get: these should not pay for their repair.
func (r *rates) considerGroup(now instant, st *stream) {
	own := len(r.samples)
	recent := make([]congestion.Sample, len(st.members))
	for i, m := range st.members {
		recent[i] = r.sample(m, now, r.link.Blind())
	}
	if r.membership.slowRatio <= 0 || len(r.samples)-own < 2 {
		return
	}
	others := 1 - congestion.Best(r.samples[own:]).Share()
	held := st.heldBySlow()
	for i, m := range slices.Clone(st.members) {
		switch {
		case recent[i].Empty():
		case 1-recent[i].Share() >= r.membership.slowRatio*others:
			m.behind = never
		case m.behind == never:
			m.behind = now
		case now-m.behind >= slowTime, now-m.behind >= heldTime && r.holdsUp(st, held):
			m.lossy = recent[i].Share()
			r.membership.leaveShared(m.target)
		}
	}
}

// holdsUp tells whether so many bytes that only slow members lack are what the others are about to wait for, or all there is.
func (r *rates) holdsUp(st *stream, held int) bool {
	return held > r.limit()/2 || held == st.channel.backlog.used
}

// limit is how many bytes of blocks may wait for confirmation.
func (r *rates) limit() int { return r.roster.window(r.window.size) }

// refill gives a unicast stream its credit, and what was held for want of it back to the queue. While others are busy, channels in the
// background share little.
func (r *rates) refill(now instant, st *stream) {
	if !st.unicast {
		return
	}
	rate := st.credit.pace.Rate()
	if st.channel.Background && r.crowded {
		rate = min(rate, backgroundShare*r.schedule.rate/float64(r.channels.background()))
	}
	st.credit.refill(now, rate, r.schedule.burst)
	if !st.credit.gone() {
		r.schedule.resume(&st.credit)
	}
}
