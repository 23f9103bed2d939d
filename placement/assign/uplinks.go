package assign

import (
	"github.com/scatter-vm/scatter/placement/hypergraph"
	"github.com/scatter-vm/scatter/placement/model"
)

// uplinks follows the same units among the racks. With racks, the bytes that cross links are those to every host that needs a class and those
// to every rack that has such a host. A host without a rack hangs on the source's switch: in the spread over racks it stands in limbo.
type uplinks struct {
	in     *model.Instance
	spread hypergraph.Spread
	bytes  int64 // that all racks receive
}

// newUplinks returns the racks with no unit placed, nil if no host has a rack.
func newUplinks(in *model.Instance) *uplinks {
	if in.Racks == 0 {
		return nil
	}
	return &uplinks{in: in, spread: hypergraph.NewSpread(&in.Classes, in.Racks)}
}

// move follows a unit that moves to another host.
func (k *uplinks) move(u int32, to int) {
	there, here := k.after(u, to)
	k.bytes += there + here
	if rack := k.in.Uplink[to]; rack != k.spread.At[u] {
		k.spread.Relocate(u, int(rack))
	}
}

// after is by how much the bytes to the rack of u's host and to that of h grow if u moves to h.
func (k *uplinks) after(u int32, h int) (there, here int64) {
	from, to, none := k.spread.At[u], k.in.Uplink[h], uint16(k.spread.Limbo)
	if from == to {
		return 0, 0
	}
	if from != none {
		there = -k.in.Units[u].Own - k.spread.Leave[u]
	}
	if to != none {
		here = k.in.Units[u].Own + k.spread.Arrival(u, int(to))
	}
	return there, here
}

// kept is the bytes that the racks of u and v go on needing because of classes both own when the two trade places.
func (k *uplinks) kept(u, v int32) (kept, held int64) {
	a, b, none := k.spread.At[u], k.spread.At[v], uint16(k.spread.Limbo)
	if a == b {
		return 0, 0
	}
	kept, held = k.spread.Common(u, v)
	if a == none {
		kept = 0
	}
	if b == none {
		held = 0
	}
	return kept, held
}
