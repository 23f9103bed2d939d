// Package exact solves problems of few units by exhaustion.
package exact

import (
	"math"
	"math/bits"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/model"
)

// maxUnits is up to how many units a problem is solved by exhaustion: 3^15 steps a host take well below a second.
const maxUnits = 15

// Fits reports whether an instance is small enough.
func Fits(in *model.Instance) bool {
	n := len(in.Units)
	return n <= maxUnits && len(in.Room) > 0 && float64(len(in.Room)+in.Racks)*math.Pow(3, float64(n)) <= 1e8
}

// exhaustion solves a problem of few units over all ways to hand each host, or each rack for its hosts, a subset of what is left.
// A subset is a bit mask of units. Costs are compared by objective first, then by traffic and imbalance.
type exhaustion struct {
	in      *model.Instance
	subsets int
	bytes   []int64 // of the classes that a subset needs, units' own included
	claim   []int64
	vcpus   []int64
	vms     []int64
}

// dealing is what it costs to hand each subset to the receivers so far.
type dealing struct {
	best      []price
	receivers []receiver
}

// receiver is a host, or a rack that deals its part out to its hosts.
type receiver struct {
	host  int
	inner *dealing
	share []uint32 // subset dealt to this and the receivers before -> what this one gets of it
}

// Solve returns the best placement, or nil if there is none.
func Solve(in *model.Instance) *assign.State {
	e := newExhaustion(in)
	d := e.deal(in.Racks)
	for rack := range in.Racks {
		inner := e.deal(rack)
		e.add(d, receiver{inner: inner}, e.uplinked(rack, inner.best))
	}
	all := uint32(e.subsets - 1)
	if d.best[all].cost == never {
		return nil
	}
	s := assign.New(in)
	d.carryOut(s, all)
	return s
}

// carryOut moves the units of a subset to the hosts that get them.
func (d *dealing) carryOut(s *assign.State, set uint32) {
	for i := len(d.receivers) - 1; i >= 0; i-- {
		r := &d.receivers[i]
		part := r.share[set]
		set &^= part
		if r.inner != nil {
			r.inner.carryOut(s, part)
			continue
		}
		for ; part != 0; part &= part - 1 {
			s.Move(int32(bits.TrailingZeros32(part)), r.host)
		}
	}
}

func newExhaustion(in *model.Instance) *exhaustion {
	e := &exhaustion{in: in, subsets: 1 << len(in.Units)}
	e.bytes = e.classBytes()
	e.claim = e.sums(func(u *model.Unit) int64 { return u.Claim })
	e.vcpus = e.sums(func(u *model.Unit) int64 { return u.VCPUs })
	e.vms = e.sums(func(u *model.Unit) int64 { return int64(u.Count) })
	return e
}

// sums adds up a size over every subset.
func (e *exhaustion) sums(of func(*model.Unit) int64) []int64 {
	out := make([]int64, e.subsets)
	for u := range e.in.Units {
		for set := range 1 << u {
			out[set|1<<u] = out[set] + of(&e.in.Units[u])
		}
	}
	return out
}

// classBytes is, for every subset, the bytes of the classes that touch it: all bytes less those of the classes that lie
// in the complement.
func (e *exhaustion) classBytes() []int64 {
	within := e.exactly()
	var all int64
	for _, w := range within {
		all += w
	}
	for u := range e.in.Units {
		for set := range within {
			if set>>u&1 != 0 {
				within[set] += within[set^1<<u]
			}
		}
	}
	out := make([]int64, e.subsets)
	for set := range out {
		out[set] = all - within[e.subsets-1^set]
	}
	return out
}

// exactly is, for every subset, the bytes of the class that has just these owners.
func (e *exhaustion) exactly() []int64 {
	out := make([]int64, e.subsets)
	g := &e.in.Classes
	for c, w := range g.Weight {
		var set uint32
		for _, u := range g.Pins(int32(c)) {
			set |= 1 << u
		}
		out[set] += w
	}
	for u := range e.in.Units {
		out[1<<u] += e.in.Units[u].Own
	}
	return out
}

// deal hands subsets to the hosts of a rack; those without one are in the rack that comes after the last.
func (e *exhaustion) deal(rack int) *dealing {
	d := &dealing{best: make([]price, e.subsets)}
	for i := range d.best[1:] {
		d.best[i+1].cost = never
	}
	if e.in.Objective == model.LeastTime {
		d.best[0].cost = e.in.Floor
	}
	for h := range e.in.Room {
		if int(e.in.Uplink[h]) != rack {
			continue
		}
		e.add(d, receiver{host: h}, e.prices(h))
	}
	return d
}

// add extends the best prices by one more receiver.
func (e *exhaustion) add(d *dealing, r receiver, prices []price) {
	next := make([]price, e.subsets)
	r.share = make([]uint32, e.subsets)
	for set := range uint32(e.subsets) {
		best := d.best[set]
		var take uint32
		for part := set; part != 0; part = (part - 1) & set {
			if prices[part].cost == never || d.best[set&^part].cost == never {
				continue
			}
			if p := e.join(d.best[set&^part], prices[part]); p.less(best) {
				best, take = p, part
			}
		}
		next[set], r.share[set] = best, take
	}
	d.best = next
	d.receivers = append(d.receivers, r)
}

func (e *exhaustion) join(a, b price) price {
	if e.in.Objective == model.LeastTime {
		a.cost = max(a.cost, b.cost)
	} else {
		a.cost += b.cost
	}
	return price{a.cost, a.traffic + b.traffic, a.imbalance + b.imbalance}
}
