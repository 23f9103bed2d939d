package planning

// Gain remembers whether compression pays, to try rarely what gains nothing.
type Gain struct {
	backoff int // pieces to skip after the next one that gains nothing
	skip    int // pieces left to skip
}

const (
	leastGain   = 0.04 // smaller by this share, or it was in vain
	mostSkipped = 15
)

// Worth tells whether to try the next piece.
func (g *Gain) Worth() bool {
	if g.skip > 0 {
		g.skip--
		return false
	}
	return true
}

// Note takes what a try has given, in bytes before and after.
func (g *Gain) Note(before, after int) {
	if float64(before-after) >= leastGain*float64(before) {
		g.backoff, g.skip = 0, 0
		return
	}
	g.backoff = min(2*g.backoff+1, mostSkipped)
	g.skip = g.backoff
}

const spareFactor = 1.1 // how much faster than the link compression must be

// Outruns tells whether compression at this speed never keeps a link of this rate waiting. Both are in bytes/s.
func Outruns(speed, rate float64) bool { return rate*spareFactor < speed }
