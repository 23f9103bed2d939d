package congestion

// given is the link's rate where it need not be found. It is believed, whatever is lost at it, until the path carries nothing near it for a while:
// then it is only the ceiling of a rate that is found, until that is reached again. This is the circuit breaker (RFC 8084) of those who
// were told too much.
type given struct {
	rate    float64 // bytes per second; 0 = to be found
	doubted bool
	// datagrams in Interval that even the better half of the targets saw sent and lost lately, on average
	sent, lost float64
}

// givenMemory is how many times of Interval the average goes back, more or less: a link that is cut for some seconds is one of them.
const givenMemory = 10

// holds tells whether the rate is still believed, with what the better half sees at present.
func (g *given) holds(s Sample) bool {
	sent := float64(s.sent)
	if g.sent == 0 {
		g.sent = sent
	}
	sent = min(sent, 2*g.sent)
	g.sent += (sent - g.sent) / givenMemory
	g.lost += (s.Share()*sent - g.lost) / givenMemory
	return g.rate > 0 && !g.doubted && g.arrives() >= 1-mostBase
}

// arrives is the part of the datagrams that arrived lately.
func (g *given) arrives() float64 { return 1 - g.lost/g.sent }
