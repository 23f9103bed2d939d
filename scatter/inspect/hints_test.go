package inspect

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/multicast/probe"
	"github.com/scatter-vm/scatter/scatter/control"
)

// observed is an observation in which each path is heard and seen with packets up to a size: 0 = not at all.
func observed(stranger, specific, anySource, unicast int) *observation {
	o := &observation{iface: "eth1", mtu: 9000, packets: []int{576, 1500, 9000}, groups: probeGroups(netip.MustParseAddr("239.77.0.0"), 0)}
	o.there = control.Listening{MTU: 9000, Buffer: wantReceiveBuffer, Merges: true, Memberships: 20}
	for path, largest := range []int{probe.Stranger: stranger, probe.SourceSpecific: specific, probe.AnySource: anySource, probe.Unicast: unicast} {
		o.hear(&o.before, probe.Path(path), largest, 1)
	}
	return o
}

// hear counts packets of a path up to a size.
func (o *observation) hear(c *control.Counted, path probe.Path, largest, rounds int) {
	for _, packet := range o.packets {
		if packet > largest {
			return
		}
		c.Probes = append(c.Probes, control.Probed{Path: uint8(path), Packet: packet, Seen: true, Rounds: rounds})
		if path != probe.Stranger {
			c.Probes = append(c.Probes, control.Probed{Path: uint8(path), Packet: packet, Rounds: rounds})
		}
	}
}

// behind says that the target itself drops what comes by a path.
func (o *observation) behind(path probe.Path) *observation {
	o.hear(&o.before, path, 9000, 1)
	o.before.Probes = slices.DeleteFunc(o.before.Probes, func(p control.Probed) bool { return p.Path == uint8(path) && !p.Seen })
	return o
}

// blind says that the target does not see what passes its interface.
func (o *observation) blind() *observation {
	o.there.Blind = "packet socket: operation not permitted"
	o.before.Probes = slices.DeleteFunc(o.before.Probes, func(p control.Probed) bool { return p.Seen })
	return o
}

// held says that paths were probed again, and how far each came.
func (o *observation) held(hold time.Duration, queries int, specific, anySource int) *observation {
	o.hold = hold
	o.hear(&o.after, probe.SourceSpecific, specific, 2)
	o.hear(&o.after, probe.AnySource, anySource, 2)
	if o.after.Queries = queries; queries > 0 {
		o.after.Querier = netip.MustParseAddr("10.0.0.254")
	}
	return o
}

// again says that all unicast probes came so many times.
func again(o *observation, rounds int) {
	for i, p := range o.before.Probes {
		if p.Path == uint8(probe.Unicast) {
			o.before.Probes[i].Rounds = rounds
		}
	}
}

func (o *observation) with(change func(*observation)) *observation {
	change(o)
	return o
}

func speakIPv6(o *observation) { o.groups = probeGroups(netip.MustParseAddr("ff15::77:0"), 0) }

// TestHints: each fault has its own finding, which names the setting; whatever else is said is ok.
func TestHints(t *testing.T) {
	const all = 9000
	well := func() *observation { return observed(0, all, all, all) }
	denied := errors.New("sendto: operation not permitted")
	for _, c := range []struct {
		name                 string
		o                    *observation
		check, level         string
		message, remedy      string
		mentions, mentionsNo []string // other checks
	}{
		{name: "all well", o: well(), check: "flooding", level: LevelOK, message: "kept from it", mentions: []string{"sockets", "datagrams", "MTU", "multicast"}, mentionsNo: []string{"querier"}},
		{name: "flooding", o: observed(all, all, all, all), check: "flooding", level: LevelWarning, message: "the switch floods", remedy: "mcast_hash_max"},
		{name: "flooding cannot be seen", o: well().blind(), check: "flooding", level: LevelWarning, message: "not permitted", remedy: "CAP_NET_RAW"},
		{name: "nothing", o: observed(0, 0, 0, 0), check: "datagrams", level: LevelError, message: "no datagram", remedy: "routing", mentionsNo: []string{"MTU", "multicast", "flooding"}},
		{name: "only groups", o: observed(0, all, all, 0), check: "datagrams", level: LevelError, message: "groups reach it", remedy: "firewall"},
		{name: "unicast dropped at the target", o: observed(0, all, all, 0).behind(probe.Unicast), check: "datagrams", level: LevelError, message: "behind it", remedy: "the target's firewall"},
		{name: "unicast dropped here", o: observed(0, all, all, 0).with(func(o *observation) { o.failed[probe.Unicast] = denied }), check: "datagrams", level: LevelError, message: "not permitted", remedy: "this host's firewall"},
		{name: "mangled bursts", o: well().with(func(o *observation) { o.cuts = true; again(o, enoughRounds) }), check: "bursts", level: LevelWarning, message: "cuts out of bursts", remedy: "--no-gso", mentions: []string{"multicast"}},
		{name: "whole bursts", o: well().with(func(o *observation) { o.cuts = true; o.hear(&o.before, probe.Bursts, all, 1); again(o, enoughRounds) }), check: "datagrams", level: LevelOK, message: "reach", mentionsNo: []string{"bursts"}},
		{name: "lost bursts", o: well().with(func(o *observation) { o.cuts = true }), check: "datagrams", level: LevelOK, message: "reach", mentionsNo: []string{"bursts"}},
		{name: "group kept back", o: observed(0, 0, 0, all), check: "multicast", level: LevelWarning, message: "not get as far", remedy: "mcast_querier 1", mentionsNo: []string{"flooding"}},
		{name: "group missing, blind", o: observed(0, 0, 0, all).blind(), check: "multicast", level: LevelWarning, message: "does not reach it, unicast does", remedy: "firewalls"},
		{name: "group dropped at the target", o: observed(0, 0, 0, all).behind(probe.AnySource), check: "multicast", level: LevelWarning, message: "behind it", remedy: "the target's firewall"},
		{name: "group dropped here", o: observed(0, 0, 0, all).with(func(o *observation) { o.failed[probe.AnySource] = denied }), check: "multicast", level: LevelWarning, message: "not permitted", remedy: "this host's firewall"},
		{name: "no source-specific", o: observed(0, 0, all, all), check: "source-specific multicast", level: LevelWarning, message: "239.77.0.1", remedy: "IGMPv3", mentions: []string{"multicast", "flooding"}},
		{name: "source-specific dropped", o: observed(0, 0, all, all).behind(probe.SourceSpecific), check: "source-specific multicast", level: LevelWarning, message: "behind it", remedy: "the target's firewall"},
		{name: "only source-specific", o: observed(0, all, 0, all), check: "multicast", level: LevelOK, message: "not needed"},
		{name: "narrow path", o: observed(0, 1500, 1500, 1500), check: "MTU", level: LevelError, message: "packets of 1500 bytes reach it, those of 9000 get lost", remedy: "switch or tunnel"},
		{name: "narrow path for groups", o: observed(0, all, 576, all), check: "MTU", level: LevelError, message: "packets of 576 bytes", remedy: "mtu 576"},
		{name: "narrow target", o: observed(0, 1500, 1500, 1500).with(func(o *observation) { o.there.MTU = 1500 }), check: "MTU", level: LevelError, message: "MTU here 9000, there 1500", remedy: "the same MTU"},
		{name: "group of IPv6 kept back", o: observed(0, 0, 0, all).with(speakIPv6), check: "multicast", level: LevelWarning, message: "group ff15::77:0", remedy: "MLD snooping"},
		{name: "no source-specific of IPv6", o: observed(0, 0, all, all).with(speakIPv6), check: "source-specific multicast", level: LevelWarning, message: "ff15::77:1", remedy: "MLDv2"},
		{name: "no join", o: observed(0, 0, 0, all).with(func(o *observation) { o.there.NotJoined = "join: no buffer space" }), check: "multicast", level: LevelWarning, message: "no buffer space", remedy: "igmp_max_memberships"},
		{name: "no source-specific join", o: observed(0, 0, all, all).with(func(o *observation) { o.there.NotJoined = "join: no buffer space" }), check: "source-specific multicast", level: LevelWarning, message: "no buffer space", remedy: "igmp_max_msf"},
		{name: "no any-source join", o: observed(0, all, 0, all).with(func(o *observation) { o.there.NotJoined = "join: no buffer space" }), check: "multicast", level: LevelOK, message: "not needed"},
		{name: "small buffer", o: well().with(func(o *observation) { o.there.Buffer = 208 << 10 }), check: "sockets", level: LevelWarning, message: "208 KiB", remedy: "rmem_max"},
		{name: "no GRO", o: well().with(func(o *observation) { o.there.Merges = false }), check: "sockets", level: LevelWarning, message: "one by one", remedy: "Linux 5.0"},
		{name: "unknown limit", o: well().with(func(o *observation) { o.there.Memberships = -1 }), check: "sockets", level: LevelOK, message: "an unknown number of groups"},
		{name: "forgotten", o: well().held(5*time.Minute, 0, 0, 0), check: "querier", level: LevelWarning, message: "no more after 5m0s: the switch has forgotten that it listens, and no querier", remedy: "querier"},
		{name: "forgotten, blind", o: well().held(5*time.Minute, 0, 0, 0).with(func(o *observation) { o.there.Blind = "x" }), check: "querier", level: LevelWarning, message: "forgotten that it listens", remedy: "querier", mentions: []string{"flooding"}},
		{name: "one forgotten", o: well().held(5*time.Minute, 3, 0, all), check: "querier", level: LevelWarning, message: "group 239.77.0.1", remedy: "querier"},
		{name: "querier", o: well().held(time.Minute, 1, all, all), check: "querier", level: LevelOK, message: "10.0.0.254 asks"},
		{name: "nobody asks", o: well().held(3*time.Minute, 0, all, all), check: "querier", level: LevelWarning, message: "nobody has asked who listens for 3m0s", remedy: "querier"},
		{name: "too short to tell", o: well().held(time.Minute, 0, all, all), check: "querier", level: LevelOK, message: "some switches take 4m20s"},
		{name: "long enough, blind", o: well().held(5*time.Minute, 0, all, all).blind(), check: "querier", level: LevelOK, message: "after 5m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := c.o.judge()
			for _, f := range found {
				if f.Check == c.check {
					if f.Level != c.level || !strings.Contains(f.Message, c.message) || !strings.Contains(f.Remedy, c.remedy) || (f.Level == LevelOK) != (f.Remedy == "") {
						t.Errorf("got %+v", f)
					}
				} else if f.Level != LevelOK && !(f.Check == "flooding" && c.o.there.Blind != "") {
					t.Errorf("also: %+v", f)
				}
			}
			has := func(check string) bool {
				return slices.ContainsFunc(found, func(f Finding) bool { return f.Check == check })
			}
			for _, check := range append(c.mentions, c.check) {
				if !has(check) {
					t.Errorf("nothing about %s in %+v", check, found)
				}
			}
			if slices.ContainsFunc(c.mentionsNo, has) {
				t.Errorf("one of %v in %+v", c.mentionsNo, found)
			}
		})
	}
}

// TestProbeGroups: no target would join another's, nor would an evacuation have it join that of strangers.
func TestProbeGroups(t *testing.T) {
	for _, base := range []string{"239.77.0.0", "239.255.255.250", "224.0.1.0", "ff15::77:0"} {
		seen := make(map[netip.Addr]bool)
		for i := range 100 {
			for path, g := range probeGroups(netip.MustParseAddr(base), i) {
				if !g.IsMulticast() || g.IsLinkLocalMulticast() || seen[g] {
					t.Fatalf("base %s, target %d, path %d: %v", base, i, path, g)
				}
				seen[g] = true
			}
		}
	}
	if g := probeGroups(netip.MustParseAddr("239.77.0.0"), 0)[probe.Stranger]; g != netip.MustParseAddr("239.77.16.0") {
		t.Errorf("strangers' group %v", g)
	}
}
