package multicast

// given is the link's rate where it need not be found. It is believed, whatever is lost at it, until the path carries nothing near it for a while:
// then it is only the ceiling of a rate that is found, until that is reached again. This is the circuit breaker (RFC 8084) of those who
// were told too much.
type given struct {
	rate    float64 // bytes per second; 0 = to be found
	doubted bool
	// datagrams in paceInterval that even the better half of the targets saw sent and lost lately, on average
	sent, lost float64
}

// givenMemory is how many times of paceInterval the average goes back, more or less: a link that is cut for some seconds is one of them.
const givenMemory = 10

// holds tells whether the rate is still believed, with what the better half sees at present.
func (g *given) holds(s sample) bool {
	sent := float64(s.sent)
	if g.sent == 0 {
		g.sent = sent
	}
	sent = min(sent, 2*g.sent)
	g.sent += (sent - g.sent) / givenMemory
	g.lost += (s.share()*sent - g.lost) / givenMemory
	return g.rate > 0 && !g.doubted && g.arrives() >= 1-mostBase
}

// arrives is the part of the datagrams that arrived lately.
func (g *given) arrives() float64 { return 1 - g.lost/g.sent }

// allow gives the link's rate, in bytes per second; 0 = it is to be found.
func (s *sendState) allow(rate float64) {
	if rate == s.given.rate {
		return
	}
	s.given, s.auto.ceiling = given{rate: rate}, rate
	if rate > 0 {
		s.auto.rate = rate
	}
}

// considerLink adjusts the rate of the link to what its members have seen.
func (s *sendState) considerLink(now instant, t traffic) {
	s.auto.rate = s.rate
	held := s.given.holds(best(s.paced.samples))
	seen := median(s.paced.samples)
	switch {
	case held:
		s.auto.rate = s.given.rate
	case s.given.rate > 0 && !s.given.doubted:
		s.given.doubted = true
		s.auto.cut(now, seen, s.given.arrives()*backOff)
	default:
		s.auto.consider(now, seen, t.ours > busyPart*s.rate, t)
		s.given.doubted = s.auto.rate < s.given.rate
	}
}
