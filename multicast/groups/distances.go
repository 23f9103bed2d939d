package groups

// distances are those between places: place 0 is the empty set, place i+1 is set i.
type distances struct {
	n   int
	all []uint16
}

func newDistances(sets []hostset) *distances {
	m := &distances{n: len(sets) + 1, all: make([]uint16, (len(sets)+1)*(len(sets)+1))}
	for i, a := range sets {
		m.set(0, i+1, a.size())
		for j, b := range sets[:i] {
			m.set(j+1, i+1, distance(a, b))
		}
	}
	return m
}

func (m *distances) set(a, b, d int) { m.all[a*m.n+b], m.all[b*m.n+a] = uint16(d), uint16(d) }

func (m *distances) of(a, b int32) uint32 { return uint32(m.all[int(a)*m.n+int(b)]) }

func (m *distances) row(a int32) []uint16 { return m.all[int(a)*m.n : (int(a)+1)*m.n] }

// length is that of a closed tour.
func (m *distances) length(tour []int32) int {
	total, last := 0, tour[len(tour)-1]
	for _, c := range tour {
		total += int(m.of(last, c))
		last = c
	}
	return total
}

// nearest lists for each place its k nearest others, nearest first.
func (m *distances) nearest(k int) [][]int32 {
	near := make([][]int32, m.n)
	flat := make([]int32, m.n*k)
	var count []int
	for a := range near {
		near[a] = flat[a*k : a*k : (a+1)*k]
		row := m.row(int32(a))
		count = countingLimit(row, a, k, count)
		for d, c := range count {
			if c == 0 {
				continue
			}
			for b, e := range row {
				if int(e) == d && b != a && len(near[a]) < k {
					near[a] = append(near[a], int32(b))
				}
			}
		}
	}
	return near
}

// countingLimit counts the places at each distance, up to the distance of the k-th nearest.
func countingLimit(row []uint16, self, k int, count []int) []int {
	count = count[:0]
	for b, d := range row {
		if b == self {
			continue
		}
		for int(d) >= len(count) {
			count = append(count, 0)
		}
		count[d]++
	}
	for d, c := range count {
		if k -= c; k <= 0 {
			return count[:d+1]
		}
	}
	return count
}
