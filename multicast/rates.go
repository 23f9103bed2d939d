package multicast

import (
	"cmp"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

const (
	// busyPart of what a rate allows must have been sent for it to count as used.
	busyPart = 0.8
	// creditTime is how long a unicast stream may save its rate up.
	creditTime = 20 * time.Millisecond
	// headroom is how much a unicast stream's rate may exceed the link's: it is useless, but lets it follow growth.
	headroom = 1.25
	// DefaultSlowRatio is the default of SenderConfig.SlowRatio.
	DefaultSlowRatio = 0.5
	// slowTime is how long a member must get too little before it leaves its group; heldTime, when the others are about to
	// wait for it, or have all there is.
	slowTime = 2 * time.Second
	heldTime = 500 * time.Millisecond
	// backgroundShare is what all channels in the background take of the link while others have blocks under way, and
	// backgroundWindow the part of the window that is theirs.
	backgroundShare  = 0.05
	backgroundWindow = 4
	// reportCost is the bytes that a report takes of a link with all its headers, more or less, and reportShare what all
	// reports may take of the source's.
	reportCost  = 200
	reportShare = 0.006
	maxReport   = 500 * time.Millisecond
)

// pacing is the state of considering rates, of the link and of the unicast streams.
type pacing struct {
	next    instant
	at      instant  // of the last time
	link    uint64   // bytes that we had sent then
	port    uint64   // bytes that had left by the port then, from whomever
	samples []sample // of all members
}

// considerRates looks at what members have seen lately: adjusts the rate of each unicast stream and of the link, and
// finds members which a group is too fast for.
func (s *sendState) considerRates(now instant) {
	if now < s.paced.next {
		return
	}
	s.paced.next = now + paceInterval
	s.paced.samples = s.paced.samples[:0]
	for _, ch := range s.open {
		for _, st := range ch.streams() {
			if st.unicast {
				s.considerStream(now, st)
			} else {
				s.considerGroup(now, st)
			}
		}
	}
	s.considerReports()
	t := s.traffic(now)
	if len(s.paced.samples) > 0 {
		s.considerLink(now, t)
	}
}

// traffic is what has left since the last time.
func (s *sendState) traffic(now instant) (t traffic) {
	p := &s.paced
	elapsed := (now - p.at).Seconds()
	t.ours = float64(s.link-p.link) / elapsed
	if p.port > 0 && s.port > p.port {
		t.all = max(t.ours, float64(s.port-p.port)/elapsed)
	}
	p.at, p.link, p.port = now, s.link, s.port
	return t
}

// considerReports keeps what all reports take of the link at a small share: many targets report less often.
func (s *sendState) considerReports() {
	live := 0
	for _, t := range s.targets {
		if t.live {
			live++
		}
	}
	every := time.Duration(float64(live*reportCost) / (reportShare * s.rate) * float64(time.Second))
	every = min(max(every, s.timing.report), maxReport)
	for _, name := range sortedNames(s.targets) {
		// small changes are not worth a message
		if t := s.targets[name]; t.live && (every*5 < t.every*4 || every*4 > t.every*5) {
			t.every = every
			s.control(t, wire.Every{Milliseconds: uint16(every.Milliseconds())}.Append(nil))
		}
	}
}

// considerStream adjusts the rate of a unicast stream.
func (s *sendState) considerStream(now instant, st *stream) {
	recent := s.sampleOf(st.members[0], now, st.pace.blind)
	st.pace.ceiling = headroom * s.rate
	if recent.sent == 0 {
		return
	}
	busy := float64(st.bytes) > busyPart*st.pace.rate*(now-st.since).Seconds()
	st.bytes, st.since = 0, now
	st.pace.consider(now, recent, busy, traffic{})
}

// sampleOf takes what a member has seen since the last time that it was enough, or since its rate was cut; nothing if that is not enough yet.
func (s *sendState) sampleOf(m *member, now, blind instant) sample {
	recent := m.view.recent
	m.stats.Loss = m.view.recentLoss()
	enough := recent.sent >= m.view.enough()
	if enough || now < blind {
		m.view.recent = noSample()
	}
	if !enough {
		return noSample()
	}
	recent.every = m.every
	s.paced.samples = append(s.paced.samples, recent)
	return recent
}

// considerGroup finds members that get much less than what the others get: these should not pay for their repair.
func (s *sendState) considerGroup(now instant, st *stream) {
	own := len(s.paced.samples)
	recent := make([]sample, len(st.members))
	for i, m := range st.members {
		recent[i] = s.sampleOf(m, now, s.auto.blind)
	}
	if s.slowRatio <= 0 || len(s.paced.samples)-own < 2 {
		return
	}
	others := 1 - best(s.paced.samples[own:]).share()
	held := s.heldBySlow(st)
	for i, m := range slices.Clone(st.members) {
		switch {
		case recent[i].sent == 0:
		case 1-recent[i].share() >= s.slowRatio*others:
			m.view.behind = never
		case m.view.behind == never:
			m.view.behind = now
		case now-m.view.behind >= slowTime, now-m.view.behind >= heldTime && (held > s.limit()/2 || held == st.channel.used):
			m.target.lossy = recent[i].share()
			s.tooSlow(m.target)
		}
	}
}

// heldBySlow is how many bytes of blocks only members that are behind keep from being confirmed.
func (s *sendState) heldBySlow(st *stream) (bytes int) {
	slow := slices.DeleteFunc(slices.Clone(st.members), func(m *member) bool { return m.view.behind == never })
	if len(slow) == 0 {
		return 0
	}
	for _, b := range st.channel.blocks {
		lack := 0
		for _, m := range slow {
			if !b.done && !b.isPlaced(m) {
				lack++
			}
		}
		if lack > 0 && lack == b.pending {
			bytes += footprint(len(b.payload))
		}
	}
	return bytes
}

// tooSlow takes a target out of the channels that it shares with others.
func (s *sendState) tooSlow(t *target) {
	for _, ch := range slices.Clone(s.open) {
		for _, m := range ch.members {
			if m.target == t && m.phase != gone && ch.live() > 1 {
				s.leave(m, errSlow)
			}
		}
	}
}

// median of loss and of delay; of two, the worse.
func median(all []sample) sample {
	middle := len(all) / 2
	slices.SortFunc(all, func(a, b sample) int { return cmp.Compare(a.queue(), b.queue()) })
	m := all[middle]
	slices.SortFunc(all, func(a, b sample) int { return cmp.Compare(a.share(), b.share()) })
	m.sent, m.lost = all[middle].sent, all[middle].lost
	return m
}

// best is the worst of the better half: of two, the better.
func best(all []sample) sample {
	slices.SortFunc(all, func(a, b sample) int { return cmp.Compare(a.share(), b.share()) })
	return all[(len(all)-1)/2]
}

// refill gives a unicast stream its credit, and what was held for want of it back to the queue.
func (s *sendState) refill(now instant, st *stream) {
	if !st.unicast {
		return
	}
	most := st.pace.rate*creditTime.Seconds() + float64(s.burst)
	rate := st.pace.rate
	if st.channel.Background && s.crowded {
		channels, _ := s.background()
		rate = min(rate, backgroundShare*s.rate/float64(channels))
	}
	st.credit = min(most, st.credit+rate*(now-st.filled).Seconds())
	st.filled = now
	if st.credit <= 0 {
		return
	}
	for _, t := range st.held {
		s.repairs.push(t)
	}
	st.held = st.held[:0]
}
