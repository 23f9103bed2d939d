package placement

import "math"

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

func newLinks(s *state) *links {
	k := &links{makespan: s.in.p.Objective == Makespan, scale: make([]float64, s.n)}
	if !k.makespan {
		return k
	}
	longest, sum := float64(s.in.floor)/8e9, 0.0
	for h := range s.n {
		longest = math.Max(longest, float64(s.load[h].bytes)/float64(s.in.bps[h]))
		sum += float64(s.in.bps[h])
	}
	longest = math.Max(longest, 1/sum)
	k.unit = longest * sum / float64(s.n)
	for h := range s.n {
		k.scale[h] = 1 / (longest * float64(s.in.bps[h]))
	}
	return k
}

// loss is by how much the energy grows, in bytes, when the loads of two hosts do.
func (k *links) loss(s *state, from, to int, there, here change) float64 {
	traffic := float64(there.traffic() + here.traffic())
	if !k.makespan {
		return traffic
	}
	x, y := s.load[from].bytes, s.load[to].bytes
	return k.at(from, x+there.bytes) - k.at(from, x) + k.at(to, y+here.bytes) - k.at(to, y) + trafficWeight*traffic
}

func (k *links) at(h int, bytes int64) float64 {
	x := float64(bytes) * k.scale[h]
	x *= x
	x *= x
	return x * x * k.unit / sharpness
}

// worth is the value of the state by the objective.
func (s *state) worth() value {
	v := value{traffic: s.traffic()}
	switch s.in.p.Objective {
	case Makespan:
		v.cost = s.in.floor
		for h := range s.n {
			v.cost = max(v.cost, sendTime(s.load[h].bytes, s.in.bps[h]))
		}
	case Hosts:
		for h := range s.n {
			if s.load[h].units > 0 {
				v.cost++
			}
		}
	default:
		v.cost = v.traffic
	}
	return v
}
