package groups

import "math"

// exactSets is the number of sets up to which the order is optimal.
const exactSets = 12

// exact is the shortest tour through all places, by dynamic programming over the sets of places visited. It begins at
// place 0, the empty set.
func (m *distances) exact() []int32 {
	n := m.n - 1
	if n == 0 {
		return []int32{0}
	}
	best := make([]uint32, n<<n) // of the paths from the empty set through the visited to the last
	for i := range best {
		best[i] = math.MaxUint32
	}
	for last := range n {
		best[n<<last+last] = m.of(0, int32(last+1))
	}
	for visited := 1; visited < 1<<n; visited++ {
		for last := range n {
			length := best[n*visited+last]
			if length == math.MaxUint32 {
				continue
			}
			for next := range n {
				if visited>>next&1 == 0 {
					to := &best[n*(visited|1<<next)+next]
					*to = min(*to, length+m.of(int32(last+1), int32(next+1)))
				}
			}
		}
	}
	return m.trace(best)
}

// trace follows the lengths back from the end of the shortest tour.
func (m *distances) trace(best []uint32) []int32 {
	n := m.n - 1
	tour := make([]int32, m.n)
	visited, after := 1<<n-1, int32(0)
	for i := n; i > 0; i-- {
		choice, least := 0, uint32(math.MaxUint32)
		for last := range n {
			if length := best[n*visited+last]; length != math.MaxUint32 && length+m.of(int32(last+1), after) < least {
				choice, least = last, length+m.of(int32(last+1), after)
			}
		}
		tour[i], after = int32(choice+1), int32(choice+1)
		visited &^= 1 << choice
	}
	return tour
}
