package placement

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement/internal/kit"
)

// TestPassesOnlyGain: passes never raise the traffic, fill a host beyond its room or break a constraint, and leave all tables right; and after
// them no single move gains anything.
func TestPassesOnlyGain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		if s.racks != nil {
			return
		}
		before, used := s.traffic(), make([]int64, s.n)
		for h := range used {
			used[h] = s.used(h)
		}
		newPasses(t.Context(), s, rand.New(rand.NewPCG(1, 1))).run()
		fresh := newState(s.in)
		fresh.adopt(s.At)
		if !s.equals(fresh) || s.traffic() > before {
			t.Fatalf("traffic %d, before %d", s.traffic(), before)
		}
		for h := range used {
			if s.used(h) > max(used[h], s.in.room[h].memory) {
				t.Fatalf("host %d: %d used, %d before, room for %d", h, s.used(h), used[h], s.in.room[h].memory)
			}
		}
		for u := range int32(len(s.At)) {
			for h := range s.n {
				if s.placed(u) && h != int(s.At[u]) && s.Leave[u] > s.Arrival(u, h) && s.fits(u, h) {
					t.Fatalf("unit %d on host %d would save %d", u, h, s.Leave[u]-s.Arrival(u, h))
				}
			}
		}
	})
}

// TestQueue compares a queue with a list.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const units = 20
		q, list := queue{place: make([]int32, units)}, map[int32]int64{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			u, gain := rapid.Int32Range(0, units-1).Draw(t, "unit"), rapid.Int64Range(-5, 5).Draw(t, "gain")
			if rapid.Bool().Draw(t, "remove") {
				q.remove(u)
				delete(list, u)
			} else {
				q.set(u, gain)
				list[u] = gain
			}
			if q.len() != len(list) {
				t.Fatalf("%d units, want %d", q.len(), len(list))
			}
			for v, g := range list {
				if q.gainOf(v) != g || g > q.top().gain {
					t.Fatalf("unit %d gains %d, want %d, and the most is %d", v, q.gainOf(v), g, q.top().gain)
				}
			}
		}
	})
}

// TestMeshIsCutStraight: annealing unit by unit cuts a mesh in curves, up to a tenth longer.
func TestMeshIsCutStraight(t *testing.T) {
	thorough(t)
	const side = 110
	for hosts, cuts := range map[int]int{2: 1, 4: 2} {
		p := kit.Mesh(side, hosts)
		cut := solve(t, p).Cost - int64(len(p.Classes))
		if best := int64(cuts * side); 100*cut > 102*best {
			t.Errorf("%d hosts: %d classes are cut, the best is %d", hosts, cut, best)
		}
	}
}
