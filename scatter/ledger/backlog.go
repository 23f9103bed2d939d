package ledger

import (
	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// Part is contents that a host lacks, with their owners there.
type Part struct {
	Owners []dedup.Page
	Ends   []uint16 // of each content's owners
	vms    []int    // whose accounts are open for it, once for each block
	bytes  int64    // of contents that nobody else has got either
}

// join puts q behind p, if that makes no more than one block.
func (p *Part) join(q Part) bool {
	if len(p.Ends) > 0 && (len(p.Ends)+len(q.Ends) > planning.BlockContents || len(p.Owners)+len(q.Owners) > BatchOwners) {
		return false
	}
	for _, end := range q.Ends {
		p.Ends = append(p.Ends, uint16(len(p.Owners))+end)
	}
	p.Owners, p.vms, p.bytes = append(p.Owners, q.Owners...), append(p.vms, q.vms...), p.bytes+q.bytes
	return true
}

// backlog is what a host lacks of the blocks that were sent, and was not sent again. Each detachment from a channel begins an epoch. A repair
// takes parts in its own epoch only: what the host lacks since goes by a later channel, so that an old page never overwrites a
// new one. The tracker's lock guards it.
type backlog struct {
	parts     []Part
	epoch     int  // how often the host was detached from a channel
	repairing bool // parts that were taken are on their way
}

// next takes the first parts, no more than a block; false: there is none, or the epoch is over.
func (b *backlog) next(epoch int) (p Part, ok bool) {
	for b.epoch == epoch && len(b.parts) > 0 && p.join(b.parts[0]) {
		b.parts, ok = b.parts[1:], true
	}
	return p, ok
}

// abandon empties it, and returns what was in it.
func (b *backlog) abandon() (parts []Part) {
	parts, b.parts = b.parts, nil
	return parts
}

// lags tells whether the host has not got all yet.
func (b *backlog) lags() bool { return b.repairing || len(b.parts) > 0 }

// backlogs are kept by host. Every host that was ever detached from a channel has one, be it empty.
type backlogs map[int]*backlog

func (s backlogs) of(host int) *backlog {
	if s[host] == nil {
		s[host] = &backlog{}
	}
	return s[host]
}

// lag tells whether a host has a backlog that is not empty.
func (s backlogs) lag(host int) bool { return s[host] != nil && s[host].lags() }
