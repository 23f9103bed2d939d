package local

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/internal/kit"
)

// TestPassesOnlyGain: passes never raise the traffic, fill a host beyond its room or break a constraint, and leave all tables right; and after
// them no single move gains anything.
func TestPassesOnlyGain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := kit.DrawState(t)
		if s.In.Racks > 0 {
			return
		}
		before, used := s.Traffic(), make([]int64, s.N)
		for h := range used {
			used[h] = s.Used(h)
		}
		newPasses(t.Context(), s, rand.New(rand.NewPCG(1, 1))).run()
		fresh := assign.New(s.In)
		fresh.Adopt(s.At)
		if !kit.SameTables(s, fresh) || s.Traffic() > before {
			t.Fatalf("traffic %d, before %d", s.Traffic(), before)
		}
		for h := range used {
			if s.Used(h) > max(used[h], s.In.Room[h].Memory) {
				t.Fatalf("host %d: %d used, %d before, room for %d", h, s.Used(h), used[h], s.In.Room[h].Memory)
			}
		}
		for u := range int32(len(s.At)) {
			for h := range s.N {
				if s.Placed(u) && h != int(s.At[u]) && s.Leave[u] > s.Arrival(u, h) && s.Fits(u, h) {
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
