// Package multilevel makes instances of fewer and fewer units, by uniting those that share much, and carries assignments between them: what is
// found on few units is the beginning on more.
package multilevel

import (
	"math/rand/v2"

	"github.com/scatter-vm/scatter/placement/model"
)

// Level is an instance and how its units came out of the next finer one.
type Level struct {
	In      *model.Instance
	cluster []int32 // unit of the finer instance -> unit of in; nil if they are the same
	Idle    []bool  // units to leave in limbo
}

// Levels coarsens until few units are left. Units of different cells stay apart, unless there are none.
func Levels(in *model.Instance, rng *rand.Rand, idle []bool, few int, cell []int32) []Level {
	out := []Level{{In: in, Idle: idle}}
	largest := min(0.5, 2*float64(len(in.Room))/float64(few))
	for {
		last := &out[len(out)-1]
		if len(last.In.Units) <= few {
			return out
		}
		cluster := coarsen(last.In, rng, last.Idle, largest, cell)
		if cluster == nil {
			return out
		}
		next := Contract(last.In, cluster)
		next.Idle, cell = Lift(&next, last.Idle), Lift(&next, cell)
		out = append(out, next)
	}
}

// Contract returns the level of clusters: cluster tells that of each unit.
func Contract(in *model.Instance, cluster []int32) Level {
	return Level{In: in.Contracted(cluster), cluster: cluster}
}

// Lift carries what is the same for all units of a cluster from the finer level to this one; nil stays nil.
func Lift[T any](l *Level, of []T) []T {
	if of == nil {
		return nil
	}
	out := make([]T, len(l.In.Units))
	for u, k := range l.cluster {
		out[k] = of[u]
	}
	return out
}

// Project carries an assignment from a level to the finer one.
func (l *Level) Project(host []uint16) []uint16 {
	if l.cluster == nil {
		return host
	}
	out := make([]uint16, len(l.cluster))
	for u, k := range l.cluster {
		out[u] = host[k]
	}
	return out
}
