package groups

import (
	"cmp"
	"slices"
)

// parcel is a group that has been chosen: its hosts and the bytes that are sent to it.
type parcel struct {
	hosts hostset
	bytes int64
}

// turn is a parcel's place in the order of sending.
type turn struct {
	parcel
	group  int   // its place in the order of one lane
	lane   int   // the address it is sent on
	before int   // the lane's turn before, none = it is the first
	after  int   // the lane's turn after, none = it is the last
	opens  int   // the turn at whose beginning its joins are issued; it itself: not before
	start  int64 // bytes sent before it begins
	idle   int64 // bytes that could have been sent while its joins were waited for
}

const none = -1

// schedule is all turns in order, and what their memberships cost.
type schedule struct {
	turns     []turn
	lanes     int
	changes   int   // joins, and as many leaves, in all
	overheard int64 // bytes that reach hosts outside their group
	idle      int64
}

// kept is the groups of the schedule, in its order.
func (s *schedule) kept() []Kept {
	kept := make([]Kept, len(s.turns))
	for i, t := range s.turns {
		kept[i] = Kept{t.hosts.list(), t.lane}
	}
	return kept
}

// arrange spreads the groups over as many lanes as are cheapest.
func (in *instance) arrange(parcels []parcel) schedule {
	var best schedule
	for lanes := 1; lanes <= min(in.Limits.Memberships, in.Limits.Groups, len(parcels)); lanes++ {
		s := in.arrangeOn(lanes, parcels)
		if best.lanes == 0 || in.price(s) < in.price(best) {
			best = s
		}
	}
	return best
}

func (in *instance) price(s schedule) int64 {
	return in.Prices.Change*int64(s.changes) + in.Prices.Host*s.overheard + in.Prices.Source*s.idle
}

func (in *instance) arrangeOn(lanes int, parcels []parcel) schedule {
	return in.scheduleOf(in.takeTurns(parcels, cut(parcels, lanes)), lanes)
}

// inTurn keeps the parcels in their order and on their lanes.
func (in *instance) inTurn(parcels []parcel, kept []Kept, lanes int) schedule {
	last := slices.Repeat([]int{none}, lanes)
	var turns []turn
	var now int64
	for i, p := range parcels {
		lane := kept[i].Lane
		if b := last[lane]; b != none {
			turns[b].after = i
		}
		turns = append(turns, turn{parcel: p, group: i, lane: lane, before: last[lane], after: none, start: now})
		last[lane] = i
		now += p.bytes
	}
	return in.scheduleOf(turns, lanes)
}

// scheduleOf finds when turns open, and what they cost.
func (in *instance) scheduleOf(turns []turn, lanes int) schedule {
	s := schedule{turns: turns, lanes: lanes}
	in.openAhead(s.turns)
	for i := range s.turns {
		t := &s.turns[i]
		s.changes += len(in.joins(s.turns, i)) + len(in.leaves(s.turns, i))
		s.idle += t.idle
	}
	s.overheard = in.overheard(s.turns)
	return s
}

// cut divides the order into lanes where that costs the fewest changes: between groups that share few hosts. Lanes have
// about as many groups each, and none more than half, so that none has to be sent twice running. It returns where each
// lane ends.
func cut(parcels []parcel, lanes int) []int {
	n := len(parcels)
	least, most := max(1, 3*n/(4*lanes)), (5*n+4*lanes-1)/(4*lanes)
	if half := (n + 1) / 2; lanes > 1 && most > half {
		least, most = n/lanes, half
	}
	const never = 1 << 30
	cost := make([][]int, lanes+1) // by lanes so far and groups so far: hosts common to both sides of the cuts
	from := make([][]int, lanes+1)
	for l := range cost {
		cost[l], from[l] = slices.Repeat([]int{never}, n+1), make([]int, n+1)
	}
	cost[0][0] = 0
	shared := make([]int, n) // by where a lane begins; nothing at the first
	for i := range n {
		if i > 0 {
			shared[i] = common(parcels[i-1].hosts, parcels[i].hosts)
		}
	}
	for l := 1; l <= lanes; l++ {
		for end := 1; end <= n; end++ {
			for start := max(0, end-most); start <= end-least; start++ {
				if c := cost[l-1][start] + shared[start]; c < cost[l][end] {
					cost[l][end], from[l][end] = c, start
				}
			}
		}
	}
	ends := make([]int, lanes)
	for l, end := lanes, n; l > 0; l-- {
		ends[l-1], end = end, from[l][end]
	}
	return ends
}

// queue is the groups of a lane that are still to be sent.
type queue struct {
	lane, next, end int
	sent, length    int   // groups
	last            int   // its turn before, none = none yet
	rests           int64 // bytes sent when that ended
}

// takeTurns merges the lanes into one order: evenly, but a lane rests for the latency of a join when another can be sent.
func (in *instance) takeTurns(parcels []parcel, ends []int) []turn {
	var queues []*queue
	start := 0
	for lane, end := range ends {
		queues = append(queues, &queue{lane: lane, next: start, end: end, length: end - start, last: none, rests: -in.Delay.Join})
		start = end
	}
	var turns []turn
	var now int64
	for range parcels {
		q := slices.MinFunc(queues, func(a, b *queue) int { return in.compare(now, a, b) })
		t := turn{parcel: parcels[q.next], group: q.next, lane: q.lane, before: q.last, after: none, start: now}
		if q.last != none {
			turns[q.last].after = len(turns)
		}
		q.last = len(turns)
		turns = append(turns, t)
		now += t.bytes
		q.next, q.sent, q.rests = q.next+1, q.sent+1, now
		queues = slices.DeleteFunc(queues, func(q *queue) bool { return q.next == q.end })
	}
	return turns
}

// compare puts the lane first that is to be sent: one that has rested long enough, and of these the one that is furthest
// behind.
func (in *instance) compare(now int64, a, b *queue) int {
	restedA, restedB := min(now-a.rests, in.Delay.Join), min(now-b.rests, in.Delay.Join)
	return cmp.Or(
		cmp.Compare(restedB, restedA),
		cmp.Compare((2*a.sent+1)*b.length, (2*b.sent+1)*a.length),
		cmp.Compare(a.rests, b.rests),
		cmp.Compare(a.lane, b.lane),
	)
}

// openAhead finds when each turn's joins are issued: as soon as the lane is idle, for nothing is overheard then, and the
// lane's turn before can be left at once; while that turn is still being sent, where the latency would show otherwise.
// The first turn of a lane is joined as late as hides the latency.
func (in *instance) openAhead(turns []turn) {
	for i := range turns {
		t := &turns[i]
		hidden := func(opens int) bool { return t.start-turns[opens].start >= in.Delay.Join }
		t.opens = t.before + 1
		if t.before != none && !hidden(t.opens) {
			t.opens--
		}
		for t.before == none && t.opens < i && hidden(t.opens+1) {
			t.opens++
		}
		t.idle = max(0, in.Delay.Join-(t.start-turns[t.opens].start))
	}
}

// joins are the hosts that join the lane for a turn.
func (in *instance) joins(turns []turn, i int) []int {
	return minus(turns[i].hosts, in.members(turns, turns[i].before)).list()
}

// leaves are the hosts that leave the lane after a turn.
func (in *instance) leaves(turns []turn, i int) []int {
	return minus(turns[i].hosts, in.members(turns, turns[i].after)).list()
}

func (in *instance) members(turns []turn, i int) hostset {
	if i == none {
		return in.nobody
	}
	return turns[i].hosts
}

// overheard is what reaches hosts of groups they are no members of: they joined early for the next turn of the lane, or
// the network has not noticed yet that they left.
func (in *instance) overheard(turns []turn) int64 {
	var total int64
	for _, first := range firstTurns(turns) {
		until := make([]int64, in.Hosts) // bytes sent when the lane has forgotten the host
		for i := first; i != none; i = turns[i].after {
			t := &turns[i]
			early := in.nobody
			if t.after != none && turns[t.after].opens <= i {
				early = turns[t.after].hosts
			}
			for h := range in.Hosts {
				switch {
				case t.hosts.has(h):
					until[h] = t.start + t.bytes + in.Delay.Leave
				case early.has(h):
					total += t.bytes
				default:
					total += max(0, min(until[h]-t.start, t.bytes))
				}
			}
		}
	}
	return total
}

// firstTurns are the first turns of all lanes.
func firstTurns(turns []turn) []int {
	var first []int
	for i, t := range turns {
		if t.before == none {
			first = append(first, i)
		}
	}
	return first
}
