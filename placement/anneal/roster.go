package anneal

import "github.com/scatter-vm/scatter/placement/assign"

// roster lists the units of each host, so that one can be drawn.
type roster struct {
	members [][]int32
	place   []int32 // of each unit among its host's members
}

func newRoster(s *assign.State) roster {
	r := roster{members: s.Members(), place: make([]int32, len(s.At))}
	for _, units := range r.members {
		for i, u := range units {
			r.place[u] = int32(i)
		}
	}
	return r
}

// transfer moves a unit from one host's list to another's.
func (r *roster) transfer(u int32, from, to int) {
	list := r.members[from]
	last := list[len(list)-1]
	list[r.place[u]], r.place[last] = last, r.place[u]
	r.members[from] = list[:len(list)-1]
	r.place[u] = int32(len(r.members[to]))
	r.members[to] = append(r.members[to], u)
}
