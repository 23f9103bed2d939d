package search

// agreed unites the units that two assignments both keep together, and returns the unit of the coarser instance for each.
func agreed(a, b []uint16) []int32 {
	number := map[[2]uint16]int32{}
	out := make([]int32, len(a))
	for u := range a {
		key := [2]uint16{a[u], b[u]}
		k, ok := number[key]
		if !ok {
			k = int32(len(number))
			number[key] = k
		}
		out[u] = k
	}
	return out
}

// cellsOf unites the units of each host.
func cellsOf(host []uint16) []int32 {
	out := make([]int32, len(host))
	for u, h := range host {
		out[u] = int32(h)
	}
	return out
}
