package placement

// descend makes every move and exchange that saves traffic until none is left.
func (s *state) descend() {
	for s.descendMoves() || s.descendSwaps() {
	}
}

func (s *state) descendMoves() bool {
	better := false
	for u := range s.host {
		if h := s.bestMove(int32(u)); h != nowhere {
			s.move(int32(u), h)
			better = true
		}
	}
	return better
}

// bestMove is the host to which moving u saves the most traffic, or nowhere.
func (s *state) bestMove(u int32) int {
	best, bestGain := nowhere, int64(0)
	for h := range s.n {
		if g := s.gain(u, h); g > bestGain && h != int(s.host[u]) && s.fits(u, h) {
			best, bestGain = h, g
		}
	}
	return best
}

func (s *state) descendSwaps() bool {
	better := false
	for u := range s.host {
		for v := range u {
			better = s.improveBySwap(int32(u), int32(v)) || better
		}
	}
	return better
}

// improveBySwap exchanges u and v if that saves traffic. The sum of both gains is never below the exchange's.
func (s *state) improveBySwap(u, v int32) bool {
	a, b := int(s.host[u]), int(s.host[v])
	if a == b || a == nowhere || b == nowhere || s.gain(u, b)+s.gain(v, a) <= 0 || !s.swappable(u, v) {
		return false
	}
	before := s.traffic
	if !s.swap(u, v) {
		return false
	}
	if s.traffic < before {
		return true
	}
	s.move(u, a)
	s.move(v, b)
	return false
}
