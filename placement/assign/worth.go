package assign

import (
	"time"

	"github.com/scatter-vm/scatter/placement/model"
)

// Value is what an assignment costs: by the objective, then in traffic.
type Value struct{ Cost, Traffic int64 }

// Less reports whether a value is better than another.
func (v Value) Less(w Value) bool {
	return v.Cost < w.Cost || v.Cost == w.Cost && v.Traffic < w.Traffic
}

// Worth is the value of the state by the objective.
func (s *State) Worth() Value {
	v := Value{Traffic: s.Traffic()}
	switch s.In.Objective {
	case model.LeastTime:
		v.Cost = int64(s.Makespan())
	case model.FewestHosts:
		for h := range s.N {
			if s.Loads[h].Units > 0 {
				v.Cost++
			}
		}
	default:
		v.Cost = v.Traffic
	}
	return v
}

// Traffic is the bytes that all hosts and all racks receive together.
func (s *State) Traffic() int64 {
	var sum int64
	if s.racks != nil {
		sum = s.racks.bytes
	}
	for h := range s.N {
		sum += s.Loads[h].Bytes
	}
	return sum
}

// Makespan is the time until the slowest link is done.
func (s *State) Makespan() time.Duration {
	t := s.In.Floor
	for h := range s.N {
		t = max(t, s.In.Time(h, s.Loads[h].Bytes))
	}
	return time.Duration(t)
}
