package receiver

import (
	"time"

	"github.com/scatter-vm/scatter/multicast/clock"
	"github.com/scatter-vm/scatter/multicast/coding"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// minSpacing is the least time between reports, in units of the reorder time.
const minSpacing = 1

// reports knows when the next report is due, and makes it.
type reports struct {
	timing  Timing
	plenty  int           // bytes that are worth a report before its time
	every   time.Duration // between reports while something changes
	last    clock.Instant
	changed bool // something is worth a report
	prompt  bool // and soon
	fresh   int  // bytes since the last report
	report  wire.Report
	have    []uint8
}

// due is when the next report is to be made. Without channels there is nothing to say but what has changed.
func (r *reports) due(channels int) clock.Instant {
	switch {
	case channels == 0 && !r.changed:
		return clock.Never
	case r.changed && (r.prompt || r.fresh > r.plenty):
		return r.last + minSpacing*r.timing.Reorder
	case r.changed:
		return r.last + r.every
	default:
		return r.last + max(r.every, r.timing.Heartbeat)
	}
}

// onEvery learns how often to report. Where that is seldom, because targets are many, more may arrive in between.
func (r *reports) onEvery(message []byte) error {
	m, err := wire.ParseEvery(message)
	if err == nil {
		r.every = time.Duration(m.Milliseconds) * time.Millisecond
	}
	return err
}

// arrived notes a datagram of so many bytes. With a mark the source asks for a report.
func (r *reports) arrived(kind wire.Kind, bytes int) {
	r.changed = true
	r.prompt = r.prompt || kind == wire.Mark
	r.fresh += bytes
}

// placed notes that a block has been placed, and whether that was all there is: then the source waits for this.
func (r *reports) placed(all bool) {
	r.changed = true
	r.prompt = r.prompt || all
}

// memberships takes in how often groups were joined and left. What is news is to be told soon.
func (r *reports) memberships(joins, leaves uint32) (news bool) {
	if joins == r.report.Joins && leaves == r.report.Leaves {
		return false
	}
	r.report.Joins, r.report.Leaves = joins, leaves
	r.changed, r.prompt = true, true
	return true
}

// write makes a report of what has changed. The message is the caller's.
func (r *reports) write(now clock.Instant, open []*Channel) []byte {
	r.report.Channels, r.have = r.report.Channels[:0], r.have[:0]
	r.last, r.changed, r.prompt, r.fresh = now, false, false, 0
	for _, c := range open {
		if c.changed {
			r.report.Channels = append(r.report.Channels, r.progress(now, c))
			r.changed = r.changed || c.changed
		}
	}
	return r.report.Append(nil)
}

// progress is a channel's part of the report. The channel stays changed if that is not all there is to tell.
func (r *reports) progress(now clock.Instant, c *Channel) wire.Progress {
	p := wire.Progress{Channel: c.wire, Floor: c.floor}
	var all [2]bool
	p.Multicast, all[0] = c.paths[0].path(now, r.timing.Reorder)
	p.Unicast, all[1] = c.paths[1].path(now, r.timing.Reorder)
	c.changed = !all[0] || !all[1]
	for _, a := range c.blocks {
		p.Blocks = append(p.Blocks, r.holding(a))
	}
	return p
}

func (r *reports) holding(a *coding.Assembly) wire.Holding {
	if a == nil {
		return wire.Holding{}
	}
	if a.Released() {
		return wire.Holding{Placed: true}
	}
	start := len(r.have)
	r.have = a.Have(r.have)
	return wire.Holding{Stripes: r.have[start:len(r.have):len(r.have)]}
}
