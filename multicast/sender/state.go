package sender

import (
	"net/netip"
	"slices"

	"github.com/scatter-vm/scatter/multicast/coding"
	"github.com/scatter-vm/scatter/multicast/congestion"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// Config is what a State needs.
type Config struct {
	Timing Timing
	Keys   Keys
	Window int // bytes of blocks that may wait for confirmation
	Socket Socket
	// SlowRatio is the share of what the others of a group get below which a member leaves the channel: after some seconds,
	// or sooner when half the window waits for it, or nobody waits for anything else. 0 = DefaultSlowRatio, negative: it never does.
	SlowRatio float64
}

// State is the source's side of the protocol. Not for concurrent use.
type State struct {
	timing     Timing
	out        outbox
	roster     roster
	keys       keys
	channels   channels
	window     window
	schedule   schedule
	paths      paths
	membership membership
	feedback   feedback
	rates      rates
	blocks     uint64 // taken over
	payload    uint64 // bytes of them
}

// New makes the state of a source without targets.
func New(c Config) (*State, error) {
	s := &State{
		timing: c.Timing, window: window{size: c.Window},
		channels: channels{byID: map[wire.ChannelID]*Outbound{}, byWire: map[uint16]*Outbound{}},
	}
	s.roster = roster{targets: map[string]*target{}, out: &s.out}
	s.keys = keys{Keys: c.Keys, roster: &s.roster, out: &s.out}
	s.schedule = schedule{
		socket: c.Socket, rate: congestion.StartRate, burst: c.Socket.Burst, firstGap: c.Timing.Mark, sealer: sealer{keys: &s.keys},
	}
	s.paths = paths{timing: &s.timing, schedule: &s.schedule, out: &s.out}
	s.membership = membership{
		roster: &s.roster, keys: &s.keys, channels: &s.channels, paths: &s.paths, window: &s.window, out: &s.out, slowRatio: c.SlowRatio,
	}
	if c.SlowRatio == 0 {
		s.membership.slowRatio = DefaultSlowRatio
	}
	s.feedback = feedback{
		timing: &s.timing, roster: &s.roster, keys: &s.keys, channels: &s.channels, membership: &s.membership, paths: &s.paths,
		schedule: &s.schedule,
	}
	s.rates = rates{
		timing: &s.timing, roster: &s.roster, channels: &s.channels, membership: &s.membership, window: &s.window, schedule: &s.schedule,
		link: congestion.NewLink(),
	}
	var err error
	s.keys.current, err = s.keys.make(0)
	return s, err
}

// AddTarget makes a target known that is reached by unicast at addr, and tells it the key.
func (s *State) AddTarget(name string, addr netip.AddrPort) error {
	t, err := s.roster.add(name, addr, s.timing.Report)
	if err == nil {
		s.keys.tell(t)
	}
	return err
}

// Open announces a channel and begins to probe. The channel can be used when it is no longer Opening.
func (s *State) Open(now instant, c Channel) (*Outbound, error) {
	return s.membership.open(now, c, s.schedule.sealer.sequence)
}

// Channel finds a channel that has been opened, and not closed; nil: there is none.
func (s *State) Channel(id wire.ChannelID) *Outbound { return s.channels.byID[id] }

// Close forgets a channel and tells its members to leave. Blocks that are not confirmed are given up.
func (s *State) Close(o *Outbound) { s.membership.close(o) }

// Room tells whether a block of length bytes may be sent on the channel now.
func (s *State) Room(o *Outbound, length int) bool {
	limit := s.rates.limit()
	if !o.Ahead && s.channels.ahead() {
		limit = min(limit-limit/aheadWindow, max(MinWindow, int(s.schedule.rate*behindTime.Seconds())))
	}
	return s.window.room(&o.backlog, coding.Footprint(length), limit, s.channels.background())
}

// Send takes a block over. The caller has made sure of Room and of live members.
func (s *State) Send(o *Outbound, payload []byte) (number uint64) {
	b := newBlock(payload, s.schedule.socket.symbol(), len(o.members), o.Live())
	o.backlog.add(b)
	s.payload += uint64(len(payload))
	s.blocks++
	for _, st := range o.streams() {
		s.schedule.begin(b.begin(st))
	}
	return uint64(b.number)
}

// Receive acts on a control message of a target. An error is the target's violation of the protocol, for which it is ejected.
func (s *State) Receive(now instant, target string, message []byte) error {
	return s.feedback.receive(now, target, message)
}

// Eject takes a target out of everything. Blocks that waited only for it are confirmed. It is told to leave its groups, if it listens.
// false: it is not known, or out already.
func (s *State) Eject(now instant, target string) bool {
	return s.membership.eject(now, s.roster.targets[target])
}

// Lose ejects a target that cannot be served for the given reason, and tells.
func (s *State) Lose(now instant, target string, err error) {
	s.membership.lose(now, s.roster.targets[target], err)
}

// Next fills b with what is to be sent now. false: nothing.
func (s *State) Next(now instant, b *Burst) (bool, error) { return s.schedule.next(now, b) }

// Depart says that the burst which Next has filled is sent now. The time that it has waited for its turn beside others is none on its way: counted as
// such, it would seem to be a queue of the path.
func (s *State) Depart(now instant, b *Burst) {
	for _, p := range b.parts {
		p.stream.trail.Add(now, p.first, p.last)
	}
}

// Ready tells whether Next may have something.
func (s *State) Ready() bool { return s.schedule.ready() }

// Waiting is how many blocks have datagrams that wait for the link, counted once for each stream that carries them.
func (s *State) Waiting() int { return s.schedule.waiting() }

// SetRate says how many bytes per second the link lets through now, and how many a burst should have.
func (s *State) SetRate(rate float64, burst int) { s.schedule.rate, s.schedule.burst = rate, burst }

// Allow gives the link's rate, in bytes per second; 0 = it is to be found.
func (s *State) Allow(rate float64) { s.rates.link.Allow(rate) }

// Rate is what the link carries, as far as is known, in bytes per second.
func (s *State) Rate() float64 { return s.rates.link.Rate() }

// Count says how many bytes the engine has sent, as datagrams and otherwise, and how many have left by the interface, from whomever;
// 0 = not known.
func (s *State) Count(own, port uint64) { s.rates.counted = counters{own, port} }

// Considers tells whether the next Tick considers rates, and wants a Count.
func (s *State) Considers(now instant) bool { return s.rates.due(now) }

// Tick does what is due by time. Call it every few milliseconds while channels are open.
func (s *State) Tick(now instant) {
	s.rates.consider(now)
	for t := s.keys.overdue(now, s.timing.Keyed); t != nil; t = s.keys.overdue(now, s.timing.Keyed) {
		s.membership.lose(now, t, ErrKeyless)
	}
	s.rates.crowded = s.channels.crowded()
	for _, o := range slices.Clone(s.channels.open) {
		s.reach(now, o)
		if o.Outstanding() {
			s.keepUp(now, o)
		}
	}
}

// reach moves a channel's probes on.
func (s *State) reach(now instant, o *Outbound) {
	s.paths.pursue(now, o)
	for _, m := range o.members {
		if err := s.paths.pursueAlone(now, m); err != nil {
			s.membership.lose(now, m.target, err)
		}
	}
}

// keepUp gives a channel's streams credit, asks for reports, and looks after who gives none.
func (s *State) keepUp(now instant, o *Outbound) {
	for _, st := range o.streams() {
		s.rates.refill(now, st)
		s.schedule.remind(now, st)
		for _, m := range slices.Clone(st.members) {
			if err := s.paths.watch(now, m); err != nil {
				s.membership.lose(now, m.target, err)
			}
		}
	}
}

// Bursts tells whether the datagrams of bursts that the system cuts up reach a target, and whether it gets datagrams one by one, because
// they do not. It is neither until probes have been answered.
func (s *State) Bursts(target string) (reach, apart bool) {
	if t := s.roster.targets[target]; t != nil {
		return t.joint, t.apart
	}
	return false, false
}

// Pending tells whether there are events to take.
func (s *State) Pending() bool { return len(s.out.events) > 0 }

// TakeEvents hands the events over; the slice is the caller's.
func (s *State) TakeEvents() []Event { return s.out.take() }

// Stats is what has been done so far.
func (s *State) Stats() Stats {
	st := Stats{
		Blocks: s.blocks, Payload: s.payload, Unconfirmed: s.window.used,
		Multicast: s.schedule.sent.multicast, Unicast: s.schedule.sent.unicast, Repair: s.schedule.sent.repair,
		Probe: s.schedule.sent.probe, Datagrams: s.schedule.sealer.datagrams,
		Keys: s.keys.changes, Fallbacks: s.paths.fallbacks + s.membership.departed,
		Targets: make(map[string]TargetStats, len(s.roster.targets)),
	}
	for name, t := range s.roster.targets {
		st.Targets[name] = t.stats
		st.Joins += t.stats.Joins
		st.Leaves += t.stats.Leaves
	}
	return st
}
