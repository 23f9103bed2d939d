package anneal

import (
	"math"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/model"
)

// links is the energy of a state beside the price of excess: its traffic or, for the makespan, a power mean of the links'
// times, which unlike their maximum tells a step towards a better balance from one away.
type links struct {
	makespan bool
	unit     float64 // bytes on a mean link in the reference time
	scale    []float64
}

const (
	sharpness     = 8    // of the power mean
	trafficWeight = 0.02 // of traffic beside it
)

func newLinks(s *assign.State) *links {
	k := &links{makespan: s.In.Objective == model.LeastTime, scale: make([]float64, s.N)}
	if !k.makespan {
		return k
	}
	longest, sum := float64(s.In.Floor)/8e9, 0.0
	for h := range s.N {
		longest = math.Max(longest, float64(s.Loads[h].Bytes)/float64(s.In.BPS[h]))
		sum += float64(s.In.BPS[h])
	}
	longest = math.Max(longest, 1/sum)
	k.unit = longest * sum / float64(s.N)
	for h := range s.N {
		k.scale[h] = 1 / (longest * float64(s.In.BPS[h]))
	}
	return k
}

// loss is by how much the energy grows, in bytes, when the loads of two hosts do.
func (k *links) loss(s *assign.State, from, to int, there, here assign.Change) float64 {
	traffic := float64(there.Traffic() + here.Traffic())
	if !k.makespan {
		return traffic
	}
	x, y := s.Loads[from].Bytes, s.Loads[to].Bytes
	return k.at(from, x+there.Bytes) - k.at(from, x) + k.at(to, y+here.Bytes) - k.at(to, y) + trafficWeight*traffic
}

func (k *links) at(h int, bytes int64) float64 {
	x := float64(bytes) * k.scale[h]
	x *= x
	x *= x
	return x * x * k.unit / sharpness
}
