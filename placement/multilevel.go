package placement

import "math/rand/v2"

// level is an instance and how its units came out of the next finer one.
type level struct {
	in      *instance
	cluster []int32 // unit of the finer instance -> unit of in; nil if they are the same
	idle    []bool  // units to leave in limbo
}

// levels coarsens until few units are left. Units of different cells stay apart, unless there are none.
func (in *instance) levels(rng *rand.Rand, idle []bool, few int, cell []int32) []level {
	out := []level{{in: in, idle: idle}}
	largest := min(0.5, 2*float64(len(in.room))/float64(few))
	for {
		last := &out[len(out)-1]
		if len(last.in.units) <= few {
			return out
		}
		cluster := last.in.coarsen(rng, last.idle, largest, cell)
		if cluster == nil {
			return out
		}
		next := level{in: last.in.contract(cluster), cluster: cluster}
		next.idle, cell = lift(&next, last.idle), lift(&next, cell)
		out = append(out, next)
	}
}

// lift carries what is the same for all units of a cluster from the finer level to this one; nil stays nil.
func lift[T any](l *level, of []T) []T {
	if of == nil {
		return nil
	}
	out := make([]T, len(l.in.units))
	for u, k := range l.cluster {
		out[k] = of[u]
	}
	return out
}

// project carries an assignment from a level to the finer one.
func (l *level) project(host []uint16) []uint16 {
	if l.cluster == nil {
		return host
	}
	out := make([]uint16, len(l.cluster))
	for u, k := range l.cluster {
		out[u] = host[k]
	}
	return out
}
