package congestion

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Sample is what was seen in some time. Round trips are without the time that a target waits with a report.
type Sample struct {
	sent, lost        int
	shortest, longest time.Duration // round trips
	empty             time.Duration // the shortest round trip ever: with empty queues, as far as is known
	every             time.Duration // between reports
	run               float64       // datagrams that are lost together; 0 = 1
}

func noSample() Sample { return Sample{shortest: unknown} }

// Empty tells whether nothing was seen.
func (s Sample) Empty() bool { return s.sent == 0 }

// Share is the part of the datagrams that has been lost, within 0 to 1.
func (s Sample) Share() float64 {
	if s.sent == 0 {
		return 0
	}
	return min(1, max(0, float64(s.lost)/float64(s.sent)))
}

// excess tells whether more was lost than chance makes of a path's own loss. A run or two is always chance.
func (s Sample) excess(base float64) bool {
	expected, run := base*float64(s.sent), max(1, s.run)
	return float64(s.lost) > expected+excessSigmas*math.Sqrt(expected*run)+chanceRuns*(run-1)
}

// queue is how long every datagram has waited in queues.
func (s Sample) queue() time.Duration { return s.shortest - s.empty }

// lag is how long it takes until a whole sample tells of a rate that is set now.
func (s Sample) lag() time.Duration { return s.longest + s.every + Interval }

// median of loss and of delay; of two, the worse.
func median(all []Sample) Sample {
	middle := len(all) / 2
	slices.SortFunc(all, func(a, b Sample) int { return cmp.Compare(a.queue(), b.queue()) })
	m := all[middle]
	slices.SortFunc(all, func(a, b Sample) int { return cmp.Compare(a.Share(), b.Share()) })
	m.sent, m.lost = all[middle].sent, all[middle].lost
	return m
}

// Best is the worst of the better half: of two, the better.
func Best(all []Sample) Sample {
	slices.SortFunc(all, func(a, b Sample) int { return cmp.Compare(a.Share(), b.Share()) })
	return all[(len(all)-1)/2]
}
