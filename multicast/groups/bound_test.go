package groups

// boundRounds is how often the prices of places are adjusted.
const boundRounds = 200

// bound is the lower bound of Held and Karp on the length of a tour: the heaviest of the least 1-trees under prices for
// places. The length of a closed tour of Hamming distances is even, so the bound is rounded up to an even number.
func bound(m *distances) int {
	prices, step, best := make([]float64, m.n), 1.0, 0.0
	for range boundRounds {
		weight, degree := m.oneTree(prices)
		best = max(best, weight)
		for i, d := range degree {
			prices[i] += step * float64(d-2)
		}
		step *= 0.975
	}
	whole := int(best + 1 - 1e-6)
	return whole + whole%2
}

// oneTree is the least tree over all places but 0, and the two least edges to place 0: its weight with prices, and how many
// edges each place has.
func (m *distances) oneTree(prices []float64) (weight float64, degree []int) {
	degree = make([]int, m.n)
	near, via := make([]float64, m.n), make([]int, m.n) // the least edge into the tree
	left := indices(m.n)[1:]
	for _, i := range left {
		near[i] = 1e9
	}
	for added := 0; len(left) > 0; {
		if added > 0 {
			row := m.row(int32(added))
			for _, i := range left {
				if d := float64(row[i]) + prices[added] + prices[i]; d < near[i] {
					near[i], via[i] = d, added
				}
			}
		}
		k := 0
		for j, i := range left {
			if near[i] < near[left[k]] {
				k = j
			}
		}
		i := left[k]
		if added > 0 {
			weight += near[i]
			degree[i]++
			degree[via[i]]++
		}
		added, left[k], left = i, left[len(left)-1], left[:len(left)-1]
	}
	return weight + m.join(prices, degree), degree
}

// join adds the two least edges to place 0, or one twice when there is no other, and takes the prices off.
func (m *distances) join(prices []float64, degree []int) (weight float64) {
	for _, p := range prices {
		weight -= 2 * p
	}
	used := 0
	for range min(2, 2*(m.n-1)) {
		best := 0
		for i := 1; i < m.n; i++ {
			if (i != used || m.n == 2) && (best == 0 || float64(m.of(0, int32(i)))+prices[i] < float64(m.of(0, int32(best)))+prices[best]) {
				best = i
			}
		}
		used = best
		weight += float64(m.of(0, int32(best))) + prices[0] + prices[best]
		degree[0]++
		degree[best]++
	}
	return weight
}
