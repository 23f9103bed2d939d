package congestion

// Link is the rate of the source's link: the one that was given, as long as the path bears it out, or the one that is found.
type Link struct {
	given given
	found Pace
}

// NewLink begins to find the rate.
func NewLink() Link { return Link{found: NewPace(StartRate)} }

// Rate is what the link carries, as far as is known, in bytes per second.
func (l *Link) Rate() float64 { return l.found.rate }

// Blind is until when what is seen of the link is older than the last cut of its rate.
func (l *Link) Blind() instant { return l.found.blind }

// Doubted tells whether a rate was given that the path does not bear out.
func (l *Link) Doubted() bool { return l.given.doubted }

// Allow gives the link's rate, in bytes per second; 0 = it is to be found.
func (l *Link) Allow(rate float64) {
	if rate == l.given.rate {
		return
	}
	l.given, l.found.ceiling = given{rate: rate}, rate
	if rate > 0 {
		l.found.rate = rate
	}
}

// Consider adjusts the rate, which is at present what is told, to what the targets have seen: at least one sample.
func (l *Link) Consider(now instant, present float64, samples []Sample, t Traffic) {
	l.found.rate = present
	held := l.given.holds(Best(samples))
	seen := median(samples)
	switch {
	case held:
		l.found.rate = l.given.rate
	case l.given.rate > 0 && !l.given.doubted:
		l.given.doubted = true
		l.found.cut(now, seen, l.given.arrives()*backOff)
	default:
		l.found.Consider(now, seen, t.ours > busyPart*present, t)
		l.given.doubted = l.found.rate < l.given.rate
	}
}
