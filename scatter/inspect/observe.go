package inspect

import (
	"net/netip"
	"time"

	"github.com/scatter-vm/scatter/multicast/probe"
	"github.com/scatter-vm/scatter/scatter/control"
)

// observation is what probes have shown of the way to one target.
type observation struct {
	iface   string // of this host
	mtu     int
	groups  [probe.Unicast]netip.Addr // of the paths before it
	packets []int                     // bytes of the packets of each round, ascending
	cuts    bool                      // this host's system cuts bursts up
	there   control.Listening
	before  control.Counted // when the hold began
	after   control.Counted // probed again after the hold; unless that is 0
	hold    time.Duration
	failed  [probe.Paths]error // why the system did not let probes of a path out
}

// rounds is how many rounds are counted.
func rounds(c control.Counted, path probe.Path, packet int, seen bool) int {
	for _, p := range c.Probes {
		if p.Path == uint8(path) && p.Packet == packet && p.Seen == seen {
			return p.Rounds
		}
	}
	return 0
}

// full is the size of what evacuations send.
func (o *observation) full() int { return o.packets[len(o.packets)-1] }

// heard tells whether the target's sockets got packets of a size.
func (o *observation) heard(path probe.Path, packet int) bool {
	return rounds(o.before, path, packet, false) > 0
}

// reaches tells whether anything gets to the target's sockets by a path.
func (o *observation) reaches(path probe.Path) bool { return o.largest(path) > 0 }

// seen tells whether anything gets as far as the target's interface by a path.
func (o *observation) seen(path probe.Path) bool {
	for _, packet := range o.packets {
		if rounds(o.before, path, packet, true) > 0 {
			return true
		}
	}
	return false
}

// grouped tells whether a group that the target has joined reaches it.
func (o *observation) grouped() bool {
	return o.reaches(probe.AnySource) || o.reaches(probe.SourceSpecific)
}

// kept tells whether a path that reached the target before the hold still did after it.
func (o *observation) kept(path probe.Path) bool {
	for _, packet := range o.packets {
		if rounds(o.after, path, packet, false) > rounds(o.before, path, packet, false) {
			return true
		}
	}
	return false
}

// largest is the largest packet that gets to the target's sockets by a path, 0 if none does.
func (o *observation) largest(path probe.Path) (n int) {
	for _, packet := range o.packets {
		if o.heard(path, packet) {
			n = packet
		}
	}
	return n
}

// complete tells whether all paths that should pass full packets have done so since an earlier count.
func (o *observation) complete(now, earlier control.Counted) bool {
	for _, path := range []probe.Path{probe.Unicast, probe.AnySource, probe.SourceSpecific} {
		if rounds(now, path, o.full(), false) <= rounds(earlier, path, o.full(), false) {
			return false
		}
	}
	return !o.cuts || rounds(now, probe.Bursts, o.full(), false) > 0 || rounds(now, probe.Unicast, o.full(), false) >= enoughRounds
}

// enoughRounds of single datagrams without any of the bursts show that bursts do not pass.
const enoughRounds = 5

// mangled tells whether full packets pass, and none of those that this host's system cuts out of bursts.
func (o *observation) mangled() bool {
	return o.cuts && rounds(o.before, probe.Bursts, o.full(), false) == 0 && rounds(o.before, probe.Unicast, o.full(), false) >= enoughRounds
}
